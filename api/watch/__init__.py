"""Waiting for changes of jobs without holding a thread or a database connection."""

from api.watch.hub import Hub, Subscription
from api.watch.watcher import Watcher

__all__ = ["Hub", "Subscription", "Watcher"]
