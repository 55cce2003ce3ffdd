"""The figure of one explained target, its checks and captions, and maps at any taps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gsto_viz.activity import HeatMap, cell_area
from gsto_viz.colors import branch_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.attribution_paths import edge_matrix, plot_edges
from gsto_viz.plots.page import (
    BODY,
    GAP,
    GUIDE,
    MARGIN,
    SMALL,
    WIDTH,
    chunks,
    context,
    shorten,
    text_width,
)
from gsto_viz.plots.wall import Outline, Panel, PanelRow, Wall
from gsto_viz.types import Stride, stride_words
from gsto_viz.words import HEAT_MAP, METHODS, methods_at, scored

SCORES = {
    "margin": "margin of the target",
    "mean": "mean logit of the target's class",
    "sum": "sum of the logits of the target's class",
    HEAT_MAP: "heat map of the target's joint",
}
"""Scores of a target in words."""


def score_words(score: str) -> str:
    """Return a score in words: a key of ``SCORES``.

    Raises:
        GstoVizError: It is none of these.
    """
    if score not in SCORES:
        raise GstoVizError(f"unknown score '{score}'; choose {', '.join(SCORES)}")
    return SCORES[score]


def color_words(methods: Iterable[str], score: str) -> str:
    """Explain red and blue in the maps of some methods, a sentence for each kind.

    Args:
        methods: Those drawn; ``shapley`` is one.
        score: The score asked. Of classes, Shapley maps split the margin of each cell whatever it
            is.

    Raises:
        GstoVizError: The score is unknown.
    """
    asked, shown = score_words(score), set(methods)
    kinds: dict[str, list[str]] = {}
    for row in METHODS.values():
        if row.key in shown:
            kinds.setdefault(row.meaning, []).append(row.label)
    exact = {row.meaning for row in methods_at("head").values()}
    sentences = []
    for meaning, labels in kinds.items():
        sentences.append(scored(meaning.format(methods=_list(labels), score=asked), score))
        if meaning in exact and score not in ("margin", HEAT_MAP):
            sentences.append(
                f"These maps explain the margin, not the score that was asked: the {asked}."
            )
    return " ".join(sentences)


def _list(words: list[str]) -> str:
    """Join words, the first letter in upper case."""
    text = ", ".join(words)
    return text[0].upper() + text[1:]


CHECKED = (
    "Below each map, its checks: rank correlation with its map under random weights (right: near "
    "0; -: one of both is constant; n: over so few cells, below 16, that chance takes it far from "
    "0); how far it moves at most when the image changes a little, relative to itself (0: not at "
    "all); infidelity, where its sum is a change of the score: error of what it foretells when "
    "cells are removed (0: right, 1: as bad as saying nothing)."
)
FEW = 16
"""Cells below which a rank correlation says how many it is over."""


def panel_checks(sanity: pd.DataFrame, name: str) -> str:
    """Return what the checks found for one map, in two lines.

    Args:
        sanity: ``check``, ``subject``, ``value``, ``cells``, as an explanation has them.
        name: Of the map: ``{method}/{tap}`` or ``shapley/{baseline}/branch{r}``, which is checked
            with its features at zero.
    """
    parts = name.split("/")
    subject = f"{parts[0]}/{parts[-1]}" if parts[0] in methods_at("head") else name
    own = sanity[sanity["subject"] == subject]
    values = dict(zip(own["check"], own["value"], strict=True))
    random = own[own["check"].str.startswith("rank correlation")]
    second = [
        f"{word} {_value(values[check])}"
        for word, check in (
            ("moves", "sensitivity (max)"),
            ("infidelity", "infidelity, cells removed"),
        )
        if check in values
    ]
    first = "not checked" if random.empty else _correlation(random.iloc[-1])
    return f"{first}\n{', '.join(second)}".rstrip()


def _correlation(check: pd.Series) -> str:
    """Return a rank correlation in words; where cells are few, with their number."""
    few = f", n = {check['cells']}" if check["cells"] < FEW else ""
    return f"random weights {_value(check['value'])}{few}"


def _value(value: float) -> str:
    """Return two digits that say something; a dash where there is no number."""
    return f"{value:.2g}" if math.isfinite(value) else "-"


PANEL_HEIGHT = 1.5
"""Largest height of a map, inches."""
CLIP = 99.5
"""Percentile of |value| at the ends of a scale; what lies beyond takes the end colours."""
CHART = 1.7
"""Height of the charts below the maps, inches."""
CHECKED_SHAPLEY = "Shapley maps are checked with zero for absent branches."


def symmetric_maps(
    maps: Sequence[npt.NDArray[np.floating]], strides: Sequence[Stride], label: str
) -> tuple[HeatMap, ...]:
    """Give maps one scale that is symmetric about 0.

    Args:
        maps: (h, w) each, finite.
        strides: Pixels per cell of each.
        label: What the numbers are.

    Returns:
        Maps whose bar runs from -v to v, v the largest of the maps' 99.5th percentiles of |value|.
    """
    sizes = [np.abs(np.asarray(m, dtype=np.float64)) for m in maps]
    if not all(np.isfinite(size).all() for size in sizes):
        raise GstoVizError("an attribution map holds NaN or infinity; look at image and weights")
    largest = max(float(size.max()) for size in sizes)
    limit = max(float(np.percentile(size, CLIP)) for size in sizes) or largest or 1.0
    return tuple(
        HeatMap(np.asarray(m, np.float64), -limit, limit, "attribution", label, False, stride)
        for m, stride in zip(maps, strides, strict=True)
    )


@context()
def figure_attribution(
    image: npt.NDArray[np.uint8],
    outline: npt.NDArray[np.integer],
    maps: Mapping[str, npt.NDArray[np.floating]],
    map_strides: Mapping[str, Stride],
    tables: Mapping[str, pd.DataFrame],
    *,
    strides: Sequence[Stride],
    title: str,
    score: str = "margin",
) -> Figure:
    """Draw what carries one target: maps by branch, Shapley values, closed paths.

    Args:
        image: (H, W, 3) uint8.
        outline: (H, W): 0 outside the target.
        maps: By name, ``shapley/{baseline}/branch{r}`` or ``{method}/{tap of branch r}``; of
            several baselines the first is drawn.
        map_strides: Pixels per cell of each map.
        tables: Of an explanation: ``branches``, ``paths`` (closed ones) and, where it was checked,
            ``sanity``, written below each map.
        strides: Of the branches.
        title: What is explained.
        score: A key of ``SCORES``: what bars, matrices and gradients explain.

    Raises:
        GstoVizError: There are no maps, one does not lie on its grid, or the score is unknown.
    """
    branches, sanity = tables["branches"], tables.get("sanity")
    groups = {method: names[: len(strides)] for method, names in _by_method(maps).items()}
    caption = (
        "Each row of maps has one scale, symmetric about 0. White outline: the target. "
        f"{color_words(groups, score)} Bars: Shapley values of the {score_words(score)}, by what "
        f"stands in for absent branches. Matrices: drop of the {score_words(score)} when one path "
        "is closed; a path that the network lacks is empty."
    )
    if sanity is not None:
        caption += f" {CHECKED} {CHECKED_SHAPLEY}"
    outlines = (Outline(outline),)
    wall = Wall((image.shape[0], image.shape[1]))
    wall.heading(title)
    for method, names in groups.items():
        heats = method_maps(method, names, maps, map_strides, image.shape[:2], score)
        if method in methods_at("head"):
            absent = f"{heats[0].label} (absent: {names[0].split('/')[1]})"
            heats = tuple(replace(heat, label=absent) for heat in heats)
        panels = [Panel("input and target", pixels=image, outlines=outlines)]
        for name, heat, stride in zip(names, heats, strides, strict=False):
            panels.append(_map_panel(stride_words(stride), heat, outlines, sanity, name))
        row = PanelRow("", panels, slots=len(strides) + 1, height=PANEL_HEIGHT, bar=heats[0])
        wall.rows([row])
    unit = HEAT_MAP if score == HEAT_MAP else "logits"
    _draw_charts(wall, branches, tables["paths"], strides, unit)
    return wall.finish(caption, f"{title}. {_in_words(branches, strides, unit)}")


def _by_method(maps: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of maps by their method."""
    groups: dict[str, list[str]] = {}
    for name in maps:
        groups.setdefault(name.split("/")[0], []).append(name)
    if not groups:
        raise GstoVizError("there are no maps at taps to draw; name a tap or run a method")
    return groups


