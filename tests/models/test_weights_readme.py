"""The list of shipped weights says what the cards say, which were written from other sources."""

import re
from pathlib import Path

import pytest

from gsto_viz.files import sha256_of
from gsto_viz.models import shipped_checkpoints

PATHS = shipped_checkpoints()


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without back quotes."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines
    ]


@pytest.mark.skipif(not PATHS, reason="this installation ships no weights")
@pytest.mark.parametrize("name", sorted(PATHS))
def test_the_list_agrees_with_the_card_and_the_file(name: str) -> None:
    path: Path = PATHS[name]
    listed = rows((path.parent / "README.md").read_text(encoding="utf-8"))
    card_text = path.with_suffix(".md").read_text(encoding="utf-8")
    card = rows(card_text)
    about = {row[0]: row[1] for row in card if len(row) == 2}
    link, network, data, licence, size, digest = next(
        row for row in listed if row[0] == f"[{name}]({name}.md)"
    )
    assert card_text.splitlines()[4].startswith(f"`{network}`, ")
    assert data == about["data"]
    assert about["licence"].startswith(licence)
    assert float(size.removesuffix(" MB")) == pytest.approx(path.stat().st_size / 1e6, abs=0.005)
    assert sha256_of(path).startswith(digest)
    assert about["SHA-256"].startswith(digest)
    scores = [row for row in card if re.match("gsto-viz evaluate", row[-1])]
    assert scores
    assert [[row[1], *row[3:]] for row in listed if row[0] == name] == scores
    assert link


def test_every_card_and_every_row_belongs_to_a_file() -> None:
    folder = next(iter(PATHS.values())).parent
    assert {p.stem for p in folder.glob("*.md")} - {"README"} == set(PATHS)
    listed = re.findall(r"^\| \[`([^`]+)`\]", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(PATHS)
