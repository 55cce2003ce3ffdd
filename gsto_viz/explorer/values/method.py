"""The guide to SCI by parts, and its worked example computed, for the page "Method"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import matched_pool
from gsto_viz.regions import region_table
from gsto_viz.stats.pairs import directions, find_pairs, sci, squared_sizes

ARRANGEMENTS = ("As it should be", "Turned round", "One map for both")
REGIONS = ("background", "small square", "large square")
VERDICTS = {-1: "wrong", 0: "tie", 1: "right"}
STRIDES = (4, 8)
ZOOM = 3
"""Screen pixels for a pixel of the example."""
LABEL_COLORS = ((70, 70, 70), (240, 228, 66), (0, 158, 115))
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "steps": ("From map to SCI", ("How to read SCI", "From activity to SCI")),
    "example": ("Worked example", ("A worked example",)),
    "numbers": ("Every number", ("Every index", "Two other witnesses: SCI_C and STP")),
    "evidence": (
        "Evidence",
        ("What stands beside it", "The strict verdict", "Comparing networks"),
    ),
    "gates": (
        "Gates and branches",
        (
            "Gates, shares and Shapley values",
            "What the branches are made of",
            "What pixels listen to",
        ),
    ),
    "limits": ("Limits", ("Limits",)),
    "glossary": ("Glossary", ("Words",)),
    "sources": ("Versions, licences", ()),
}
"""By what links call a part of the page (``TABS``), its name and its chapters of the guide."""
SOURCES = """
**Images**

- **Scenes** are procedural, made by this package: no photograph is in them, free to use (MIT).
- **Uploads** stay on this computer, are kept for the session only, and remain yours.
- **Data sets** that were given by `--data` keep their own terms; CamVid is CC BY-NC
  (non-commercial). No image of them is in this package.
"""


@dataclass(frozen=True, eq=False)
class WorkedExample:
    """One arrangement and what follows from it.

    Attributes:
        labels: (64, 96): 0 background, 1 small, 2 large square.
        maps: Activity of the fine (16, 24) and of the coarse branch (8, 12).
        regions: ``region``, ``size (octaves)``, ``Z fine``, ``Z coarse``, ``q``.
        pairs: ``larger``, ``smaller``, ``q of larger``, ``q of smaller``, ``verdict`` (right,
            wrong, tie): pairs an octave or more apart.
        sci: Of this image.
    """

    labels: npt.NDArray[np.uint8]
    maps: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
    regions: pd.DataFrame
    pairs: pd.DataFrame
    sci: float


def worked_example(arrangement: str) -> WorkedExample:
    """Compute the example.

    Args:
        arrangement: One of ``ARRANGEMENTS``: the fine branch answers for the small and the coarse
            for the large square; both maps with the opposite sign; the coarse map is the fine one
            pooled.
    """
    labels: npt.NDArray[np.uint8] = np.zeros((64, 96), np.uint8)
    labels[8:16, 8:16] = 1
    labels[16:48, 48:80] = 2
    fine, coarse = np.ones((16, 24)), np.ones((8, 12))
    fine[2:4, 2:4], fine[4:12, 12:20] = 3.0, 0.0
    coarse[1, 1], coarse[2:6, 6:10] = 0.0, 3.0
    if arrangement == ARRANGEMENTS[1]:
        fine, coarse = -fine, -coarse
    elif arrangement == ARRANGEMENTS[2]:
        coarse = matched_pool(fine)
    table = region_table(labels, [fine, coarse], STRIDES, image="example")
    found = sci(table).value
    assert found is not None
    return WorkedExample(labels, (fine, coarse), _regions(table), _pairs(table), found)


def _regions(table: pd.DataFrame) -> pd.DataFrame:
    named = {"size_octave": "size (octaves)", "z_0": "Z fine", "z_1": "Z coarse", "q": "q"}
    found = table[list(named)].rename(columns=named)
    found.insert(0, "region", [REGIONS[k] for k in table["class_id"]])
    return found


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    larger, smaller = find_pairs(squared_sizes(table["area_px"].to_numpy()))
    name = np.array(REGIONS)[table["class_id"]]
    q = table["q"].to_numpy()
    signs = directions(q[larger] - q[smaller])
    return pd.DataFrame(
        {
            "larger": name[larger],
            "smaller": name[smaller],
            "q of larger": q[larger],
            "q of smaller": q[smaller],
            "verdict": [VERDICTS[int(sign)] for sign in signs],
        }
    )


def label_picture(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the regions as a picture, (3 H, 3 W, 3)."""
    colors = np.array(LABEL_COLORS, dtype=np.uint8)[labels]
    return colors.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def map_picture(values: npt.NDArray[np.float64], stride: int) -> npt.NDArray[np.uint8]:
    """Return a map as a picture of the same size, its weakest cell dark, its strongest bright."""
    low, high = float(values.min()), float(values.max())
    shares = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    colors = mpl.colormaps["viridis"](shares)[..., :3]
    pixels = np.round(255 * colors).astype(np.uint8)
    return pixels.repeat(ZOOM * stride, axis=0).repeat(ZOOM * stride, axis=1)


def guide() -> dict[str, str]:
    """Return the chapters of the guide to SCI in the package, by heading.

    Pictures and links to other files are left out: a page cannot show them.
    """
    text = (files("gsto_viz") / "guide" / "how_to_read_sci.md").read_text(encoding="utf-8")
    text = re.sub(r"^!\[[^]]*\]\([^)]*\)\n+\*[^*]+\*\n+", "", text, flags=re.M)
    text = re.sub(r"\[([^]]+)\]\((?!https:)[^)]*\)", r"\1", text)
    text = re.sub(r"^<!--.*?-->\n", "", text, flags=re.M)
    chapters = re.split(r"^##? (.*)\n", text, flags=re.M)[1:]
    return {head: body.strip() for head, body in zip(chapters[::2], chapters[1::2], strict=True)}


def chapters_of(part: str) -> str:
    """Return what the guide says in a part of the page, one of ``PARTS``, as Markdown."""
    name, heads = PARTS[part]
    texts = guide()
    return "\n\n".join(
        texts[head] if head in (name, "How to read SCI") else f"## {head}\n\n{texts[head]}"
        for head in heads
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is bold."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| **{first}** | {' | '.join(more)} |" for first, *more in rows]
    return "\n".join(lines)
