"""A farm made to be broken: its parts as processes of their own, the one who kills them, and the audit afterwards."""
