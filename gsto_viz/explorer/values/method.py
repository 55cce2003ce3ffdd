"""The words and the worked example of the page "Method"."""

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
from gsto_viz.stats.compare import FALSE_SIGNAL, MIN_DRAWS
from gsto_viz.stats.inference import MIN_CLUSTERS, REPLICATES
from gsto_viz.stats.pairs import directions, find_pairs, sci, squared_sizes
from gsto_viz.words import INDICES, LAYOUT, NULLS, OBJECTS, SCI_C, STP

ARRANGEMENTS = ("As it should be", "Turned round", "One map for both")
REGIONS = ("background", "small square", "large square")
VERDICTS = {-1: "wrong", 0: "tie", 1: "right"}
STRIDES = (4, 8)
ZOOM = 3
"""Screen pixels for a pixel of the example."""
LABEL_COLORS = ((70, 70, 70), (240, 228, 66), (0, 158, 115))


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
    return pd.DataFrame(
        {
            "region": [REGIONS[k] for k in table["class_id"]],
            "size (octaves)": table["size_octave"],
            "Z fine": table["z_0"],
            "Z coarse": table["z_1"],
            "q": table["q"],
        }
    )


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


@dataclass(frozen=True)
class Section:
    """A heading and the Markdown below it."""

    title: str
    body: str


STEPS = (
    Section(
        "1. Activity: one map per branch",
        "The channels of a branch after its last fusion are averaged, each first divided by its "
        "standard deviation over training images (in an analysis: over its calibration images). "
        "Without this division the map is arbitrary: a "
        "gain on a channel changes a raw channel mean and not the network. Raw maps, as the paper "
        "draws them, therefore carry a badge.",
    ),
    Section(
        "2. Percentile U: ranks instead of sizes",
        "Each cell's rank among the valid cells of this image, from 0 (weakest) to 1 (strongest): "
        "$U = (\\mathrm{rank} - \\tfrac12) / N$. Ranks compare between branches and networks; they "
        "say where a branch is active, not how strongly. A cell is valid when at least half of its "
        "pixels are not ignored.",
    ),
    Section(
        "3. Response Z: one number per branch and object",
        "Mean U over the object, weighed by its pixels in each cell. Read is the core (farther "
        "than 8 px from the outside) when that has at least 64 px, else the whole object; the "
        "same part for every branch.",
    ),
    Section(
        "4. Coarseness q: which branch answers",
        "$q = \\sum_r (Z_{r+1} - Z_r^{\\downarrow})$, where $Z_r^{\\downarrow}$ is branch r pooled "
        "to the grid of branch r+1 and ranked there. Positive: coarser branches answer. "
        "Branches that differ by pooling alone give exactly 0. With four branches q lies in "
        "-3 to 3.",
    ),
    Section(
        "5. SCI: is the order of sizes the order of branches?",
        "Two objects of one image, at least an octave (a factor of two) apart in size: the larger "
        "should have the larger q. SCI is the share of such pairs that are the wrong way round "
        "(ties count half), averaged within each image and then over images. 0 aware of scale, "
        "0.5 chance, 1 reversed.",
    ),
)
"""From a feature map to SCI."""

NUMBERS: tuple[tuple[str, str, str, str], ...] = (
    ("U", "0 to 1", "percentile of a cell's activity in its map", "nothing"),
    ("Z", "0 to 1", "response: mean U over an object's part", "cells of the object"),
    ("q", "-3 to 3", "coarseness at matched resolution", "summed over neighbouring branches"),
    *((one.label, one.range, one.meaning, one.over) for one in (*INDICES.values(), LAYOUT)),
    (
        "centre, span, slope",
        "octaves",
        "the size that a branch answers for most; coarsest minus finest; per octave of stride",
        OBJECTS,
    ),
    ("gate g", "0 to 1, or 0.5 to 1", "what a transfer lets through at a position", "nothing"),
    ("g'", "0 shut, 1 open", "(g - low) / (high - low) of the gate's form", "cells of an object"),
    (
        "share",
        "sums to 1",
        "part of the evidence that a branch carries",
        "classes and pixels of the target",
    ),
    (
        "Shapley value",
        "logits",
        "what a branch adds to the margin, over all orders of joining",
        "2^R coalitions",
    ),
    *((one.label, one.range, one.meaning, one.over) for one in (SCI_C, STP)),
    ("mIoU", "0 to 100 %", "intersection over union from one confusion matrix", "classes"),
)
"""Name, range, what it is, what it is averaged over."""
NUMBERS_NOTE = (
    "c_fine and c_coarse are the two failures that the paper describes. Read neither alone: "
    "pooling by itself brings c_coarse below 0.5."
)

EVIDENCE = (
    Section(
        "Intervals",
        f"95 % percentile bootstrap over independent images (blocks of frames in a film), "
        f"{REPLICATES} replicates. Below {MIN_CLUSTERS} of them there is no interval, and the page "
        "says so. A single image has a value and nothing to hold it against.",
    ),
    Section(
        "The strict verdict",
        f"Aware in the strict sense needs all three: the interval of SCI lies below "
        f"{FALSE_SIGNAL} (without any tuning, noise moved SCI within {FALSE_SIGNAL} to "
        f"{1 - FALSE_SIGNAL:.2f}); it lies below the lowest of {MIN_DRAWS} random networks; and at "
        "matched resolution the finest branch prefers smaller, the coarsest larger objects. Not "
        "strict is not confused: weak tuning fails it. Where N2 does about as well, a caution is "
        "added: layout explains the order.",
    ),
    Section(
        "B - A",
        "Always paired over the same images, with a sign-flip test; p is adjusted by Holm over the "
        "confirmatory indices. Each network is one training run, so a difference is about these "
        "two networks, not about a method; for that, at least 4 seeds per arm are needed.",
    ),
)

