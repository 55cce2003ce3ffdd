"""A palette that a tool has re-ordered is read by its colours, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gsto_viz.census import take_census
from gsto_viz.data import load_data
from gsto_viz.errors import NumberingError

COLORS = [(0, 0, 0), (10, 20, 30), (200, 0, 0), (0, 0, 99)]


def write(root: Path, values: np.ndarray, palette: list[tuple[int, ...]]) -> str:
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    Image.new("RGB", values.shape[::-1]).save(root / "images" / "a.png")
    image = Image.fromarray(values)
    image.putpalette([one for color in palette for one in color])
    image.save(root / "labels" / "a.png")
    classes = [
        {"id": k, "name": f"c{k}", "color": list(color), "kind": "stuff"}
        for k, color in enumerate(COLORS)
    ]
    value = {"name": "toy", "ignore": 255, "classes": classes}
    (root / "classes.json").write_text(json.dumps(value))
    return f"folder:{root}"


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(4)), seed=st.integers(0, 99), ignored=st.booleans())
def test_permuted_palettes_are_read_by_colour(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], seed: int, ignored: bool
) -> None:
    truth = np.random.default_rng(seed).integers(0, 4, (6, 7)).astype(np.uint8)
    palette = [(7, 7, 7)] * 256
    palette[:4] = [COLORS[k] for k in order]
    values = np.array([order.index(k) for k in range(4)], np.uint8)[truth]
    if ignored:
        values[0, :3], truth[0, :3] = 255, 255
    data = load_data(write(tmp_path_factory.mktemp("p"), values, palette))
    assert (data[0].labels == truth).all()
    moved = bool((values != truth).any())
    codes = [one.code for one in take_census(data).findings()]
    assert ("palette" in codes) == moved


def test_a_foreign_palette_is_no_matter(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2, 3]], np.uint8)
    palette = [(0, 0, 0), (1, 1, 1), (200, 0, 0), (3, 3, 3)]
    assert (load_data(write(tmp_path, values, palette))[0].labels == values).all()


def test_some_but_not_all_colours_are_refused(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2, 3]], np.uint8)
    palette = [COLORS[1], COLORS[0], (5, 5, 5), COLORS[3]]
    data = load_data(write(tmp_path, values, palette))
    with pytest.raises(NumberingError, match="number 0 has the colour of another class and number"):
        data[0]
    assert [one.code for one in take_census(data).findings() if one.stops] == ["numbering"]


def test_the_colour_of_padding_makes_no_class_of_ignored_pixels(tmp_path: Path) -> None:
    values = np.array([[0, 1, 255, 3]], np.uint8)
    data = load_data(write(tmp_path, values, [*COLORS, *[(0, 0, 0)] * 252]))
    assert (data[0].labels == values).all()
