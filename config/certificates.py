"""Certificates: from the files of ``[pool.NAME.tls]`` to contexts that a worker can serve with.

The master makes the contexts, while it may read the keys, and workers inherit them across the
fork. So all workers of a generation have the same ones, whatever the files hold later, and
share the keys of session tickets: a client may resume with any of them.

One context per certificate. Which one a client gets is decided by the names in the certificates
and the name the client asks for (SNI): a name itself goes before a wildcard, the first
certificate is for all others. Certificates of the same names but of different kinds (RSA,
ECDSA) share a context, and OpenSSL takes the one that the client understands.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from gwctl.config.model.tls import Tls

WARN_DAYS: Final = 14
"""A certificate that ends sooner is told of."""
_DAY_S: Final = 86_400
_RENEW: Final = "Renew it, then gwctl reload"
_VERIFY: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"

Place = tuple[str | int, ...]


class TlsError(Exception):
    """A setting of the table cannot be used. ``place`` is below the table."""

    def __init__(self, place: Place, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.place = place
        self.hint = hint


class ServerContext(ssl.SSLContext):
    """``certificate`` is the server's own, in PEM; ``all``: this one, and those for other names."""

    certificate: str
    all: tuple[ServerContext, ...]


class Certificate(Struct):
    """One entry of the settings, with what is in its file."""

    index: int
    path: str
    key: str
    names: tuple[str, ...]
    begins_at: float
    ends_at: float
    """Both in seconds of the epoch."""
    pem: str


class Identity(Struct):
    """What a pool's TLS listeners serve with."""

    context: ServerContext
    warnings: list[str] = field(default_factory=list)


def load(tls: Tls) -> Identity:
    """Read everything that the table names.

    Raises:
        TlsError: The first thing that cannot be used.
    """
    password = _read_password(tls.password_file)
    contexts: dict[tuple[str, ...], ServerContext] = {}
    warnings: list[str] = []
    for index, path in enumerate(tls.certificate):
        certificate = _read_certificate(index, path, tls.key[index] if tls.key else path)
        context = contexts.get(certificate.names)
        if context is None:
            context = contexts[certificate.names] = _new_context(tls)
            context.certificate = certificate.pem
        _load_chain(context, certificate, password, bool(tls.key))
        warnings += _lifetime(certificate)
    first = next(iter(contexts.values()))
    first.all = tuple(contexts.values())
    if len(contexts) > 1:
        first.sni_callback = _chooser(contexts)
    return Identity(first, warnings)


def offer(context: ssl.SSLContext, protocols: list[str]) -> None:
    """Have ``context``, and those that it chooses among, offer ``protocols`` by ALPN, the best ones first.

    For a worker, of its own copy: what it speaks may depend on its application.
    """
    for each in context.all if isinstance(context, ServerContext) else (context,):
        each.set_alpn_protocols(protocols)


def _new_context(tls: Tls) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.minimum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    if tls.ciphers:
        try:
            context.set_ciphers(tls.ciphers)
        except ssl.SSLError:
            raise TlsError(("ciphers",), "OpenSSL knows no cipher of this list") from None
    context.verify_mode = _VERIFY[tls.verify]
    if tls.client_ca:
        data = _read(("client_ca",), tls.client_ca)
        try:
            context.load_verify_locations(cadata=_text(("client_ca",), data))
        except ssl.SSLError as error:
            raise TlsError(("client_ca",), _no_certificate(data, error)) from None
    return context


# ---- files


def _read(place: Place, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsError(place, f"cannot read {path}: {error.strerror}") from None


def _text(place: Place, data: bytes) -> str:
    try:
        return data.decode("ascii", "ignore" if _CERTIFICATE in data else "strict")
    except UnicodeDecodeError:
        raise TlsError(place, "has no certificate in PEM form in it") from None


def _read_password(path: str) -> str | None:
    if not path:
        return None
    line = _read(("password_file",), path).decode("utf-8", "surrogateescape").split("\n", 1)[0]
    return line.removesuffix("\r")


def _read_certificate(index: int, path: str, key: str) -> Certificate:
    place = ("certificate", index)
    data = _read(place, path)
    if _CERTIFICATE not in data:
        raise TlsError(place, _no_certificate(data, None), _pem_hint(data, path))
    try:
        metadata = _decode(path)
    except (ssl.SSLError, OSError, ValueError):
        raise TlsError(place, f"{path}: the certificate in it is damaged") from None
    names = [value.lower() for kind, value in metadata.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        names = [value.lower() for rdn in metadata["subject"] for name, value in rdn if name == "commonName"]
    start = data.index(_CERTIFICATE)
    end = data.find(b"-----END CERTIFICATE-----", start)
    pem = data[start:end].decode("ascii", "replace") + "-----END CERTIFICATE-----\n"
    begins_at, ends_at = (ssl.cert_time_to_seconds(metadata[name]) for name in ("notBefore", "notAfter"))
    return Certificate(index, path, key, tuple(sorted(names)), begins_at, ends_at, pem)


def _decode(path: str) -> dict[str, Any]:
    """Decode the first certificate of a file. There is no public way without a connection."""
    decoded: dict[str, Any] = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined] # noqa: SLF001
    return decoded


def _no_certificate(data: bytes, error: ssl.SSLError | None) -> str:
    if error is not None and _CERTIFICATE in data:
        return f"has a damaged certificate in it ({error.reason or error})"
    return "has no certificate in PEM form in it"


def _pem_hint(data: bytes, path: str) -> str:
    if _KEY in data:
        return "There is a private key in it: are `certificate` and `key` the wrong way round?"
    if data[:1] == b"\x30":  # an ASN.1 sequence
        return f"It looks like DER. Write PEM: openssl x509 -inform der -in {path}"
    return ""


def _load_chain(
    context: ServerContext, certificate: Certificate, password: str | None, key_given: bool
) -> None:
    place: Place = ("key", certificate.index) if key_given else ("certificate", certificate.index)
    data = _read(place, certificate.key)
    if _KEY not in data:
        hint = "" if key_given else "Name its file with `key`"
        raise TlsError(place, f"{certificate.key} has no private key in PEM form in it", hint)
    asked: list[bool] = []
    try:
        context.load_cert_chain(certificate.path, certificate.key, _password(password, asked))
    except ssl.SSLError as error:
        raise _key_error(place, certificate, error, bool(asked), password is not None) from None
    except (OSError, ValueError) as error:
        raise TlsError(place, f"{certificate.key}: {error}") from None


def _password(password: str | None, asked: list[bool]) -> Callable[[], str]:
    """Return what OpenSSL calls for an encrypted key. Without one it would ask the terminal."""

    def answer() -> str:
        asked.append(True)
        return password or "?"

    return answer


def _key_error(
    place: Place, certificate: Certificate, error: ssl.SSLError, encrypted: bool, given: bool
) -> TlsError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return TlsError(
            place, f"the key in {certificate.key} does not belong to the certificate in {certificate.path}"
        )
    if encrypted and given:
        return TlsError(("password_file",), f"is not the password of {certificate.key}")
    if encrypted:
        return TlsError(place, f"the key in {certificate.key} is encrypted", "Set `password_file`")
    if error.reason in {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}:
        return TlsError(("certificate", certificate.index), "its key or signature is too weak for OpenSSL")
    return TlsError(place, f"{certificate.key}: {error.reason or error}")


# ---- names and times


def _chooser(
    contexts: dict[tuple[str, ...], ServerContext],
) -> Callable[[ssl.SSLObject | ssl.SSLSocket, str | None, ssl.SSLContext], None]:
    by_name: dict[str, ServerContext] = {}
    for names, context in contexts.items():
        for name in names:
            by_name.setdefault(name, context)

    def choose(tls: ssl.SSLObject | ssl.SSLSocket, asked: str | None, _context: ssl.SSLContext) -> None:
        if asked is None:
            return
        name = asked.lower().rstrip(".")
        found = by_name.get(name) or by_name.get(f"*.{name.partition('.')[2]}")
        if found is not None:
            tls.context = found

    return choose


def _lifetime(certificate: Certificate) -> list[str]:
    now = time.time()
    left_s = certificate.ends_at - now
    if left_s <= 0:
        return [f"{certificate.path} expired on {_day(certificate.ends_at)}: clients refuse it. {_RENEW}"]
    if certificate.begins_at > now:
        begins = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(certificate.begins_at))
        return [f"{certificate.path} is valid from {begins} on: clients refuse it until then"]
    if left_s < WARN_DAYS * _DAY_S:
        return [f"{certificate.path} expires on {_day(certificate.ends_at)}, in {_days(left_s)}. {_RENEW}"]
    return []


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def _days(left_s: float) -> str:
    days = round(left_s / _DAY_S)
    return f"{left_s / 3600:.0f} h" if days < 2 else f"{days} days"
