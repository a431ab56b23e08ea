"""The render worker: a Celery process and, under it, the engine process that holds the model."""
