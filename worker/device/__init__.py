"""Questions about torch devices: which one, how much memory, which dtypes, what an error means."""
