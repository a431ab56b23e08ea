"""Sending webhooks."""

from api.webhooks.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