def _map_panel(
    title: str,
    heat: HeatMap,
    outlines: Sequence[Outline],
    sanity: pd.DataFrame | None,
    name: str,
) -> Panel:
    """Return one map with the target's outline and what checks say of it."""
    below = "" if sanity is None else panel_checks(sanity, name)
    return Panel(title, heat=heat, name=name, bar=False, below=below, outlines=outlines)


def method_maps(
    method: str,
    names: Sequence[str],
    maps: Mapping[str, npt.NDArray[np.floating]],
    map_strides: Mapping[str, Stride],
    size: tuple[int, int],
    score: str = "margin",
) -> tuple[HeatMap, ...]:
    """Give the maps of one method one symmetric scale; cells that add up become densities."""
    word = METHODS[method]
    strides = [map_strides[name] for name in names]
    areas = [cell_area(size, stride) if word.adds_up else 1.0 for stride in strides]
    values = [maps[name] / area for name, area in zip(names, areas, strict=True)]
    return symmetric_maps(values, strides, scored(word.axis, score))


def _draw_charts(
    wall: Wall,
    branches: pd.DataFrame,
    paths: pd.DataFrame,
    strides: Sequence[Stride],
    unit: str,
) -> None:
    """Draw Shapley values by baseline, and the matrices of closed transfers and gates."""
    top = wall.top + 0.2
    ax = wall.axes(MARGIN + 0.45, top, 2.5, CHART)
    plot_shapley(branches[branches["method"] == "shapley"], ax=ax, strides=strides)
    ax.set_ylabel(unit)
    # Heat maps can be small, and long tick labels would push this label out of the figure.
    ax.ticklabel_format(axis="y", scilimits=(-2, 4), useMathText=True)
    ax.set_title("Shapley values of the target", loc="left", pad=4)
    for k, kind in enumerate(("transfer", "gate")):
        matrix = edge_matrix(paths, kind, len(strides))
        if matrix is None:
            continue
        left = 4.0 + k * 2.1
        box = wall.axes(left, top, 1.35, 1.35)
        bar = wall.axes(left, top + 1.35 + 0.42, 1.35, 0.06)
        plot_edges(matrix, ax=box, bar=bar, strides=strides, unit=unit)
        box.set_title(f"one {kind} closed: drop", loc="left", pad=4)
    wall.top += CHART + 0.75


