"""What is told about wrong TLS settings and the files they name, and what is read when they are right."""

from __future__ import annotations

import datetime as dt
import re
import ssl
import subprocess
from pathlib import Path

import pytest

from gwctl.config.load import Loaded, load
from tests.support.debian import need
from tests.support.mistakes import WEB, mistakes
from tests.support.tls import Files

BIND = 'bind = "tls:127.0.0.1:8443"\n'
TABLE = "[pool.web.tls]\n"
CERTIFICATE = 'certificate = "shop.example.pem"\n'
KEY = 'key = "shop.example.key"\n'
WHOLE = f"{WEB}{BIND}{TABLE}{CERTIFICATE}{KEY}"


@pytest.fixture
def shop(tmp_path: Path) -> Files:
    return Files(tmp_path, "shop.example")


def loaded(folder: Path, text: str) -> Loaded:
    (folder / "gw.toml").write_text(text, "utf-8")
    return load(Path("gw.toml"), environ={}, cwd=folder)


SETTINGS = {
    "no certificate": (
        f"{WEB}{BIND}",
        (
            'gw.toml:3: pool.web.bind = "tls:127.0.0.1:8443": speaks TLS, but there is no certificate. '
            'Write [pool.web.tls] and under it certificate = "FILE"'
        ),
    ),
    "nobody speaks TLS": (
        f"{WEB}{TABLE}{CERTIFICATE}{KEY}",
        (
            "gw.toml:4: pool.web.tls.certificate: no address of `bind` speaks TLS. "
            'Write bind = "tls:127.0.0.1:8000"'
        ),
    ),
    "a table without a certificate": (
        f"{WEB}{TABLE}{KEY}",
        'gw.toml:3: pool.web.tls.certificate: is missing. Write certificate = "FILE"',
    ),
    "a URL": (
        f'{WEB}bind = "https://127.0.0.1:8443"\n',
        'gw.toml:3: pool.web.bind = "https://127.0.0.1:8443": is a URL. Write "tls:127.0.0.1:8443"',
    ),
    "the same port plain and in TLS": (
        f'{WEB}bind = [":8443", "tls:127.0.0.1:8443"]\n{TABLE}{CERTIFICATE}{KEY}',
        'gw.toml:3: pool.web.bind = "tls:127.0.0.1:8443": is bound already by :8443',
    ),
    "two keys for one certificate": (
        f'{WEB}{BIND}{TABLE}{CERTIFICATE}key = ["shop.example.key", "shop.example.key"]\n',
        "gw.toml:6: pool.web.tls.key: 2 for 1 certificates: each has one, in the same order",
    ),
    "nobody to believe": (
        f'{WHOLE}verify = "required"\n',
        'gw.toml:7: pool.web.tls.verify = "required": nobody is told whom to believe. Write client_ca = "FILE"',
    ),
    "nobody is asked": (
        f'{WHOLE}client_ca = "shop.example.pem"\n',
        (
            'gw.toml:7: pool.web.tls.client_ca = "shop.example.pem": client certificates are not asked for. '
            'Write verify = "required" or "optional"'
        ),
    ),
    "an old version": (
        f'{WHOLE}minimum_version = "1.1"\n',
        'gw.toml:7: pool.web.tls.minimum_version = "1.1": expected "1.2" or "1.3"',
    ),
    "no cipher": (
        f'{WHOLE}ciphers = "GOOD"\n',
        "gw.toml:7: pool.web.tls.ciphers: OpenSSL knows no cipher of this list",
    ),
    "no file": (
        f'{WEB}{BIND}{TABLE}certificate = "none.pem"\n',
        'gw.toml:5: pool.web.tls.certificate = "none.pem": there is no file none.pem',
    ),
    "a name of gunicorn": (
        f'{WEB}certfile = "x"\n',
        'gw.toml:3: pool.web.certfile = "x": no such setting. Did you mean `tls.certificate`?',
    ),
    "a number for a version": (
        f"{WHOLE}minimum_version = 1.2\n",
        (
            'gw.toml:7: pool.web.tls.minimum_version = 1.2: expected "1.2" or "1.3", found a number. '
            'Write "1.2"'
        ),
    ),
    "a yes for client certificates": (
        f"{WHOLE}verify = true\n",
        (
            'gw.toml:7: pool.web.tls.verify = true: expected "none", "optional" or "required", '
            'found true or false. Write "required"'
        ),
    ),
    "the wrong way round": (
        f'{WEB}{BIND}{TABLE}certificate = "shop.example.key"\nkey = "shop.example.pem"\n',
        (
            "gw.toml:5: pool.web.tls.certificate: has no certificate in PEM form in it. There is a private "
            "key in it: are `certificate` and `key` the wrong way round?"
        ),
    ),
    "a name of nginx": (
        f'{WHOLE}ssl_protocols = "TLSv1.2"\n',
        (
            'gw.toml:7: pool.web.tls.ssl_protocols = "TLSv1.2": no such setting. '
            "Did you mean `minimum_version`?"
        ),
    ),
    "a name of uvicorn": (
        f'{WEB}ssl_keyfile = "x"\n',
        'gw.toml:3: pool.web.ssl_keyfile = "x": no such setting. Did you mean `tls.key`?',
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(tmp_path: Path, shop: Files, name: str) -> None:
    text, told = SETTINGS[name]
    assert mistakes(tmp_path, text) == [told, "1 problem"] or mistakes(tmp_path, text) == [told]


def only(folder: Path, text: str) -> str:
    """The one thing that is told about this gw.toml."""
    told = [line for line in mistakes(folder, text) if line.startswith("gw.toml")]
    assert len(told) == 1
    return told[0]


def test_files(tmp_path: Path, shop: Files) -> None:
    """Each says which file, and what to do."""
    other = Files(tmp_path, "other.example")
    alone = f"{WEB}{BIND}{TABLE}{CERTIFICATE}"
    assert only(tmp_path, f'{alone}key = "{other.key.name}"\n') == (
        "gw.toml:6: pool.web.tls.key: the key in other.example.key does not belong to the certificate in "
        "shop.example.pem"
    )
    assert only(tmp_path, alone) == (
        "gw.toml:5: pool.web.tls.certificate: shop.example.pem has no private key in PEM form in it. "
        "Name its file with `key`"
    )
    shop.certificate.write_bytes(ssl.PEM_cert_to_DER_cert(shop.pem))
    assert only(tmp_path, WHOLE) == (
        "gw.toml:5: pool.web.tls.certificate: has no certificate in PEM form in it. It looks like DER. "
        "Write PEM: openssl x509 -inform der -in shop.example.pem"
    )
    shop.certificate.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    assert "shop.example.pem: the certificate in it is damaged" in only(tmp_path, WHOLE)
    shop.certificate.write_text("")
    assert "has no certificate in PEM form in it" in only(tmp_path, WHOLE)
    shop.certificate.write_text(other.pem)
    other.key.write_text("-----BEGIN PRIVATE KEY-----\nrubbish\n-----END PRIVATE KEY-----\n")
    assert "pool.web.tls.key: other.example.key: " in only(tmp_path, f'{alone}key = "other.example.key"\n')
    ca = f'{alone}key = "shop.example.key"\nverify = "required"\nclient_ca = "other.example.key"\n'
    assert "pool.web.tls.client_ca: has no certificate in PEM form in it" in only(tmp_path, ca)


def test_an_encrypted_key(tmp_path: Path, shop: Files) -> None:
    """Nobody is asked on the terminal."""
    openssl = need("openssl", "openssl")
    locked = tmp_path / "locked.key"
    command = [
        openssl,
        "pkey",
        "-in",
        str(shop.key),
        "-aes256",
        "-passout",
        "pass:sesame",
        "-out",
        str(locked),
    ]
    subprocess.run(command, check=True, capture_output=True)
    text = f'{WEB}{BIND}{TABLE}{CERTIFICATE}key = "locked.key"\n'
    assert only(tmp_path, text) == (
        "gw.toml:6: pool.web.tls.key: the key in locked.key is encrypted. Set `password_file`"
    )
    password = tmp_path / "password"
    text += 'password_file = "password"\n'
    password.write_text("wrong\n")
    assert only(tmp_path, text) == (
        "gw.toml:7: pool.web.tls.password_file: is not the password of locked.key"
    )
    password.write_text("sesame\nand nothing else\n")
    assert loaded(tmp_path, text).identities["web"].context.cert_store_stats()


def test_what_is_right(tmp_path: Path, shop: Files) -> None:
    found = loaded(tmp_path, WHOLE)
    assert found.settings.pool["web"].bind == ("tls:127.0.0.1:8443",)
    assert found.settings.pool["web"].tls.key == (str(shop.key),)
    assert found.warnings == []
    context = found.identities["web"].context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    both = shop.certificate.read_text() + shop.key.read_text()
    shop.certificate.write_text(both)
    assert loaded(tmp_path, f"{WEB}{BIND}{TABLE}{CERTIFICATE}").identities
    assert not loaded(tmp_path, WEB).identities
    unix = loaded(tmp_path, f'{WEB}bind = ["tls:unix:web.sock", "tls:localhost:1"]\n{TABLE}{CERTIFICATE}')
    assert unix.settings.pool["web"].bind == (f"tls:unix:{tmp_path}/web.sock", "tls:127.0.0.1:1")


def test_the_end_of_a_certificate_is_told_of(tmp_path: Path) -> None:
    """No reason to refuse: a service with an expired certificate is better than none."""
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    for left, told in ((-1, "expired on"), (3, ", in 3 days"), (40, "")):
        Files(tmp_path, "shop.example", not_before=now - 2 * day, not_after=now + left * day + day / 50)
        warnings = loaded(tmp_path, WHOLE).warnings
        assert bool(warnings) == bool(told)
        assert all(told in warning and "shop.example.pem" in warning for warning in warnings)
    Files(tmp_path, "shop.example", not_before=now + day, not_after=now + 40 * day)
    (warning,) = loaded(tmp_path, WHOLE).warnings
    assert re.search(r"shop.example.pem is valid from \S+ \S+ UTC on: clients refuse it until then", warning)
