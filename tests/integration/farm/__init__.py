"""The whole farm but for the pictures: real API, Redis, workers, reaper, database, each killed or starved in turn."""
