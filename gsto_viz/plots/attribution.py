"""The figure of one explained target, its checks and captions, and maps at any taps."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gsto_viz.activity import HeatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.attribution_paths import edge_matrix, plot_edges
from gsto_viz.plots.chart import (
    GAP,
    MARGIN,
    Page,
    fit_panel,
    set_alt_text,
    shorten,
    text_height,
    text_width,
    wrap,
)
from gsto_viz.plots.panels import draw_image, draw_outlines, fill_bar, paint
from gsto_viz.plots.style import GUIDE, branch_style
from gsto_viz.words import METHODS

SCORES = {
    "margin": "margin of the target",
    "mean": "mean logit of the target's class",
    "sum": "sum of the logits of the target's class",
}
"""Scores of a target in words."""


def score_words(score: str) -> str:
    """Say a score: ``margin``, ``mean`` or ``sum``.

    Raises:
        GstoVizError: It is none of these.
    """
    if score not in SCORES:
        raise GstoVizError(f"unknown score '{score}'; choose {', '.join(SCORES)}")
    return SCORES[score]


def color_words(methods: Iterable[str], score: str) -> str:
    """Say what red and blue mean in the maps of some methods, a sentence for each kind.

    Args:
        methods: Those drawn; ``shapley`` is one.
        score: The score asked. Shapley maps split the margin of each cell whatever it is.

    Raises:
        GstoVizError: The score is unknown.
    """
    asked, shown = score_words(score), set(methods)
    kinds: dict[str, list[str]] = {}
    for row in METHODS.values():
        if row.key in shown:
            kinds.setdefault(row.meaning, []).append(row.label)
    sentences = []
    for meaning, labels in kinds.items():
        sentences.append(meaning.format(methods=_list(labels), score=asked))
        if meaning == METHODS["shapley"].meaning and score != "margin":
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
LINES = 2
"""Lines of text that the checks of one map take."""


def panel_checks(sanity: pd.DataFrame, name: str) -> str:
    """Say what the checks found for one map, in two lines.

    Args:
        sanity: ``check``, ``subject``, ``value``, ``cells``, as an explanation has them.
        name: Of the map: ``{method}/{tap}`` or ``shapley/{baseline}/branch{r}``, which is checked
            with its features at zero.
    """
    parts = name.split("/")
    subject = f"shapley/{parts[-1]}" if parts[0] == "shapley" else name
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
    """Say a rank correlation with the map under random weights; over few cells, over how many."""
    few = f", n = {check['cells']}" if check["cells"] < FEW else ""
    return f"random weights {_value(check['value'])}{few}"


def _value(value: float) -> str:
    """Return two digits that say something; a dash where there is no number."""
    return f"{value:.2g}" if math.isfinite(value) else "-"


WIDTH = 8.0
CLIP = 99.5
"""Percentile of |value| at the ends of a scale; what lies beyond takes the end colours."""
CHART = 1.7
"""Height of the charts below the maps, inches."""
CHECKED_SHAPLEY = "Shapley maps are checked with zero for absent branches."


def symmetric_maps(
    maps: Sequence[npt.NDArray[np.floating]], strides: Sequence[int], label: str
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


def figure_attribution(
    image: npt.NDArray[np.uint8],
    outline: npt.NDArray[np.integer],
    maps: Mapping[str, npt.NDArray[np.floating]],
    map_strides: Mapping[str, int],
    branches: pd.DataFrame,
    paths: pd.DataFrame,
    *,
    strides: Sequence[int],
    title: str,
    score: str = "margin",
    sanity: pd.DataFrame | None = None,
) -> Figure:
    """Draw what carries one target: maps by branch, Shapley values, closed paths.

    Args:
        image: (H, W, 3) uint8.
        outline: (H, W): 0 outside the target.
        maps: By name, ``shapley/{baseline}/branch{r}`` or ``{method}/{tap of branch r}``; of
            several baselines the first is drawn.
        map_strides: Pixels per cell of each map.
        branches: The table of branches of an explanation.
        paths: Its table of closed paths.
        strides: Of the branches.
        title: What is explained.
        score: ``margin``, ``mean`` or ``sum``: what bars, matrices and gradients explain.
        sanity: Its sanity checks, written below each map.

    Raises:
        GstoVizError: There are no maps, one does not lie on its grid, or the score is unknown.
    """
    rows = _map_rows(maps, map_strides, len(strides))
    size = (image.shape[0], image.shape[1])
    count = len(strides)
    slot = (WIDTH - 2 * MARGIN - count * GAP) / (count + 1)
    panel = fit_panel(size, slot, 1.5)
    checks = 0.0 if sanity is None else check_height()
    step = 0.2 + panel[1] + checks + 0.36
    caption = _caption([label.split("/")[0] for label in maps], score)
    if sanity is not None:
        caption += f" {CHECKED} {CHECKED_SHAPLEY}"
    caption = wrap(caption, WIDTH - 2 * MARGIN, style.SMALL)
    charts_top = MARGIN + 0.25 + len(rows) * step
    height = charts_top + CHART + 0.75 + text_height(caption, style.SMALL) + MARGIN
    with style.context():
        page = Page(WIDTH, height)
        heading = shorten(title, WIDTH - 2 * MARGIN, style.HEADING, bold=True)
        page.text(MARGIN, MARGIN, heading, fontsize=style.HEADING, fontweight="bold")
        for k, (names, label, heatmaps) in enumerate(rows):
            top = MARGIN + 0.25 + k * step
            below = None if sanity is None else [panel_checks(sanity, name) for name in names]
            _draw_row(page, top, slot, panel, (image, outline), label, heatmaps, strides, below)
        _draw_charts(page, charts_top, branches, paths, strides)
        page.text(MARGIN, height - MARGIN, caption, fontsize=style.SMALL, va="bottom")
    set_alt_text(page.figure, f"{title}. {_in_words(branches, strides)}")
    return page.figure


def _caption(methods: Sequence[str], score: str) -> str:
    """Say how to read the maps, the bars and the matrices."""
    return (
        "Each row of maps has one scale, symmetric about 0. White outline: the target. "
        f"{color_words(methods, score)} Bars: Shapley values of the {score_words(score)}, by what "
        f"stands in for absent branches. Matrices: drop of the {score_words(score)} when one path "
        "is closed; a path that the network lacks is empty."
    )


def _map_rows(
    maps: Mapping[str, npt.NDArray[np.floating]], map_strides: Mapping[str, int], count: int
) -> list[tuple[list[str], str, tuple[HeatMap, ...]]]:
    """Return the rows to draw: names, label and one map per branch."""
    groups: dict[str, list[str]] = {}
    for name in maps:
        method = name.split("/")[0]
        group = groups.setdefault(method, [])
        if len(group) < count:
            group.append(name)
    if not groups:
        raise GstoVizError("there are no attribution maps to draw; run at least one method")
    rows = []
    for method, names in groups.items():
        label = method_axis(method)
        if method == "shapley":
            label += f" (absent: {names[0].split('/')[1]})"
        rows.append((names, label, method_maps(method, names, maps, map_strides, label)))
    return rows


def method_maps(
    method: str,
    names: Sequence[str],
    maps: Mapping[str, npt.NDArray[np.floating]],
    map_strides: Mapping[str, int],
    label: str,
) -> tuple[HeatMap, ...]:
    """Give the maps of one method one symmetric scale; cells that add up become densities."""
    strides = [map_strides[name] for name in names]
    areas = [stride**2 if METHODS[method].adds_up else 1 for stride in strides]
    values = [maps[name] / area for name, area in zip(names, areas, strict=True)]
    return symmetric_maps(values, strides, label)


def method_axis(method: str) -> str:
    """Return what the numbers of a method's maps are."""
    return METHODS[method].axis


