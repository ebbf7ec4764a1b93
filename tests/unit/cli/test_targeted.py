"""How commands that speak with a master end."""

from __future__ import annotations

import json

import pytest

from gwctl.cli.targeted import fail
from gwctl.errors import ControlError

RAISED = '  File "shop.py", line 1\n\tx\nValueError: \x1b]0;title\x07\x9b2J'


def test_what_an_application_raised_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fail(ControlError(RAISED), {}, None, as_json=False)
    assert ended.value.code == 1
    assert capsys.readouterr().err == '  File "shop.py", line 1\n\tx\nValueError: \\x1b]0;title\\x07\\x9b2J\n'


def test_programs_get_it_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail(ControlError("refused"), {"traceback": RAISED}, None, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"ok": False, "text": "refused", "traceback": RAISED}