GATES = (
    Section(
        "What a gate does",
        "A gate g is one value per position that multiplies the features in front of a transfer "
        "between scales, all channels alike. Form `paper`: 0 to 1. Form `released`: a sigmoid "
        "after a ReLU, 0.5 to 1, so it cannot close and silent places sit at exactly 0.5. Gates of "
        "transitions may be supervised by the labels. A plain HRNetV2 has no gates. Attention "
        "behind a block, or of one value per channel, is not a gate map of a transfer and is not "
        "shown here; it is a tap, which can be captured and held.",
    ),
    Section(
        "What a gate does not say",
        "A gate on a silent place changes nothing, and a constant gate can be absorbed by the next "
        "weights. To see what a gate is worth, hold it at a value and look at the prediction "
        "(page Gates).",
    ),
    Section(
        "Shares and Shapley values",
        "Up to its ReLU the head is a sum over branches, so each logit splits exactly. Shares add "
        "up to 1 and may be negative. Shapley values average what a branch adds over all orders in "
        "which branches can join, and add up to the margin (or logit) minus its value with every "
        "branch absent. An absent branch stands at a mean or at zero: neither is a feature that "
        "the network ever saw, so look at both.",
    ),
)

LIMITS = (
    "The floor of SCI is not 0 and depends on the images: the largest region is often a flat "
    "background. Compare with chance, null models, and another network on the same images.",
    "Percentiles are compositional: an object that covers 80 % of an image has a response near "
    "0.5.",
    "Connected areas merge touching objects of one class and split occluded ones. Thin objects "
    "are longer than wide: look at sizes by the inscribed disc, too.",
    "On small images most objects have no core (a strip of 8 px is taken off).",
    "After a fusion every branch is already a mixture of all; SCI is read there because the paper "
    "is.",
    "One cell of stride s covers s x s pixels; convolution cells are centred half a cell further "
    "up and left, which is not corrected.",
    "Data sets have different mixes of sizes; compare them at equal gaps.",
    "Lower SCI is not better segmentation. It describes which branch answers for what.",
)

GLOSSARY = {
    "branch, stride": "one resolution stream of the network and its pixel step: 4, 8, 16, 32; "
    "`8r12` for dilation rate 12 on cells of 8 px, `6x6` for a map pooled to so many cells",
    "stage, module": "HRNet's stages 1 to 4, each a sequence of modules; a module is branches, "
    "then fusion",
    "transfer": "the path that carries a source branch into a target branch at a fusion, or makes "
    "a new branch at a transition",
    "gate": "the map in front of a transfer, one value per position",
    "relation": "what a pixel takes over from a window of cells of the next coarser map, from each "
    "by a weight of its own; the weights sum to 1",
    "tap": "a named place where something is captured, such as `stage4.branch0` (after the last "
    "fusion) or `stage3.m0.gate[2->0]`",
    "region": "one object of one image: an instance, or a connected area of one class; at least "
    "64 px to count",
    "size, octave": "log2 of the square root of the area in network-input pixels; one octave is a "
    "factor of two",
    "core, band": "the inside of a region, and the 8 px strip along its edge",
    "heat map": "channel average of a feature map, as in the paper; its numbers are arbitrary",
    "percentile map": "its ranks within the image, fixed bar 0 to 1: the comparable form",
    "SCI": "Scale Confusion Index",
    "null model": "the same number after the link to size was broken on purpose",
    "A, B": "the networks compared; by custom A is the baseline and B the gated one, and a "
    "difference is always B - A",
}

IMAGES = """
- **Scenes** are procedural, made by this package: no photograph is in them, free to use (MIT).
- **Uploads** stay on this computer, are kept for the session only, and remain yours.
- **Data sets** that were given by `--data` keep their own terms; CamVid is CC BY-NC
  (non-commercial). No image of them is in this package.
"""


def guide() -> str:
    """Return the guide to SCI in the package; without pictures, links and headings as words."""
    text = (files("gsto_viz") / "guide" / "how_to_read_sci.md").read_text(encoding="utf-8")
    text = text.partition("\n")[2].strip()
    text = re.sub(r"^!\[[^]]*\]\([^)]*\)\n+\*[^*]+\*\n+", "", text, flags=re.M)
    text = re.sub(r"\[([^]]+)\]\((?!https:)[^)]*\)", r"\1", text)
    return re.sub(r"^#+ (.*)$", r"**\1**", text, flags=re.M)


def number_table() -> str:
    """Return every number as a Markdown table."""
    return markdown_table(("number", "range", "what it is", "averaged over"), NUMBERS)


def null_table() -> str:
    """Return the null models as a Markdown table."""
    rows = [(name, null.meaning, null.expected) for name, null in NULLS.items()]
    return markdown_table(("null", "what is broken", "what to look for"), rows)


def glossary_table() -> str:
    """Return the glossary as a Markdown table."""
    return markdown_table(("word", "meaning"), list(GLOSSARY.items()))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is bold."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| **{first}** | {' | '.join(more)} |" for first, *more in rows]
    return "\n".join(lines)