def check_height() -> float:
    """Return the inches below a map that its checks take."""
    return text_height("\n" * (LINES - 1), style.SMALL) + 0.05


def _draw_row(
    page: Page,
    top: float,
    slot: float,
    panel: tuple[float, float],
    picture: tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]],
    label: str,
    heatmaps: Sequence[HeatMap],
    strides: Sequence[int],
    checks: Sequence[str] | None,
) -> None:
    """Draw the image and one map per branch, what checks say of it, and their common bar below."""
    image, outline = picture
    for k in range(len(heatmaps) + 1):
        left = MARGIN + k * (slot + GAP) + (slot - panel[0]) / 2
        ax = page.axes(left, top + 0.2, *panel)
        if k == 0:
            draw_image(image, ax=ax)
            ax.set_title("input and target", pad=3)
        else:
            size = (image.shape[0], image.shape[1])
            paint(heatmaps[k - 1], ax=ax, size=size)
            ax.set_title(f"stride {strides[k - 1]}", pad=3)
            if checks is not None:
                page.text(left, top + 0.24 + panel[1], checks[k - 1], fontsize=style.SMALL)
        draw_outlines(outline, ax=ax)
    left, below = MARGIN + slot + GAP, top + 0.2 + panel[1]
    below += 0.0 if checks is None else check_height()
    bar = page.axes(left, below + 0.06, 1.6, 0.07)
    fill_bar(heatmaps[0], bar)
    page.text(left + 1.7, below + 0.04, label, fontsize=style.SMALL)


