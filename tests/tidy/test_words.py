"""Terms of the field, and those of the glossary; a word that was given up does not come back."""

from __future__ import annotations

import pytest

from tests.tidy import checks, words
from tests.tidy.checks import Source


def test_no_name_has_a_word_that_was_given_up() -> None:
    assert [complaint for source in checks.product() for complaint in words.retired_words(source)] == []


def test_no_sentence_has_a_phrase_that_was_given_up() -> None:
    assert [
        complaint for path, text in checks.texts() for complaint in words.retired_phrases(path, text)
    ] == []


def test_what_the_glossary_explains_is_said() -> None:
    assert {"master", "drain", "farewell", "service"} <= set(words.terms(words.glossary()))
    assert list(words.unused_terms(words.glossary(), list(checks.product()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "def bury(): ...",
        "class OlderInquest: ...",
        "def f(luck=0.5): ...",
        "_LUCK_S = 5",
        "self._heir = None",
        "for parcelSeldom in (): ...",
    ],
)
def test_a_retired_word_is_found(text: str) -> None:
    assert list(words.retired_words(Source("gwctl/a.py", text)))


def test_what_only_holds_its_letters_is_not() -> None:
    text = "def theirs(): ...\nclass Luckless: ...\nshortdesk = 1\nhelp = seldomness"
    assert list(words.retired_words(Source("gwctl/a.py", text))) == []


def test_a_retired_phrase_is_found_across_lines() -> None:
    assert list(words.retired_phrases("docs/a.md", "A worker that sent\nnonsense is replaced."))


def test_a_term_that_nobody_says_is_found() -> None:
    page = "**worker**\n: A process.\n\n**work**, **quux**\n: Nothing.\n"
    complaints = list(words.unused_terms(page, [Source("gwctl/a.py", "a worker works")]))
    assert complaints == ["docs/glossary.md: 'quux' is said nowhere"]
