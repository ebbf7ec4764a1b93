"""Whatever an application puts into its folder: what is understood is read, and the rest is counted."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gwctl.admin.application.files import (
    BYTES_MAX,
    ENTRIES_MAX,
    FILE_BYTES_MAX,
    FILES_MAX,
    File,
    read_worker,
)
from gwctl.admin.application.left_out import LeftOut, Reason
from tests.support.multiproc import count, write


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def read(pool: int) -> tuple[list[File], LeftOut]:
    left_out = LeftOut()
    return read_worker(pool, "7", left_out), left_out


def test_a_worker_that_counts(pool: int, tmp_path: Path) -> None:
    count(tmp_path / "7", 5.0, process=31, path="/")
    write(tmp_path / "7", "gauge_livesum", 31, [("up", "up", {}, 1.0, 0.0)])
    (counter, gauge), left_out = read(pool)
    assert (counter.kind, counter.mode, counter.process) == ("counter", "", "31")
    assert counter.entries == [(b'["hits", "hits_total", {"path": "/"}, "Help."]', 5.0, 0.0)]
    assert (gauge.kind, gauge.mode) == ("gauge", "livesum")
    assert left_out == {}


def test_no_folder_and_an_empty_one(pool: int, tmp_path: Path) -> None:
    assert read(pool) == ([], {})
    (tmp_path / "7").mkdir()
    assert read(pool) == ([], {})


def test_a_file_of_which_only_the_name_is_there_yet(pool: int, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "counter_1.db").touch()
    (tmp_path / "7" / "counter_2.db").write_bytes(bytes(1 << 16))
    files, left_out = read(pool)
    assert [file.entries for file in files] == [[], []]
    assert left_out == {}


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    other = count(path.parent.parent / "8", 1.0)
    path.symlink_to(other)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(path))


def endless(path: Path) -> None:
    """A hole of a tebibyte, all of which is said to be used."""
    path.write_bytes(struct.pack("i", 2**31 - 1))
    os.truncate(path, 1 << 40)


def claims_more(path: Path) -> None:
    path.write_bytes(struct.pack("ii", 1 << 20, 0))


def negative(path: Path) -> None:
    path.write_bytes(struct.pack("ii", -8, 0) + bytes(100))


def no_length(path: Path) -> None:
    path.write_bytes(struct.pack("iii", 64, 0, 0) + bytes(100))


def long_key(path: Path) -> None:
    write(path.parent, "counter", 1, [("a" * 5000, "b", {}, 1.0, 0.0)])


HOSTILE: list[tuple[Callable[[Path], None], Reason]] = [
    (fifo, "file"),
    (link, "file"),
    (Path.mkdir, "file"),
    (unix_socket, "file"),
    (endless, "too_large"),
    (claims_more, "malformed"),
    (negative, "malformed"),
    (no_length, "malformed"),
    (long_key, "too_large"),
]


@pytest.mark.parametrize(("make", "reason"), HOSTILE)
def test_hostile_files_hide_no_other(
    pool: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], reason: Reason
) -> None:
    """None is waited for, followed or believed."""
    count(tmp_path / "7", 5.0, process=2)
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    make(tmp_path / "7" / "counter_1.db")
    files, left_out = read(pool)
    assert [value for file in files for _, value, _ in file.entries] == [5.0]
    assert left_out[reason] >= 1


def test_the_folder_itself_is_a_link(pool: int, tmp_path: Path) -> None:
    count(tmp_path / "8", 5.0)
    (tmp_path / "7").symlink_to(tmp_path / "8")
    assert read(pool) == ([], {"file": 1})


def test_more_files_than_are_read(pool: int, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    for number in range(FILES_MAX + 50):
        (tmp_path / "7" / f"counter_{number}.db").touch()
    files, left_out = read(pool)
    assert len(files) == FILES_MAX
    assert left_out == {"too_many": 1}


def test_more_series_than_are_read(pool: int, tmp_path: Path) -> None:
    series = [("a", "a_total", {"n": str(number)}, 1.0, 0.0) for number in range(ENTRIES_MAX + 10)]
    write(tmp_path / "7", "counter", 1, series)
    count(tmp_path / "7", 5.0, process=2)
    files, left_out = read(pool)
    assert sum(len(file.entries) for file in files) == ENTRIES_MAX
    assert left_out == {"too_many": 2}


def test_more_bytes_than_are_read(pool: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holes cost the application nothing."""
    (tmp_path / "7").mkdir()
    for number in range(FILES_MAX):
        path = tmp_path / "7" / f"counter_{number}.db"
        path.write_bytes(struct.pack("i", FILE_BYTES_MAX - 8 * number))
        os.truncate(path, FILE_BYTES_MAX)
    taken, pread = [], os.pread

    def counted(fd: int, size: int, at: int) -> bytes:
        data = pread(fd, size, at)
        taken.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counted)
    files, left_out = read(pool)
    assert sum(taken) <= BYTES_MAX + 8 * FILES_MAX
    assert len(files) == 3
    assert left_out == {"malformed": 2, "too_large": 2}, "a file that is cut, and all after it"


def test_a_name_that_is_none(pool: int, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    for name in ("counter.db", "gauge_1.db", "gauge_most_1.db", "counter_1.txt", "core", "counter_\udcff.db"):
        (tmp_path / "7" / name).touch()
    files, left_out = read(pool)
    assert left_out == {"file": 5}
    assert [file.process for file in files] == ["\udcff"]


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_and_flipped_ones_end(pool: int, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = write(
        tmp_path / "7",
        "counter",
        1,
        [("a", "a_total", {"n": str(number)}, 1.0, 0.0) for number in range(100)],
    )
    data = bytearray(path.read_bytes()) if seed % 2 else bytearray(rng.randbytes(5000))
    for _ in range(20):
        data[rng.randrange(min(len(data), 5000))] = rng.randrange(256)
    path.write_bytes(data)
    files, _ = read(pool)
    assert len(files[0].entries) <= 5000 // 20


def test_what_is_cut_at_the_bound_is_counted_once(pool: int, tmp_path: Path) -> None:
    filler = "x" * 4000
    many = [
        ("a", "a_total", {"n": f"{number}{filler}"}, 1.0, 0.0) for number in range(FILE_BYTES_MAX // 4000)
    ]
    write(tmp_path / "7", "counter", 1, many)
    files, left_out = read(pool)
    assert len(files[0].entries) > 2000
    assert left_out == {"too_large": 1}
