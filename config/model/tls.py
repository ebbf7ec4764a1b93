"""The settings of ``[pool.NAME.tls]``. Annotations are objects: see `gwctl.config.model.settings`."""

from typing import Annotated, Literal

import msgspec

from gwctl.config.model.meta import meta as _meta


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS for the addresses of `bind` that begin with `tls:`. The files are read again at each reload."""

    certificate: Annotated[
        tuple[str, ...],
        _meta(
            "Certificate with its chain, PEM. Several: chosen by the name that the client asks for (SNI) "
            "and the names in them; the first is for all others.",
            ["/etc/ssl/shop.pem"],
            path="file",
        ),
    ] = ()
    key: Annotated[
        tuple[str, ...],
        _meta(
            "Private key, PEM; as many as certificates. Left out: the keys are in the certificates' files.",
            ["/etc/ssl/shop.key"],
            path="file",
        ),
    ] = ()
    password_file: Annotated[
        str,
        _meta(
            "File whose first line is the password of the keys. Empty: they are not encrypted.",
            "/etc/ssl/shop.password",
            path="file",
        ),
    ] = ""
    client_ca: Annotated[
        str,
        _meta("Authorities that client certificates must come from, PEM.", "/etc/ssl/staff.pem", path="file"),
    ] = ""
    verify: Annotated[
        Literal["none", "optional", "required"],
        _meta(
            "Client certificates. optional: one that is shown must be valid. required: none, no connection.",
            "required",
        ),
    ] = "none"
    minimum_version: Annotated[Literal["1.2", "1.3"], _meta("Oldest version of TLS.", "1.3")] = "1.2"
    ciphers: Annotated[
        str,
        _meta(
            "Ciphers of TLS 1.2 as OpenSSL writes them. Empty: Python's choice.",
            "ECDHE+AESGCM:ECDHE+CHACHA20",
        ),
    ] = ""
