"""The command line `imagefarm`: the one place that knows every room, each imported only by the command that needs it."""
