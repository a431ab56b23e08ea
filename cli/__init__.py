"""The command line `imagefarm`: may use every other package, each imported only by the command that needs it."""