def _draw_charts(
    page: Page, top: float, branches: pd.DataFrame, paths: pd.DataFrame, strides: Sequence[int]
) -> None:
    """Draw Shapley values by baseline, and the matrices of closed transfers and gates."""
    shapley = branches[branches["method"] == "shapley"]
    ax = page.axes(MARGIN + 0.45, top + 0.2, 2.5, CHART)
    plot_shapley(shapley, ax=ax, strides=strides)
    ax.set_title("Shapley values of the target", loc="left", pad=4)
    for k, kind in enumerate(("transfer", "gate")):
        matrix = edge_matrix(paths, kind, len(strides))
        if matrix is None:
            continue
        left = 4.0 + k * 2.1
        box = page.axes(left, top + 0.2, 1.35, 1.35)
        bar = page.axes(left, top + 0.2 + 1.35 + 0.42, 1.35, 0.06)
        plot_edges(matrix, ax=box, bar=bar, strides=strides)
        box.set_title(f"one {kind} closed: drop", loc="left", pad=4)


def plot_shapley(rows: pd.DataFrame, *, ax: Axes, strides: Sequence[int]) -> Axes:
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
            color, _ = branch_style(r)
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
    names = [shorten(str(name), 3.0 / count, style.SMALL) for name in rows["baseline"]]
    ax.legend(
        handles,
        names,
        fontsize=style.SMALL,
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


def _in_words(branches: pd.DataFrame, strides: Sequence[int]) -> str:
    """Say the Shapley values in a sentence for readers who cannot see the figure."""
    parts = []
    for _, row in branches[branches["method"] == "shapley"].iterrows():
        values = ", ".join(f"stride {s}: {row[f'branch_{r}']:.2f}" for r, s in enumerate(strides))
        parts.append(
            f"Shapley values in logits with {row['baseline']} for absent branches: {values}."
        )
    return " ".join(parts)


TAPS_WIDTH = 8.0
COLUMNS = 5
"""Panels side by side at most, the image among them."""
LARGEST = (2.4, 2.0)
"""Greatest width and height of a panel, inches."""
NARROWEST = 5.0
"""Least width of the page: a colour bar with its label and the caption fit."""
TITLE = 7.0
"""Font size of the panels' titles, points."""
HEAD, BAR = 0.2, 0.36
"""Inches above a panel for its title, and below a method's panels for the bar."""
CAPTION = (
    "Each method has one scale, symmetric about 0. White outline: the target. After each tap: its "
    "stride. Every tap inside the network is explained alone. Colours end at the 99.5th percentile "
    "of a method's map."
)


def figure_taps(
    image: npt.NDArray[np.uint8],
    outline: npt.NDArray[np.integer],
    maps: Mapping[str, npt.NDArray[np.floating]],
    map_strides: Mapping[str, int],
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
        score: ``margin``, ``mean`` or ``sum``: what the methods explain.
        sanity: ``check``, ``subject``, ``value``, ``cells``: written below each map.

    Raises:
        GstoVizError: There are no maps, one does not lie on its grid, or the score is unknown.
    """
    groups: dict[str, list[str]] = {}
    for name in maps:
        groups.setdefault(name.split("/")[0], []).append(name)
    if not groups:
        raise GstoVizError("there are no maps at taps to draw; name a tap or a method on the image")
    columns = min(COLUMNS, 1 + max(map(len, groups.values())))
    room = (TAPS_WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    slot = min(LARGEST[0], room * COLUMNS / columns)
    width = max(NARROWEST, 2 * MARGIN + columns * slot + (columns - 1) * GAP)
    panel = fit_panel((image.shape[0], image.shape[1]), slot, LARGEST[1])
    step = HEAD + panel[1] + (0.05 if sanity is None else check_height())
    rows = [-(-(1 + len(names)) // columns) for names in groups.values()]
    caption = f"{CAPTION} {color_words(groups, score)}"
    if sanity is not None:
        caption += f" {CHECKED}"
    caption = wrap(caption, width - 2 * MARGIN, style.SMALL)
    height = MARGIN + 0.25 + sum(rows) * step + len(rows) * BAR
    height += text_height(caption, style.SMALL) + 2 * MARGIN
    with style.context():
        page = Page(width, height)
        heading = shorten(title, width - 2 * MARGIN, style.HEADING, bold=True)
        page.text(MARGIN, MARGIN, heading, fontsize=style.HEADING, fontweight="bold")
        top = MARGIN + 0.25
        for (method, names), count in zip(groups.items(), rows, strict=True):
            label = method_axis(method)
            drawn = method_maps(method, names, maps, map_strides, label)
            for k in range(1 + len(names)):
                row, column = divmod(k, columns)
                corner = (MARGIN + column * (slot + GAP), top + row * step + HEAD)
                if k == 0:
                    ax = page.axes(*corner, *panel)
                    draw_image(image, ax=ax).set_title("input and target", pad=3)
                    draw_outlines(outline, ax=ax)
                    continue
                below = None if sanity is None else panel_checks(sanity, names[k - 1])
                _draw_map(page, corner, panel, outline, names[k - 1], drawn[k - 1], below, slot)
            top += count * step
            fill_bar(drawn[0], page.axes(MARGIN, top + 0.06, 1.6, 0.07))
            page.text(MARGIN + 1.7, top + 0.04, label, fontsize=style.SMALL)
            top += BAR
        page.text(MARGIN, height - MARGIN, caption, fontsize=style.SMALL, va="bottom")
    set_alt_text(page.figure, f"{title}. {_checks_in_words(groups)}")
    return page.figure


def _draw_map(
    page: Page,
    corner: tuple[float, float],
    panel: tuple[float, float],
    outline: npt.NDArray[np.integer],
    name: str,
    heatmap: HeatMap,
    below: str | None,
    slot: float,
) -> None:
    """Draw one map with the target's outline, its tap above and its checks below."""
    ax = page.axes(*corner, *panel)
    paint(heatmap, ax=ax, size=(outline.shape[0], outline.shape[1]))
    draw_outlines(outline, ax=ax)
    tap = name.split("/", 1)[1]
    end = f" /{heatmap.stride}"
    ax.set_title(shorten(tap, slot - text_width(end, TITLE), TITLE) + end, pad=3)
    if below is not None:
        page.text(corner[0], corner[1] + panel[1] + 0.04, below, fontsize=style.SMALL)


def _checks_in_words(groups: Mapping[str, list[str]]) -> str:
    """Say which maps there are."""
    parts = [
        f"{method_axis(method)} at {', '.join(name.split('/', 1)[1] for name in names)}"
        for method, names in groups.items()
    ]
    return f"Maps: {'; '.join(parts)}."
