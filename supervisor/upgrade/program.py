"""The program of a master: how it was started, and a copy of it for the case that its successor fails.

What an upgrade executes is the command as it was given: the same interpreter path, script, arguments
and folder, looked up anew. So a package that was installed over this one takes effect, and so
does a link to a virtual environment that points somewhere else by now. A script that names its interpreter
itself, as pip writes them, is executed itself: what it names may be another one by now.

The program that runs is not on disk any more then. If the new one cannot restore what it was
handed, somebody has to: so a master keeps its own sources, in a memory file that Python imports from
like from any archive (`Program.keep`). With the interpreter where it was found at the start, its
folder's links resolved, this is the program that ran, but for libraries that were replaced in place.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
from binascii import crc32
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

import gwctl
from gwctl.sealed_files import seal
from gwctl.supervisor.event_loop import HANDLED

_START: Final = "import sys; sys.path.insert(0, '/proc/self/fd/{}'); from gwctl.__main__ import main; main()"
_VERSION: Final = re.compile(r'^__version__ = "(.+)"', re.MULTILINE)
_HEADER: Final = struct.Struct("<4sHHHHHIIIHH")
_ENTRY: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
"""Of the records of a zip: PKWARE's APPNOTE, 4.3.7, 4.3.12 and 4.3.16."""
HEARD: Final = frozenset(map(int, (*HANDLED, signal.SIGALRM)))
"""Let in even if whoever started it had them blocked, as some supervisors and threads do: a master that
ignores TERM could not be stopped. ALRM bounds the check of an upgrade."""
_WRITE: Final = 8  # F_SEAL_WRITE of linux/fcntl.h
_SHEBANG_MAX: Final = 4096  # bytes; Linux reads 256 of them
_DATE: Final = 0x21  # the first day that it can express


class ProgramSnapshot(msgspec.Struct, frozen=True):
    """What this master was started with, and what is executed when its successor fails."""

    path: str
    arguments: tuple[str, ...]
    folder: str
    copy_fd: int = -1
    """Of the program that runs; see `Program.keep`."""
    rescue: tuple[str, ...] = ()


