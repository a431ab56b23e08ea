"""Imports of the command line and of the parts that its commands use, for processes that are forked from one with them.

Also what httpx imports for its first client, among it all of trio where that is installed.
"""
# ruff: noqa: F401

import httpcore

import cli.main
import db.database
import db.health
import db.migrate
import imagefarm.transport
import supervisor.embedded_redis

cli.main.full_command()
imagefarm.transport.certificates()
