"""Real servers for tests: Redis and Postgres, each in its own temporary directory on a free loopback port."""
