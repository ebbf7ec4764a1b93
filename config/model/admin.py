"""The admin listener: probes, metrics, what other programs ask and do, the dashboard."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gwctl.config.model.meta import meta as _meta
from gwctl.config.model.meta import octal as _octal


class AdminSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A listener of its own for probes, metrics and the dashboard, served by a small process of its own."""

    bind: Annotated[
        tuple[str, ...],
        _meta(
            "Addresses, as in a pool's `bind`, without TLS. Empty: there is no admin listener.",
            ["127.0.0.1:9100", "unix:/run/shop/admin.sock"],
        ),
    ] = ()
    token_file: Annotated[
        str,
        _meta(
            "File with the token that those show who want to change something (`Authorization: Bearer`), "
            "or to read from elsewhere than this machine. Empty: nothing can be changed, and only this "
            "machine reads.",
            "/etc/shop/admin-token",
            path="file",
        ),
    ] = ""
    socket_mode: Annotated[str, _octal("^0?[0-7]{3}$", "Permissions of Unix sockets, octal.", "660")] = "600"
    socket_user: Annotated[str, _meta("Owner of Unix sockets. Empty: the master's user.", "shop")] = ""
    socket_group: Annotated[str, _meta("Group of Unix sockets. Empty: the master's own.", "prometheus")] = ""
    user: Annotated[
        str,
        _meta(
            "The process runs as this user. Empty: with user and group of the first pool.",
            "gwctl-admin",
        ),
    ] = ""
    group: Annotated[
        str, _meta("The process runs with this group. Empty: the own one of `user`.", "shop")
    ] = ""
