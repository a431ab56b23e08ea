"""Waits for changes of jobs that hold neither a thread nor a database connection."""

from api.watch.feed import Feed
from api.watch.hub import Hub, Subscription
from api.watch.watcher import Watcher

__all__ = ["Feed", "Hub", "Subscription", "Watcher"]
