"""Model families: how each kind of pipeline is encoded, started, stepped and decoded."""