def plot_shapley(rows: pd.DataFrame, *, ax: Axes, strides: Sequence[Stride]) -> Axes:
    """Draw Shapley values as bars, one group per branch and one bar per baseline.

    Args:
        rows: ``baseline`` and ``branch_{r}``, logits.
        ax: Where.
        strides: Of the branches.
    """
    count = len(rows)
    thickness = 0.8 / max(count, 1)
    hatches = ("", "////", "....", "xxxx")
    for k, (_, row) in enumerate(rows.iterrows()):
        for r in range(len(strides)):
            color = branch_mark(r).color
            ax.bar(
                r + (k - (count - 1) / 2) * thickness,
                row[f"branch_{r}"],
                thickness,
                color=color,
                edgecolor="white",
                linewidth=0.4,
                hatch=hatches[k % len(hatches)],
            )
    handles = [
        Patch(facecolor="0.6", edgecolor="white", hatch=hatches[k % 4]) for k in range(count)
    ]
    names = [shorten(str(name), 3.0 / count, SMALL) for name in rows["baseline"]]
    ax.legend(
        handles,
        names,
        fontsize=SMALL,
        loc="upper left",
        bbox_to_anchor=(-0.18, -0.1),
        ncols=count,
        columnspacing=1.0,
        handlelength=1.4,
    )
    ax.axhline(0, color=GUIDE, linewidth=0.6)
    ax.set_xticks(range(len(strides)), [f"/{s}" for s in strides])
    ax.set_ylabel("logits")
    ax.margins(y=0.08)
    return ax


