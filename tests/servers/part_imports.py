"""Imports of the farm's API, workers and reaper, for processes that are forked from one with them.

Also what their libraries import only when they run: uvicorn's loop and protocol, Celery's pool, transports, dialects.
"""
# ruff: noqa: F401, E402

import celery.apps.worker
import celery.concurrency.thread
import celery.worker.autoscale
import celery.worker.consumer
import kombu.transport.redis
import psycopg
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite
import uvicorn.lifespan.on
import uvicorn.loops.auto
import uvicorn.loops.uvloop

from core.extras import import_without

import_without("httpcore", "trio")  # as the API does

import cli.serve
import supervisor.supervisor
import worker.reaper.main
import worker.synthetic.engine
import worker.worker_process
