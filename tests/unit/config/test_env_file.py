"""Files of NAME=value lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config.env_file import parse, read
from gwctl.config.problems import ConfigError

GOOD = {
    "plain": ("A=1\nB_2=two words \n", {"A": "1", "B_2": "two words"}),
    "nothing": ("", {}),
    "comments and blank lines": ("# A=1\n\n  \t\n  # B=2\nC=3 # no\nD=4#yes\n", {"C": "3", "D": "4#yes"}),
    "blanks around": ("  A = 1 \n\tB\t=\t2", {"A": "1", "B": "2"}),
    "export": ("export A=1\nexport\tB='2'\nexported=3\n", {"A": "1", "B": "2", "exported": "3"}),
    "empty": ("A=\nB=''\nC=\"\"\nD= # no\n", {"A": "", "B": "", "C": "", "D": ""}),
    "the later one counts": ("A=1\nA=2\n", {"A": "2"}),
    "single quotes": ("A='a \"b\" $C \\n # d' # e\n", {"A": 'a "b" $C \\n # d'}),
    "double quotes": (r'A="a \"b\" \$C \\ \n\t\q # d" # e', {"A": 'a "b" $C \\ \n\t\\q # d'}),
    "several lines": ("A='x\ny=1\n'\nB=\"p\nq\"\nC=1\n", {"A": "x\ny=1\n", "B": "p\nq", "C": "1"}),
    "a continued line in quotes": ('A="a\\\nb"\n', {"A": "ab"}),
    "nothing is expanded": ("A=$HOME/${B}`c`\n", {"A": "$HOME/${B}`c`"}),
    "equals signs and quotes inside": ("A=b=c\nB=it's\nC=a\"b\n", {"A": "b=c", "B": "it's", "C": 'a"b'}),
    "lines of Windows": ("A=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
}


@pytest.mark.parametrize(("text", "variables"), GOOD.values(), ids=GOOD)
def test_good(text: str, variables: dict[str, str]) -> None:
    assert parse(text, "x.env") == (variables, [])


BAD = {
    "no assignment": ("A=1\nnonsense\nB=2\n", ["x.env:2: non…: expected NAME=value"]),
    "a secret is not shown whole": (
        "sk_live_0123456789abcdefghijklmnopq\n",
        ["x.env:1: sk_…: expected NAME=value"],
    ),
    "a name": (
        "1A=1\n=2\nA B=3\n",
        [
            "x.env:1: 1A: a name has letters, digits and _, no digit first",
            "x.env:2: a name has letters, digits and _, no digit first",
            "x.env:3: A B: a name has letters, digits and _, no digit first",
        ],
    ),
    "an open quote": ("A='1\nB=2\n", ["x.env:1: A: the quote ' is never closed"]),
    "text behind a quote": ('A="1" 2\n', ['x.env:1: A: there is text behind the closing "']),
    "a NUL": ("A=\0\n", ["x.env:1: A: a value cannot have a NUL"]),
    "the line after a long value": ("A='\n\n'\nx\n", ["x.env:4: x: expected NAME=value"]),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_bad(text: str, told: list[str]) -> None:
    variables, problems = parse(text, "x.env")
    assert [str(problem) for problem in problems] == told
    assert "sk_live" not in str(variables)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20),
    )
)
def test_quoted_values_come_back(variables: dict[str, str]) -> None:
    """Any value can be written in double quotes, and in single ones when it has none."""

    def double(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert parse("".join(f"{name}={double(value)}\n" for name, value in variables.items()), "x") == (
        variables,
        [],
    )
    single = {name: value.replace("'", "") for name, value in variables.items()}
    assert parse("".join(f"{name}='{value}'\n" for name, value in single.items()), "x") == (single, [])


@given(st.text(st.sampled_from("A=\"'\\# \nexport\0")))
def test_any_text_ends(text: str) -> None:
    """Whatever the text, reading it ends, and each line that sets nothing is told or blank."""
    variables, problems = parse(text, "x")
    assert all(problem.line <= text.count("\n") + 1 for problem in problems)
    assert all(name.isidentifier() for name in variables)


def test_read(tmp_path: Path) -> None:
    file = tmp_path / "x.env"
    file.write_bytes(b"\xef\xbb\xbfA=1\n")
    assert read(file) == {"A": "1"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "the file: cannot be read: No such file or directory"),
        (b"A=1\nB=\xff\n", "the file:2: is not UTF-8 text"),
        (b"x\ny\n", "the file:1: x: expected NAME=value\nthe file:2: y: expected NAME=value"),
    ],
)
def test_read_fails(tmp_path: Path, data: bytes | None, told: str) -> None:
    file = tmp_path / "x.env"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read(file, "the file")
    assert str(caught.value) == told
