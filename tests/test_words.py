"""One row for each thing that has a name: complete, distinct, readable, and the only one."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

import gsto_viz
from gsto_viz import words
from gsto_viz.colors import BRANCHES, NETWORKS, branch_mark, network_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.words import METHODS, MODES, NULLS

DARK_PAGE = "#0e1117"
"""Streamlit's dark background."""
# Machado, Oliveira and Fernandes (2009), severity 1: what protanopes and deuteranopes see.
SIGHTS = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def linear(color: str) -> np.ndarray:
    c = np.array(to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def lab(color: str, sight: str) -> np.ndarray:
    c = np.clip(np.array(SIGHTS[sight]) @ linear(color), 0, 1)
    srgb = np.where(c <= 0.0031308, c * 12.92, 1.055 * c ** (1 / 2.4) - 0.055)
    return rgb2lab(srgb.reshape(1, 1, 3))


def difference(a: str, b: str, sight: str) -> float:
    return deltaE_ciede2000(lab(a, sight), lab(b, sight)).item()


@pytest.mark.parametrize("marks", [BRANCHES, NETWORKS], ids=["branches", "networks"])
def test_marks_stay_apart_by_colour_for_every_reader_and_without_colour(marks):
    for part in ("color", "marker", "shape"):
        assert len({getattr(mark, part) for mark in marks}) == len(marks)
    for a, b in itertools.combinations(marks, 2):
        assert min(difference(a.color, b.color, sight) for sight in SIGHTS) > 12
    assert len({mark.dash for mark in NETWORKS}) == len(NETWORKS)


@pytest.mark.parametrize("mark", [*BRANCHES, *NETWORKS], ids=lambda mark: mark.color)
def test_marks_are_seen_on_white_and_on_a_dark_page(mark):
    own, dark = luminance(mark.color) + 0.05, luminance(DARK_PAGE) + 0.05
    assert 1.05 / own >= 3
    assert own / dark >= 3


def test_no_network_has_the_colour_of_a_branch():
    for branch, network in itertools.product(BRANCHES, NETWORKS):
        assert difference(branch.color, network.color, "normal") > 9


def test_more_than_there_are_is_refused():
    assert branch_mark(0) is BRANCHES[0]
    assert network_mark(7) is NETWORKS[7]
    with pytest.raises(GstoVizError, match="branch 6 has no colour; figures show branches 0 to 5"):
        branch_mark(6)
    with pytest.raises(GstoVizError, match="up to 8 networks"):
        network_mark(8)


def test_every_index_that_is_computed_has_its_row():
    assert all(callable(words.load_function(row.function)) for row in words.INDICES.values())
    assert all(row.title for row in words.INDICES.values())
    assert words.index_label("sci_gap_1_2") == "SCI, 1 to 2 octaves"
    assert words.index_label("stp") == words.STP.label
    assert words.index_label("unknown") == "unknown"


@pytest.mark.parametrize("rows", [words.INDICES, NULLS, MODES, METHODS])
def test_rows_are_whole(rows):
    for key, row in rows.items():
        assert key == row.key
        assert row.label
        assert row.meaning
        assert not row.label.endswith(".")
    assert len({row.label for row in rows.values()}) == len(rows)


def test_captions_say_what_is_drawn_and_for_whom():
    said = MODES["shared"].said("raw maps", ["A", "B", "C"])
    assert said.startswith("raw maps, one scale for A, B and C in each branch")
    assert words.RAW_BADGE in said
    assert words.listed([]) == ""
    assert words.listed(["A"]) == "A"
    assert words.listed(["A", "B"]) == "A and B"


def test_no_other_file_has_a_list_of_its_own():
    package = Path(gsto_viz.__file__).parent
    labels = [row.label for row in (*words.INDICES.values(), *NULLS.values()) if " " in row.label]
    own = {
        "colors": [mark.color for mark in (*BRANCHES, *NETWORKS)],
        "words": [f'"{label}"' for label in labels],
    }
    for path in package.rglob("*"):
        for home, texts in own.items():
            if path.suffix in (".py", ".js", ".css", ".html") and path.name != f"{home}.py":
                found = re.search("|".join(map(re.escape, texts)), path.read_text("utf-8"), re.I)
                assert found is None, f"{path.relative_to(package)} has {found}; read {home}.py"
