"""What can be wrong with ``[pool.NAME.tls]``: on its own, with ``bind``, and in the files it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.config import addresses, paths
from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.tls import Tls
from gwctl.config.positions import Path
from gwctl.config.sources import Tree

if TYPE_CHECKING:
    from gwctl.config.certificates import Identity


def check(name: str, pool: PoolSettings, tree: Tree, bad: set[Path]) -> Identity | None:
    """Tell the tree what is wrong; return what the pool serves with if it speaks TLS and all is well."""
    at = ("pool", name, "tls")
    if any(path[: len(at)] == at or at[: len(path)] == path for path in bad):
        return None
    told = len(tree.problems)
    _with_bind(at, pool, tree)
    if pool.tls.certificate:
        _numbers(at, pool.tls, tree)
    _verification(at, pool.tls, tree)
    if len(tree.problems) > told or not pool.tls.certificate or not _all_there(pool.tls):
        return None
    return _read(at, pool.tls, tree)


def _with_bind(at: Path, pool: PoolSettings, tree: Tree) -> None:
    """TLS without a certificate and a certificate that nobody is shown are both mistakes."""
    bind = (*at[:2], "bind")
    marked = [address for address in pool.bind if address.startswith(addresses.TLS)]
    path = (*at, "certificate")
    if marked and not pool.tls.certificate:
        given = tree.get(bind)
        place = (*bind, pool.bind.index(marked[0])) if isinstance(given, list) else bind
        hint = f'Write [{".".join(map(str, at))}] and under it certificate = "FILE"'
        tree.complain(place, "speaks TLS, but there is no certificate", hint)
    elif pool.tls.certificate and not marked and pool.bind:
        hint = f'Write bind = "{addresses.TLS}{pool.bind[0]}"'
        tree.complain(path, "no address of `bind` speaks TLS", hint, show=False)
    elif pool.tls != Tls() and not pool.tls.certificate:
        tree.complain(path, "is missing", 'Write certificate = "FILE"')


def _numbers(at: Path, tls: Tls, tree: Tree) -> None:
    keys, certificates = len(tls.key), len(tls.certificate)
    if keys not in {0, certificates}:
        reason = f"{keys} for {certificates} certificates: each has one, in the same order"
        tree.complain((*at, "key"), reason, show=False)


def _verification(at: Path, tls: Tls, tree: Tree) -> None:
    if tls.verify != "none" and not tls.client_ca:
        tree.complain((*at, "verify"), "nobody is told whom to believe", 'Write client_ca = "FILE"')
    elif tls.client_ca and tls.verify == "none":
        hint = 'Write verify = "required" or "optional"'
        tree.complain((*at, "client_ca"), "client certificates are not asked for", hint)


def _all_there(tls: Tls) -> bool:
    """Tell whether all files exist; those that do not have been told of."""
    files = [*tls.certificate, *tls.key, tls.password_file, tls.client_ca]
    return all(paths.is_file(path) for path in files if path)


def _read(at: Path, tls: Tls, tree: Tree) -> Identity | None:
    from gwctl.config import certificates  # noqa: PLC0415 - ssl takes 5 MiB, of a master without TLS too

    try:
        return certificates.load(tls)
    except certificates.TlsError as error:
        path = (*at, *error.place)
        if not isinstance(tree.get(path[:4]), list):
            path = path[:4]
        tree.complain(path, str(error), error.hint, show=False)
        return None
