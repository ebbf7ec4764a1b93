"""Addresses: what they mean, what is told of those that are none, and which exclude each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config.addresses import (
    Address,
    AddressError,
    FdAddress,
    SystemdAddress,
    TcpAddress,
    UnixAddress,
    make_absolute,
    numbered,
    overlap,
    parse,
    shown,
)

GOOD = {
    "127.0.0.1:8000": TcpAddress("127.0.0.1", 8000),
    "0.0.0.0:0": TcpAddress("0.0.0.0", 0),
    ":80": TcpAddress("", 80),
    "*:80": TcpAddress("", 80),
    "localhost:65535": TcpAddress("127.0.0.1", 65535),
    "[::1]:80": TcpAddress("::1", 80),
    "[0:0::0]:80": TcpAddress("::", 80),
    "[fe80::1%eth0]:80": TcpAddress("fe80::1%eth0", 80),
    "unix:/run/web.sock": UnixAddress("/run/web.sock"),
    "unix:web.sock": UnixAddress("web.sock"),
    "unix:@web": UnixAddress("@web"),
    "fd:3": FdAddress(3),
    "systemd:web": SystemdAddress("web"),
}


@pytest.mark.parametrize(("text", "address"), GOOD.items(), ids=GOOD)
def test_good(text: str, address: Address) -> None:
    assert parse(text) == address
    assert parse(str(address)) == address


BAD = {
    "": ("expected HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH, fd:N or systemd:NAME", ""),
    "a b": ("expected HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH, fd:N or systemd:NAME", ""),
    "127.0.0.1:80800": ("port 80800 is not in 1..65535", ""),
    "127.0.0.1:http": ("port 'http' is not a number", ""),
    "127.0.0.1:-1": ("port '-1' is not a number", ""),
    "127.0.0.1:": ("has no port after the colon", ""),
    "127.0.0.1:٣": ("port '٣' is not a number", ""),
    "127.0.0.1": ("has no port", 'Write "127.0.0.1:8000"'),
    "8000": ("has no host", 'Write "127.0.0.1:8000", or ":8000" for every address'),
    "256.0.0.1:80": ("256.0.0.1 is not an IPv4 address: four numbers in 0..255", ""),
    "shop.example:80": (
        "shop.example is a name: binding does not ask DNS",
        'Write an address of this machine, or ":80" for every one',
    ),
    "[::1]": ("has no port", 'Write "[::1]:8000"'),
    "[:::1]:80": ("':::1' is not an IPv6 address", ""),
    "::1": ("an IPv6 address stands in brackets, with a port", 'Write "[::1]:8000"'),
    "http://127.0.0.1:80/": ("is a URL", 'Write "127.0.0.1:80"'),
    "/run/web.sock": ("is a path", 'Write "unix:/run/web.sock"'),
    "web.sock": ("is a path", 'Write "unix:web.sock"'),
    "unix:": ("has no path", 'Write "unix:/run/NAME.sock"'),
    "unix:///run/web.sock": ("has too many slashes", 'Write "unix:/run/web.sock"'),
    "unix:a\nb": ("has the control character '\\n' in its path", ""),
    "unix:/run/\x1b[31m.sock": ("has the control character '\\x1b' in its path", ""),
    "unix:@a\tb": ("has the control character '\\t' in its path", ""),
    "unix:/run/": ("is a folder: a socket needs a name in it", 'Write "unix:/run/web.sock"'),
    "fd:x": ("'x' is not the number of a descriptor", 'Write "fd:3"'),
    "fd:2": ("descriptor 2 is stdin, stdout or stderr; a listening socket is 3 or higher", ""),
    "fd://3": ("has slashes", 'Write "fd:3"'),
    "systemd:": ("has no name", 'Write "systemd:NAME", with FileDescriptorName=NAME in the unit'),
    "systemd:a b": ("is no FileDescriptorName: ASCII without spaces and colons, at most 255 characters", ""),
}


@pytest.mark.parametrize(("text", "told"), BAD.items(), ids=BAD)
def test_bad(text: str, told: tuple[str, str]) -> None:
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert (str(caught.value), caught.value.hint) == told


@given(st.text(st.characters(codec="utf-8"), max_size=30) | st.from_regex(r"[\[\]:.a-f0-9@/]{1,20}"))
def test_any_text_is_an_address_or_told(text: str) -> None:
    """Nothing else is raised, and what is understood is understood the same from its own form."""
    try:
        address = parse(text)
    except AddressError:
        return
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("one", "other", "excluded"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),
        ("[::]:80", "127.0.0.1:80", False),
        (":80", "127.0.0.1:80", True),
        (":80", "[::1]:80", True),
        (":80", "[::]:80", True),
        (":0", "127.0.0.1:0", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("fd:3", "fd:3", True),
        ("fd:3", "systemd:web", False),
    ],
)
def test_overlap(one: str, other: str, excluded: bool) -> None:
    assert overlap(parse(one), parse(other)) is excluded
    assert overlap(parse(other), parse(one)) is excluded


@pytest.mark.parametrize(
    ("text", "absolute"),
    [
        ("unix:web.sock", "unix:/srv/shop/web.sock"),
        ("unix:/run/web.sock", "unix:/run/web.sock"),
        ("unix:@web", "unix:@web"),
        ("unix:", "unix:"),
        ("127.0.0.1:80", "127.0.0.1:80"),
    ],
)
def test_make_absolute(text: str, absolute: str) -> None:
    assert make_absolute(text, Path("/srv/shop")) == absolute


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", ":0", "tls:127.0.0.1:0", "tls:[::1]:0"])
def test_addresses_with_port_0_are_told_apart_and_shown_as_they_are_written(address: str) -> None:
    seen = Counter[str]()
    texts = [numbered(address, seen) for _ in range(3)]
    assert len(set(texts)) == 3
    assert {shown(text) for text in texts} == {address}


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "unix:/run/a0.sock", "unix:@a:00", "fd:3", "no address"]
)
def test_other_addresses_are_shown_as_they_are(address: str) -> None:
    assert shown(address) == address
