"""Real servers for tests: Redis and Postgres, each in its own temporary directory on its own loopback port."""
