"""What `tests.once` finds wrong, in books written by hand."""

from __future__ import annotations

from pathlib import Path

from tests.once.client import Sent
from tests.once.run import generations, switches
from tests.once.verdict import Switch, judge, runs_of, text
from tests.soak.books import Outcome

SWITCH = Switch(generation=2, asked_at=10.0, until=20.0)


def sent(*answers: tuple[int, float, float]) -> Sent:
    """Status, when the connection stood, and when the answer came, of each number."""
    found = Sent(len(answers))
    for number, (status, connected_at, answered_at) in enumerate(answers):
        found.status[number] = status
        found.connected_at[number] = connected_at
        found.answered_at[number] = answered_at
    found.begun = len(answers)
    return found


def test_answered_and_run_once_is_right_and_so_is_unanswered_and_run() -> None:
    verdict = judge(
        sent((200, 1, 2), (0, 1, 0), (0, 1, 0), (503, 1, 2)), iter([(0, 1), (2, 1)]), [], killed=True
    )
    assert verdict.problems == []
    assert (verdict.answered, verdict.run_unanswered) == (1, 1)


def test_run_twice_or_answered_and_never_run_is_wrong() -> None:
    verdict = judge(
        sent((200, 1, 2), (0, 1, 0), (200, 1, 2)), iter([(0, 1), (1, 1), (1, 1)]), [], killed=True
    )
    assert verdict.twice == ["1 was run twice, at last by generation 1"]
    assert verdict.lost == ["2 was answered and never run"]
    assert "run twice                   1" in text(verdict)
    assert judge(sent((200, 1, 2)), iter([(0, 1), (-1, 2)]), [], killed=True).mixed == [
        "generation 2 ran what nobody sent"
    ]


def test_an_answer_on_a_connection_of_before_does_not_show_a_switch() -> None:
    """Of generation 2, which is rolled back to: read late, it says nothing of who accepts by now."""
    answers = [(200, 9.0, 11.0), (200, 11.1, 11.3), (200, 11.4, 12.0), (200, 12.1, 12.2)]
    verdict = judge(sent(*answers), iter([(0, 2), (1, 3), (2, 2), (3, 2)]), [SWITCH], killed=True)
    assert (verdict.problems, verdict.judged_switches, verdict.after_switches) == ([], 1, 1)


def test_after_a_switch_is_seen_nobody_who_comes_is_served_by_the_old_generation() -> None:
    answers = [
        (200, 9.0, 11.0),  # connected before: may be served by either
        (200, 10.5, 11.0),  # the new generation's first answer
        (200, 10.9, 11.2),  # connected before that answer
        (200, 11.1, 11.3),  # wrong
        (200, 11.1, 11.3),  # right
        (200, 11.1, 21.0),  # after the next switch was asked for
        (200, 11.1, 11.3),  # by a worker that did not live to say who it is
    ]
    by = [1, 2, 1, 1, 2, 3, 0]
    verdict = judge(sent(*answers), iter(enumerate(by)), [SWITCH], killed=True)
    assert len(verdict.old) == 1
    assert verdict.old[0].startswith(
        "3 came 0.100 s after generation 2 had answered, and was run by generation 1"
    )
    assert (verdict.judged_switches, verdict.after_switches) == (1, 3)


def test_which_switches_are_judged() -> None:
    def outcome(what: str, began_at: float, output: str, *, ok: bool = True) -> Outcome:
        return Outcome(what, True, ok, began_at, began_at + 1, output)

    found = switches(
        [
            outcome("reload", 1, "switch ok (0.00 s)\nadopted generation 2 in 0.8 s"),
            outcome("scale", 2, ""),
            outcome("rollback", 3, "rolled back to generation 1 in 0.2 s"),
            outcome("reload", 5, "switch ok (0.25 s, 1 late)\nadopted generation 3 in 0.8 s"),
            outcome("reload", 7, "generation 4 was not adopted", ok=False),
            outcome("upgrade", 9, "adopted generation 5 in 2 s"),
            outcome("reload", 11, "adopted generation 6 in 1 s"),
        ]
    )
    assert list(found) == [Switch(2, 1, 3), Switch(1, 3, 5), Switch(6, 11, float("inf"))]
    assert list(switches([])) == []


def test_runs_are_read_with_the_generation_of_their_worker(tmp_path: Path) -> None:
    log = "06:29:40.634 info  web.0 g24 pid 17 ready in 0.03 s (sync)\n06:29:40.635 info  web.10 g3   pid 18 ready in 1 s\n"
    (tmp_path / "runs-17").write_bytes(b"0000000001\n0000000003\n")
    (tmp_path / "runs-18").write_bytes(b"0000000002\n")
    (tmp_path / "runs-19").write_bytes(b"0000000004\n00POST / H\n")
    assert list(runs_of(tmp_path, generations(log))) == [(1, 24), (3, 24), (2, 3), (4, 0), (-1, 0)]


def test_what_the_client_writes_is_read_again(tmp_path: Path) -> None:
    written = sent((200, 1.5, 2.5), (0, 1.0, 0.0))
    written.mixed.append("0 was answered with b'1'")
    written.refused = 3
    written.write(tmp_path)
    assert Sent.read(tmp_path) == written


def test_an_answer_that_is_missing_is_excused_by_a_kill_only() -> None:
    given = sent((200, 1, 2), (0, 1, 0), (0, 1, 0))
    assert judge(given, iter([(0, 1), (1, 1)]), [], killed=True).problems == []
    assert judge(given, iter([(0, 1), (1, 1)]), [], killed=False).problems == [
        "1 was run and never answered, though nobody was killed"
    ]
