"""The control socket: who may use it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gwctl.config.model.meta import meta as _meta


class ControlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The control socket, by which `gwctl status`, `reload` and the others reach the master.

    `master.control` says where it is.
    """

    allow_users: Annotated[
        tuple[str, ...],
        _meta(
            "Who may use it besides root and the master's user: names or numbers. They may do all that "
            "there is to do with it.",
            ["deploy", "1003"],
        ),
    ] = ()
