"""The render worker: a Celery process, and its child, the engine process that holds the model."""
