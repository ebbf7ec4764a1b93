"""What tells newcomers their way is true of the tree, and each check of that can fail."""

from __future__ import annotations

import pytest

from tests.tidy import guide
from tests.tidy.checks import ROOT, Source, sources

PAGES = dict(guide.pages())
ALL_PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
]
PRODUCT = [source for source in sources() if source.module]
PACKAGES = [each for each in PRODUCT if each.path.endswith("/__init__.py") and each.module != "gwctl"]
"""All but the root, which everybody imports."""
by_page = pytest.mark.parametrize("page", PAGES)


def test_pages_are_found() -> None:
    assert {
        "docs/design.md",
        "docs/internals-master.md",
        "docs/internals-worker.md",
        "CONTRIBUTING.md",
    } <= set(PAGES)
    assert len(guide.paths_in(PAGES["docs/design.md"])) > 50
    assert {"config", "config/model", "supervisor/core", "workers/http1", "gwctl/cli"} <= set(
        guide.packages()
    )


@by_page
def test_what_a_page_names_is_there(page: str) -> None:
    assert list(guide.missing_paths(page, PAGES[page])) == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert list(guide.broken_links(page, (ROOT / page).read_text("utf-8"))) == []


def test_every_package_is_on_the_map() -> None:
    assert list(guide.unmapped(PAGES[guide.DESIGN], guide.packages())) == []


def test_what_the_walks_name_is_in_the_modules() -> None:
    assert list(guide.lost_names(PAGES[guide.DESIGN])) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.module)
def test_each_package_says_what_it_is_for_who_imports_it_and_what_it_may_not_know(package: Source) -> None:
    assert list(guide.unsaid(package)) == []
    assert list(guide.untrue(package, PRODUCT)) == []


# ---- each check can fail


@pytest.mark.parametrize(
    "text",
    ["see `workers/accept.py`", "see workers/gone/", "`tests/unit/test_gone.py::test_a`", "see `gone.py`"],
)
def test_a_path_that_is_gone_is_found(text: str) -> None:
    assert list(guide.missing_paths("docs/design.md", text))


@pytest.mark.parametrize("text", ["`workers/server.py`", "`supervisor/core/`", "http://a/b.py", "*.py"])
def test_a_path_that_is_there_is_not(text: str) -> None:
    assert list(guide.missing_paths("docs/design.md", text)) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("## Map\n\n    workers/   a worker\n", ["workers", "workers/http1"]),
        ("## Map\n\n    workers/   a worker\n    workers/gone/   no package\n", ["workers"]),
        ("## Map\n\n    workers/   a worker: gone.py\n", ["workers"]),
        ("no map", ["workers"]),
    ],
)
def test_a_map_that_is_wrong_is_found(text: str, names: list[str]) -> None:
    assert list(guide.unmapped(text, names))


def test_a_map_that_is_right_is_not() -> None:
    assert list(guide.unmapped("## Map\n\n    workers/   a worker: server.py\n\nmore\n", ["workers"])) == []


@pytest.mark.parametrize("name", ["Gone", "Server.gone", "Gone.drain"])
def test_a_name_that_is_gone_is_found(name: str) -> None:
    step = f"1. `workers/server.py`: then\n   `{name}` follows.\n"
    assert len(list(guide.lost_names(step))) == 1


def test_a_name_that_is_there_is_not() -> None:
    assert (
        list(
            guide.lost_names(
                "1. `workers/server.py`: `Server.drain`.\n2. `Server` ends.\n\n`Gone` is no step.\n"
            )
        )
        == []
    )


@pytest.mark.parametrize("target", ["gone.md", "design.md#gone", "#gone"])
def test_a_link_that_leads_nowhere_is_found(target: str) -> None:
    assert list(guide.broken_links("docs/lifecycle.md", f"[text]({target})"))


@pytest.mark.parametrize("target", ["design.md#map", "../README.md", "https://example.org/gone", "adr/"])
def test_a_link_that_leads_somewhere_is_not(target: str) -> None:
    assert list(guide.broken_links("docs/lifecycle.md", f"[text]({target})")) == []


SAID = """\"\"\"What is here is for this and that.

Imported by `cli`, `workers.server`.
Knows nothing of `supervisor`,
`os`: that is not its job. It uses `workers`.
\"\"\"
"""


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"""Sockets."""\n',
        SAID.replace("What is here is for this and that.", "Things."),
        SAID.replace("Imported by", "For"),
        SAID.replace("Knows nothing of", "It knows not"),
        SAID.replace("Imported by `cli`, `workers.server`.", "Imported by all."),
    ],
)
def test_a_package_that_does_not_say_so_is_found(text: str) -> None:
    assert list(guide.unsaid(Source("gwctl/a/__init__.py", text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("gwctl/supervisor/master.py", "from gwctl.a import b\n"),
        ("gwctl/workers/drain.py", "if TYPE_CHECKING:\n    from gwctl.a.b import B\n"),
        ("gwctl/a/b.py", "import os\n"),
        ("gwctl/a/b.py", "from gwctl.supervisor.master import run\n"),
    ],
)
def test_a_package_that_says_what_is_not_so_is_found(path: str, text: str) -> None:
    product = _product()
    assert list(guide.untrue(product[0], product)) == []
    product = [Source(path, text) if each.path == path else each for each in product]
    assert list(guide.untrue(product[0], product))


def test_a_package_that_names_what_is_gone_is_found() -> None:
    product = [each for each in _product() if each.path != "gwctl/workers/server.py"]
    assert list(guide.untrue(product[0], product)) == [
        "gwctl/a/__init__.py: there is no gwctl.workers.server"
    ]


def _product() -> list[Source]:
    others = ("cli/__init__", "supervisor/__init__", "supervisor/master", "workers/__init__", "workers/drain")
    return [
        Source("gwctl/a/__init__.py", SAID),
        Source("gwctl/a/b.py", "from gwctl.a import c\nimport socket\n"),
        Source("gwctl/a/c.py", ""),
        Source("gwctl/a/d/__init__.py", "import os\n"),
        Source("gwctl/workers/server.py", "import gwctl.a.b\n"),
        *(Source(f"gwctl/{other}.py", "") for other in others),
    ]
