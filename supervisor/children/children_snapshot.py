"""The processes of a master, as they are handed over in an upgrade."""

from __future__ import annotations

from typing import Any

import msgspec

from gwctl.config.model.settings import PoolSettings
from gwctl.errors import UpgradeError
from gwctl.ipc.scoreboard import Scoreboard
from gwctl.supervisor.children.child import Child, ChildSnapshot
from gwctl.supervisor.children.legacy_scoreboard import BoardSnapshot, OlderBoard
from gwctl.supervisor.children.outputs import OutputSnapshot
from gwctl.supervisor.children.scoreboards import boards_from
from gwctl.supervisor.children.totals import SlotTotals, Totals
from gwctl.supervisor.generations.known_settings import struct_from


class ChildrenSnapshot(msgspec.Struct, frozen=True):
    """Processes, with what several of them have in common once."""

    children: tuple[ChildSnapshot, ...]
    settings: tuple[dict[str, Any], ...]
    boards: tuple[BoardSnapshot, ...]
    """Those for new workers, one for each pool; then older ones."""
    totals: dict[str, Totals]
    sampled_at: float
    slots: dict[str, dict[int, SlotTotals]] = {}
    outputs: tuple[OutputSnapshot, ...] = ()

    def read(self) -> tuple[list[Scoreboard | OlderBoard], list[Child]]:
        """The boards, and the processes that write to them.

        Raises:
            UpgradeError: They cannot be understood.
        """
        settings = [struct_from(PoolSettings, each) for each in self.settings]
        boards = boards_from(self.boards, ((each.board, each.record) for each in self.children))
        children = []
        for each in self.children:
            if not 0 <= each.board < len(boards):
                raise UpgradeError(f"worker {each.worker} has no scoreboard")
            record = boards[each.board].record(each.record)
            children.append(Child.from_snapshot(each, settings[each.settings], record))
        return boards, children
