"""A data set of one's own, as the page shows it: scored, and cut into regions."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np

from gsto_viz.data import check_dataset

PAGE = Path(__file__).parents[2] / "docs" / "bring_your_own_data.md"


def test_a_class_of_your_own_is_a_data_set() -> None:
    text = PAGE.read_text(encoding="utf-8")
    own, use = re.findall(r"```python\n(.*?)```", text, re.S)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.S)
    scope: dict = {"__name__": "page"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(own + use, scope)
    assert printed.getvalue() == shown
    data = scope["data"]
    assert check_dataset(data, quiet=True) == ()
    pixels, areas = [0, 0], []
    for k in range(len(data)):
        discs = [0, 0]
        for y in range(64):
            for x in range(96):
                small = (y - 32) ** 2 + (x - 20) ** 2 < 8**2
                large = (y - 32) ** 2 + (x - 64) ** 2 < (24 - k) ** 2
                discs[0] += small
                discs[1] += large
                pixels[small or large] += 1
        areas += [64 * 96 - sum(discs), *discs]
    confusion = scope["evaluate"](scope["network"], data).confusion
    assert confusion.sum(axis=1).tolist() == pixels
    table = scope["report"].table("A")
    assert sorted(table.area_px) == sorted(areas)
    assert np.array_equal(np.sort(table.instance_id.unique()), [0, 1, 2])
