"""Imports of the command line and of the parts that its commands use, for processes that are forked from one with them."""

import cli.main
import db.database
import db.health
import db.migrate  # noqa: F401
import imagefarm.transport
import supervisor.embedded_redis  # noqa: F401

cli.main.full_app()
imagefarm.transport.certificates()
