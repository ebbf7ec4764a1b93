"""All servers that there are tables of, and which of them a command is."""

from __future__ import annotations

from typing import Final

from gwctl.config.foreign import gunicorn, others, uvicorn, uwsgi
from gwctl.config.foreign.option import Server

SERVERS: Final[tuple[Server, ...]] = (
    gunicorn.SERVER,
    uvicorn.SERVER,
    uvicorn.FASTAPI,
    others.HYPERCORN,
    others.GRANIAN,
    others.DAPHNE,
    others.WAITRESS,
    uwsgi.SERVER,
)
BY_NAME: Final = {server.name: server for server in SERVERS}


def of_command(program: str) -> Server | None:
    """Find the server that a program is, by the last part of its path, or a module that ``python -m`` runs."""
    name = program.rpartition("/")[2]
    return next((server for server in SERVERS if name in server.commands), None)
