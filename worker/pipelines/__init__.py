"""Model families: how a kind of pipeline is encoded, started, stepped and decoded."""
