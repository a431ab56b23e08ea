"""The peer of `benchmarks.throughput`: a bare FastAPI and Celery application without this farm's guarantees."""
