"""An application that logs as LOGS says, beginning when it is imported; /x logs while a request runs."""

from __future__ import annotations

import logging
import logging.config
import os
from typing import Any

HOW = os.environ.get("LOGS", "nothing")
logger = logging.getLogger("shop.views")

if HOW == "basic":
    logging.basicConfig(format="mine: %(message)s", level=logging.INFO)
elif HOW == "own":
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("mine: %(message)s"))
    logging.getLogger("shop").addHandler(handler)
elif HOW == "dict":
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"mine": {"format": "mine: %(message)s"}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "mine"}},
            "root": {"handlers": ["out"], "level": "INFO"},
        }
    )
elif HOW == "uvicorn":
    import uvicorn.config

    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
elif HOW == "level":
    logger.setLevel(logging.INFO)
elif HOW == "implicit":
    logging.warning("implicitly configured")  # noqa: LOG015 - as some do

logger.warning("while imported")


def say() -> None:
    if HOW == "late":
        logging.basicConfig(format="mine: %(message)s", force=False)
    elif HOW == "late-dict":
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"mine": {"format": "mine: %(message)s"}},
                "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "mine"}},
                "root": {"handlers": ["out"], "level": "INFO"},
            }
        )
    logger.info("some news")
    logger.warning("stock of %s is low", "tea", extra={"left": 3, "odd": object(), "path": "\udcff"})
    logging.getLogger("shop.child").critical("two\nlines")
    logging.getLogger("silent").addHandler(logging.NullHandler())
    logging.getLogger("silent").warning("from a library")
    logging.getLogger("wrong").error("%d", "x")
    try:
        raise KeyError("tax_rate")
    except KeyError:
        logger.exception("no price")


def application(environ: Any, start_response: Any) -> Any:
    say()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def live(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    say()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