class Program(msgspec.Struct):
    """The command as it was given: ``arguments`` begins with argv[0], as of execve(2)."""

    path: str
    arguments: tuple[str, ...]
    folder: str
    mask: tuple[int, ...]
    """Signals that were blocked when it was given, without those that a master handles."""
    rescue: tuple[str, ...] = ()
    """What executes the copy."""
    copy_fd: int = -1
    replaces: int = -1
    """The copy of the program before, until there is one of this program."""
    _noticed: str = ""
    """Another version that is on disk."""

    def __post_init__(self) -> None:
        self.mask = tuple(sorted(set(self.mask).difference(HEARD)))

    @classmethod
    def given(cls) -> Program:
        """Of this process, as it was started. To be called before the folder or the mask is changed."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        shown = os.environ.get("PWD", "")
        try:
            folder = shown if shown.startswith("/") and Path(shown).samefile(".") else str(Path.cwd())
        except OSError:
            folder = str(Path.cwd())
        script = _script(sys.orig_argv, sys.argv)
        if script:
            return cls(script, (script, *sys.argv[1:]), folder, tuple(map(int, mask)))
        # Not argv[0] as it was: python finds its environment by it.
        return cls(sys.executable, (sys.executable, *sys.orig_argv[1:]), folder, tuple(map(int, mask)))

    def snapshot(self) -> ProgramSnapshot:
        copy_fd = max(self.copy_fd, self.replaces)  # only one of them is there
        return ProgramSnapshot(self.path, self.arguments, self.folder, copy_fd, self.rescue)

    @classmethod
    def from_snapshot(cls, given: ProgramSnapshot, mask: tuple[int, ...], *, is_copy: bool) -> Program:
        """``is_copy``: this is the program before, executed again: so it stays until an upgrade succeeds."""
        program = cls(given.path, given.arguments, given.folder, mask)
        if is_copy:
            program.copy_fd, program.rescue = given.copy_fd, given.rescue
        elif given.copy_fd >= 0:
            program.replaces = given.copy_fd
        return program

    def let_signals_in(self) -> None:
        """Handlers stand: what waited in the kernel meanwhile is delivered now."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def keep(self) -> None:
        """Copy the sources of this program; to be called while they are still those on disk.

        Raises:
            OSError: They cannot be read, or there is no descriptor left.
        """
        if self.runs_from_copy:
            return
        data = archive()
        if self.replaces >= 0:
            os.close(self.replaces)
            self.replaces = -1
        fd = os.memfd_create("gwctl-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(fd, data)
        seal(fd, _WRITE)  # a worker may have to keep it, and this process may be root
        executable = Path(sys.executable)
        resolved = executable.parent.resolve() / executable.name
        self.copy_fd = fd
        self.rescue = (str(resolved), *_flags(), "-c", _START.format(fd), *sys.argv[1:])

    def other_version(self) -> str:
        """Before anything of gwctl is imported late, here or in a new worker: is it still of this version?

        If not, it is imported from the copy from now on: what runs must not become a mixture. Returns
        the version that is installed, once for each that is found; else nothing.
        """
        there = "" if self.runs_from_copy else _version_on_disk()
        if there in {"", gwctl.__version__, self._noticed}:
            return ""
        self._noticed = there
        if self.copy_fd >= 0:
            for name, module in list(sys.modules.items()):
                if name.split(".")[0] == "gwctl" and hasattr(module, "__path__"):
                    module.__path__ = [f"/proc/self/fd/{self.copy_fd}/{name.replace('.', '/')}"]
        return there

    @property
    def runs_from_copy(self) -> bool:
        """This very process is the rescue of a failed upgrade."""
        return self.copy_fd >= 0 and f"/proc/self/fd/{self.copy_fd}" in sys.path

    def close_in_child(self) -> None:
        """In a new worker: it does not need the copy, unless that is where its code comes from."""
        if not self.runs_from_copy and not self._noticed:
            for fd in (self.copy_fd, self.replaces):
                if fd >= 0:
                    os.close(fd)
            self.copy_fd = self.replaces = -1


def _version_on_disk() -> str:
    """What an import of gwctl would find now; empty if that cannot be told."""
    try:
        found = _VERSION.search(Path(gwctl.__file__).read_text("utf-8"))
    except OSError:
        return ""
    return found[1] if found else ""


def _script(command: Sequence[str], arguments: Sequence[str]) -> str:
    """The script by which the kernel came to this interpreter; empty if the interpreter was executed itself.

    Args:
        command: As `sys.orig_argv`: interpreter, its options, the script, what the script was given.
        arguments: As `sys.argv`.
    """
    head = command[: len(command) - len(arguments[1:])]
    if len(head) < 2 or "-m" in head or "-c" in head:
        return ""
    script = head[-1]
    try:
        with Path(script).open("rb") as file:
            named = os.fsdecode(file.readline(_SHEBANG_MAX)).removeprefix("#!").split()
    except OSError:
        return ""
    # Where its path has blanks, or is too long for the kernel, pip writes a script of sh that executes it.
    by_it = named and (head[0] in named or Path(named[0]).name == "sh")
    by_it = by_it and set(" ".join(head[1:-1]).split()) <= set(named)  # else somebody gave python options
    return script if by_it and os.access(script, os.X_OK) else ""


def _flags() -> Iterable[str]:
    """The options of the interpreter, without what it was to run."""
    head = list(sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv[1:])])
    for option in ("-m", "-c"):
        if option in head:
            return head[: head.index(option)]
    return head[:-1]


def archive() -> bytes:
    """The package as a zip of sources, not compressed: it is read once, if ever.

    Written by hand, since zipfile would bring six compression modules into a master that stays small.
    """
    package = str(Path(gwctl.__file__).parent)
    parts, directory, offset = [], [], 0
    for path in sorted(_sources(package)):
        with open(path, "rb") as file:  # noqa: PTH123 - see `_sources`
            data = file.read()
        name = f"gwctl{path.removeprefix(package)}".encode()
        about = (20, 0, 0, 0, _DATE, crc32(data), len(data), len(data), len(name), 0)
        directory.append(_ENTRY.pack(b"PK\1\2", 20, *about, 0, 0, 0, 0, offset) + name)
        parts += [_HEADER.pack(b"PK\3\4", *about) + name, data]
        offset += _HEADER.size + len(name) + len(data)
    entries, size = len(directory), sum(map(len, directory))
    return b"".join([*parts, *directory, _END.pack(b"PK\5\6", 0, 0, entries, entries, size, offset, 0)])


def _sources(package: str) -> Iterator[str]:
    """As texts: three hundred objects of pathlib cost more than to read the files."""
    for folder, folders, names in os.walk(package, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (f"{folder}/{name}" for name in names if name.endswith(".py"))
