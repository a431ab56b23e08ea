"""What every process that talks to the broker must agree on: Celery's options as plain data, without importing Celery."""

from __future__ import annotations

from typing import Any

from core.settings import Settings


def broker_transport_options(settings: Settings) -> dict[str, Any]:
    """Kombu's Redis transport options.

    Worker, publisher and Flower must use the same prefix and priority steps, or they see different queues.
    `priority_steps` lists all ten: the default merges 0-2, 3-5, ... In Redis, step 0 is taken first.
    Redelivery by visibility timeout is not relied upon (the reaper does that from the database), so it may be long.
    """
    return {
        "global_keyprefix": settings.redis_prefix,
        "queue_order_strategy": "priority",
        "priority_steps": list(range(10)),
        "visibility_timeout": 3600,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's configuration shared by the worker, the publisher and Flower.

    JSON only: a message in any other serializer is refused, never executed. No result backend: the database is the truth.
    A publish fails fast (one retry), because the reaper publishes again what the broker did not take.
    """
    return {
        "broker_url": settings.redis_url,
        "broker_transport_options": broker_transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }
