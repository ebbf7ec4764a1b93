"""What an application is told of a connection's TLS: WSGI in the words of mod_ssl, ASGI in those of
its TLS extension (https://asgi.readthedocs.io/en/latest/specs/tls.html). Made once per connection.

A client certificate is only there if it was verified: an invalid one ends the handshake.
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from weakref import WeakKeyDictionary

_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""RFC 4514 section 3; other attributes keep OpenSSL's name."""
_SPECIAL: Final = frozenset('",+;<>\\')
_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

_suites: WeakKeyDictionary[ssl.SSLContext, dict[str, int]] = WeakKeyDictionary()


def environ(tls: ssl.SSLObject) -> dict[str, str]:
    """Return the CGI variables of a connection."""
    cipher = tls.cipher()
    variables = {
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SSL_PROTOCOL": tls.version() or "",
        "SSL_CIPHER": cipher[0] if cipher is not None else "",
    }
    if tls.context.verify_mode != ssl.CERT_NONE:
        certificate = tls.getpeercert(binary_form=True)
        variables["SSL_CLIENT_VERIFY"] = "NONE" if certificate is None else "SUCCESS"
        if certificate is not None:
            variables["SSL_CLIENT_S_DN"] = client_name(tls) or ""
            variables["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
    return variables


def extension(tls: ssl.SSLObject) -> dict[str, Any]:
    """Return the ``tls`` extension of a connection's scopes."""
    cipher = tls.cipher()
    context = tls.context
    return {
        "server_cert": getattr(context, "certificate", None),
        "client_cert_chain": _chain(tls),
        "client_cert_name": client_name(tls),
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(tls.version() or ""),
        "cipher_suite": _suites_of(context).get(cipher[0]) if cipher is not None else None,
    }


def _chain(tls: ssl.SSLObject) -> list[str]:
    """Return what the client sent, its own certificate first; that alone before Python 3.13."""
    certificate = tls.getpeercert(binary_form=True)
    if certificate is None:
        return []  # asked for the chain of a client that was asked for one and has none, 3.13 fails
    whole = getattr(tls, "get_unverified_chain", None)
    chain = [certificate] if whole is None else whole()
    return [ssl.DER_cert_to_PEM_cert(each) for each in chain]


def _suites_of(context: ssl.SSLContext) -> dict[str, int]:
    """Return the suites' numbers in the registry of IANA by OpenSSL's names."""
    suites = _suites.get(context)
    if suites is None:
        suites = _suites[context] = {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}
    return suites


def client_name(tls: ssl.SSLObject) -> str | None:
    """Return the subject of the client's certificate as RFC 4514 writes it: ``CN=ann,O=Shop``."""
    certificate = tls.getpeercert()
    if not certificate:
        return None
    subject: Any = certificate.get("subject", ())
    parts = [
        "+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in rdn) for rdn in subject
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    text = "".join(f"\\{char}" if char in _SPECIAL else char for char in value).replace("\0", "\\00")
    if text.startswith((" ", "#")):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and len(value) > 1 else text
