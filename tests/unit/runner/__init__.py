"""Parts of the runner by themselves, without a database."""
