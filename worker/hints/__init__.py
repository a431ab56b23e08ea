"""Hints: Celery messages that wake a worker to claim the best job. Publish, take, defer and refill them."""
