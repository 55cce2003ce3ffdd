"""The hint that errors give: which known word was meant."""

from difflib import SequenceMatcher

import pytest

from gsto_viz.errors import did_you_mean

FRUIT = ("apple", "apples", "banana", "cherry")


@pytest.mark.parametrize(
    ("word", "options", "expected"),
    [
        ("aple", {}, "did you mean apple, apples?"),
        ("aple", {"count": 2}, "did you mean apple or apples?"),
        ("aple", {"count": 1, "quoted": True}, "did you mean 'apple'?"),
        ("aple", {"count": 2, "quoted": True}, "did you mean 'apple' or 'apples'?"),
        ("aple", {"count": 1, "then": "choose one"}, "did you mean apple? choose one"),
        ("zzz", {}, ""),
        ("zzz", {"then": "choose one"}, "choose one"),
        ("zzz", {"otherwise": "known: all"}, "known: all"),
        ("zzz", {"otherwise": "valid: a", "then": "or b"}, "valid: a or b"),
        ("aple", {"otherwise": "known: all", "count": 1}, "did you mean apple?"),
    ],
)
def test_the_hint(word: str, options: dict[str, object], expected: str) -> None:
    assert did_you_mean(word, FRUIT, **options) == expected  # type: ignore[arg-type]


def test_words_are_named_from_the_cutoff_on() -> None:
    ratio = SequenceMatcher(None, "cherry", "berry").ratio()
    assert did_you_mean("berry", FRUIT, cutoff=ratio) == "did you mean cherry?"
    assert did_you_mean("berry", FRUIT, cutoff=ratio + 0.01) == ""