def _in_words(branches: pd.DataFrame, strides: Sequence[Stride], unit: str) -> str:
    """Return the Shapley values in a sentence for readers who cannot see the figure."""
    parts = []
    for _, row in branches[branches["method"] == "shapley"].iterrows():
        values = ", ".join(
            f"{stride_words(s)}: {row[f'branch_{r}']:.2f}" for r, s in enumerate(strides)
        )
        parts.append(
            f"Shapley values ({unit}) with {row['baseline']} for absent branches: {values}."
        )
    return " ".join(parts)


COLUMNS = 5
"""Panels side by side at most, the image among them."""
LARGEST = (2.4, 2.0)
"""Greatest width and height of a panel, inches."""
TAPS_CAPTION = (
    "Each method has one scale, symmetric about 0. White outline: the target. After each tap: its "
    "stride. Every tap inside the network is explained alone. Colours end at the 99.5th percentile "
    "of a method's map."
)


@context()
def figure_taps(
    image: npt.NDArray[np.uint8],
    outline: npt.NDArray[np.integer],
    maps: Mapping[str, npt.NDArray[np.floating]],
    map_strides: Mapping[str, Stride],
    *,
    title: str,
    score: str = "margin",
    sanity: pd.DataFrame | None = None,
) -> Figure:
    """Draw maps of one target, method by method: the image first, then a panel per tap.

    Args:
        image: (H, W, 3) uint8.
        outline: (H, W): 0 outside the target.
        maps: By name, ``{method}/{tap}`` or ``{method}/input``.
        map_strides: Pixels per cell of each map.
        title: What is explained.
        score: A key of ``SCORES``: what the methods explain.
        sanity: ``check``, ``subject``, ``value``, ``cells``: written below each map.

    Raises:
        GstoVizError: There are no maps, one does not lie on its grid, or the score is unknown.
    """
    groups = _by_method(maps)
    caption = f"{TAPS_CAPTION} {color_words(groups, score)}"
    if sanity is not None:
        caption += f" {CHECKED}"
    columns = min(COLUMNS, 1 + max(map(len, groups.values())))
    room = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    slot = min(LARGEST[0], room * COLUMNS / columns)
    width = 2 * MARGIN + columns * slot + (columns - 1) * GAP
    outlines = (Outline(outline),)
    wall = Wall((image.shape[0], image.shape[1]), width=width)
    wall.heading(title)
    for method, names in groups.items():
        panels = [Panel("input and target", pixels=image, outlines=outlines)]
        heats = method_maps(method, names, maps, map_strides, image.shape[:2], score)
        for name, heat in zip(names, heats, strict=True):
            tap, end = name.split("/", 1)[1], f" /{heat.stride}"
            head = shorten(tap, slot - text_width(end, BODY), BODY) + end
            panels.append(_map_panel(head, heat, outlines, sanity, name))
        rows = [
            PanelRow("", part, slots=columns, height=LARGEST[1]) for part in chunks(panels, columns)
        ]
        wall.rows([*rows[:-1], replace(rows[-1], bar=heats[0])])
    parts = []
    for method, names in groups.items():
        places = ", ".join(name.split("/", 1)[1] for name in names)
        parts.append(f"{scored(METHODS[method].axis, score)} at {places}")
    return wall.finish(caption, f"{title}. Maps: {'; '.join(parts)}.")
