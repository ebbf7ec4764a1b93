"""The YAML of compose files, as PyYAML reads it; what is beyond is refused by its line."""

from __future__ import annotations

import contextlib

import pytest
import yaml

from gwctl.cli.importing import yaml_reader
from gwctl.cli.importing.found import NotImported

SAME = {
    "a mapping": "a: 1\nb: text with blanks\nc: true\nd:\ne: ~\n",
    "in one another": "a:\n  b:\n    c: 1\n  d: 2\n",
    "lists": "a:\n  - x\n  - y z\nb:\n- 1\n- 2\n",
    "lists of mappings": "a:\n  - b: 1\n    c: 2\n  - d:\n      - e\n",
    "lists in lists": "a:\n  - - x\n    - y\n  - - z\n",
    "quotes": "a: \"x: # \\\"y\\\"\"\nb: 'it''s'\n\"c d\": e\n'f': g\n",
    "comments": "# head\na: 1 # one\nb: x#y\n# between\nc: 'd' # e\n",
    "brackets": 'a: [x, "y, z", 3]\nb: {c: 1, "d": [e, f]}\ng: []\nh: {}\n',
    "brackets over lines": 'a: [\n  "x",  # one\n  y,\n  ]\nb: {c: 1,\n  d: 2}\n',
    "kept ends of lines": "a: |\n  x\n    y\n\n  z\nb: 1\n",
    "folded": "a: >-\n  x\n  y\n\n  z\nb: >\n  c\n",
    "stripped": "a: |-\n  x\n  y\nb: 1\n",
    "over lines": "a: x\n  y\n  z\nb: 1\n",
    "quotes over lines": 'a: "x\n  y"\nb: 1\n',
    "anchors": "a: &x\n  b: 1\nc: *x\nd: &y [1, 2]\ne: *y\n",
    "merged": "a: &x\n  b: 1\n  c: 2\nd:\n  <<: *x\n  c: 3\ne: &y\n  f: 4\ng:\n  <<: [*x, *y]\n",
    "a document": "---\na: 1\n",
    "nothing": "\n# only a comment\n",
    "a text with colons": "a: b:c\nd: http://x:80/y\n",
    "ports": 'ports:\n  - "80:80"\n  - 127.0.0.1:8000:8000\n',
    "variables": "a: ${X:-1}\nb: $Y\n",
    "a command": 'command: ["gunicorn", "-b", "0.0.0.0:80", "shop:app"]\n',
    "values with dashes": "a: -x\nb: --y\n",
}


@pytest.mark.parametrize("name", SAME)
def test_it_reads_as_others_do(name: str) -> None:
    assert yaml_reader.read(SAME[name], "compose.yaml") == yaml.safe_load(SAME[name])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !env x\n", "compose.yaml:1: a tag is not read here"),
        ("a: 1\n  b: 2\n", "compose.yaml:2: what is indented here belongs to nothing"),
        ("a: [1\n", "compose.yaml:1: a bracket is not closed"),
        ("a: 'x\n", "compose.yaml:1: a quotation mark is not closed"),
        ("a: *x\n", "compose.yaml:1: there is no anchor x"),
        ("a: 1\n? b\n: 2\n", "compose.yaml:2: expected a key and a colon"),
        ("a:\n\tb: 1\n", "compose.yaml:2: YAML is indented by blanks"),
        ("a: 1\n---\nb: 2\n", "compose.yaml:2: expected a key and a colon"),
        ("- a\nb: 1\n", "compose.yaml:2: what stands here is not read"),
        ("a: " + "[" * 60, "compose.yaml:1: it is nested too deeply"),
        ("a: [1] x\n", "compose.yaml:1: something follows the bracket"),
        ("a: {b: 1 c: 2}\n", "compose.yaml:1: expected a comma or }"),
    ],
)
def test_what_is_beyond_is_refused(text: str, told: str) -> None:
    with pytest.raises(NotImported) as caught:
        yaml_reader.read(text, "compose.yaml")
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    "text", ["\0", ":", "-", "- -", "a: >", "a: |9\n x", "{", "&a", "&a *a", "a: &b", "[[], {]}", "'", '"\\']
)
def test_anything_is_read_or_refused(text: str) -> None:
    for whole in (text, f"a:\n  {text}\n", f"a: {text}\nb: {text}"):
        with contextlib.suppress(NotImported):
            yaml_reader.read(whole, "x")
