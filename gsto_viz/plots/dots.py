"""SCI of networks beside its nulls, and against the size gap of a pair."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gsto_viz.colors import network_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.page import (
    BODY,
    CHANCE_BAND,
    GUIDE,
    HEADING,
    MARGIN,
    NOTE_LINE,
    POINTS,
    WIDTH,
    Page,
    chance_band,
    check_frames,
    context,
    draw_above,
    draw_estimates,
    guide,
    head_line,
    inches,
    network_handles,
    numbers,
    share_axis,
    shorten,
    title_of,
)
from gsto_viz.stats.compare import FALSE_SIGNAL, Headline
from gsto_viz.stats.inference import cause
from gsto_viz.stats.nulls import Null
from gsto_viz.words import INDICES, NULLS, listed

COLUMNS = ("model", "index", "source", "draw", "value", "low", "high", "n_images", "reason")
_LINE = 0.17
"""Inches per line."""
_SIDE, _TEXT = 1.4, 1.35
"""Inches for the names of the lines and for the numbers beside each panel."""
NOT_ESTIMATED = "not estimated"
"""Written where an index or a null has no value; the caption says why."""
MOST_NAMED = 3
"""Lines that the caption names for one reason; of more it gives the number."""
NullModels = Mapping[str, Mapping[str, Null]]
"""By index name (a key of ``Headline.indices``), then by the null's name, N1 to N5."""


def sci_dots_data(
    headlines: Mapping[str, Headline],
    nulls: Mapping[str, NullModels] | None = None,
    *,
    indices: Sequence[str] = ("sci", "sci_edge"),
) -> pd.DataFrame:
    """Return what ``figure_sci_dots`` draws as one table.

    Args:
        headlines: By network, its indices.
        nulls: By network, its nulls; None: none were made.
        indices: Keys of ``Headline.indices``, one panel each.

    Returns:
        ``model``, ``index``, ``source`` (``model`` or N1 to N5), ``draw`` (from 0; null for the
        estimate and for a null's mean over its draws), ``value``, ``low``, ``high`` (95 % interval
        of an estimate, range of a null), ``n_images``, ``reason``.

    Raises:
        GstoVizError: No network, or an index that a headline does not have.
    """
    if not headlines or not indices:
        raise GstoVizError("there is nothing to draw; give at least one network and one index")
    known = [key for key in INDICES if all(key in one.indices for one in headlines.values())]
    if unknown := [name for name in indices if name not in known]:
        raise GstoVizError(
            f"a headline has no index '{unknown[0]}'; choose from {', '.join(known)}"
        )
    rows: list[tuple[object, ...]] = []
    for model, headline in headlines.items():
        for index in indices:
            one = headline.indices[index]
            row = (one.value, one.low, one.high, one.n_images, one.reason)
            rows.append((model, index, "model", pd.NA, *row))
            for name, null in (nulls or {}).get(model, {}).get(index, {}).items():
                row = (null.mean, null.low, null.high, null.n_images, null.reason)
                rows.append((model, index, name, pd.NA, *row))
                for draw, value in enumerate(null.values):
                    rows.append((model, index, name, draw, value, None, None, null.n_images, None))
    numbers = dict.fromkeys(("value", "low", "high"), "float64") | {"draw": "Int64"}
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(numbers)


@context()
def figure_sci_dots(
    headlines: Mapping[str, Headline],
    nulls: Mapping[str, NullModels] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    indices: Sequence[str] = ("sci", "sci_edge"),
    width: float = WIDTH,
) -> Figure:
    """Draw indices of networks as dots with intervals, and below each network its nulls.

    What is not estimated says so in words; an estimate without interval is a hollow dot. Every
    draw of a null is a tick on the line of its range.

    Args:
        headlines: By network (A, B), its indices.
        nulls: By network, its nulls; None or a network without: only the network's own line.
        names: By network, the checkpoint's name for the heading.
        indices: Keys of ``Headline.indices``, one panel each, at most three on a page.
        width: Inches.

    Raises:
        GstoVizError: No network, an unknown index or more than three.
    """
    if len(indices) > 3:
        raise GstoVizError(f"{len(indices)} indices do not fit one page; draw at most three")
    data = sci_dots_data(headlines, nulls, indices=indices)
    lines = [
        (str(model), str(source))
        for model, rows in data.groupby("model", sort=False)
        for source in ("heading", "model", *sorted(set(rows["source"]) - {"model"}))
    ]
    height = len(lines) * _LINE
    page = Page(width)
    top = MARGIN + 0.2
    for k, (model, source) in enumerate(lines):
        _write_line(page, top + (k + 0.5) * _LINE, model, source, names)
    panel = (width - MARGIN - _SIDE) / len(indices)
    for column, index in enumerate(indices):
        left = MARGIN + _SIDE + column * panel
        ax = page.axes(left, top, panel - _TEXT, height, label=index)
        _draw_panel(ax, data[data["index"] == index], lines, index)
    page.top = top + height + 0.42
    page.legend(_legend())
    return page.finish(_caption(data), _alt_text(data))


def _write_line(
    page: Page, y: float, model: str, source: str, names: Mapping[str, str] | None
) -> None:
    """Write the name of one line at the left of the page."""
    if source == "heading":
        room = page.width - 2 * MARGIN
        title = shorten(title_of(model, names), room, HEADING, bold=True)
        page.text(MARGIN, y, title, va="center", fontsize=HEADING, fontweight="bold")
        return
    name = "the network" if source == "model" else NULLS[source].label
    page.text(MARGIN + 0.1, y, shorten(name, _SIDE - 0.15, BODY), va="center")


def _draw_panel(ax: Axes, data: pd.DataFrame, lines: Sequence[tuple[str, str]], index: str) -> None:
    """Draw one index: line k of the page is at y = k."""
    ax.set_xlim(0, 1)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_xlabel(INDICES[index].axis)
    ax.set_title(shorten(INDICES[index].title, inches(ax)[0] + _TEXT, BODY), loc="left", pad=5)
    for first, last in _blocks(lines):
        if INDICES[index].noise:
            band = (FALSE_SIGNAL, 1 - FALSE_SIGNAL)
            ax.fill_betweenx([first, last], *band, color=CHANCE_BAND, linewidth=0, zorder=0)
        ax.plot([0.5, 0.5], [first, last], color=GUIDE, linestyle="--", linewidth=0.7, zorder=1)
    models = list(dict.fromkeys(model for model, _ in lines))
    for y, (model, source) in enumerate(lines):
        rows = data[(data["model"] == model) & (data["source"] == source)]
        if rows.empty:
            continue
        whole = rows[rows["draw"].isna()].iloc[0]
        if source == "model":
            _draw_estimate(ax, y, whole, models.index(model))
        else:
            _draw_null(ax, y, whole, rows["value"][rows["draw"].notna()].to_list())


def _blocks(lines: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
    """Return the vertical extent of each network's lines, without its heading."""
    starts = [y for y, (_, source) in enumerate(lines) if source == "heading"]
    return [
        (start + 0.5, end - 0.5)
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]


def _draw_estimate(ax: Axes, y: int, row: pd.Series, position: int) -> None:
    """Draw a network's own index and write it beside the panel."""
    mark = network_mark(position)
    if pd.isna(row["value"]):
        _write(ax, y, NOT_ESTIMATED, bold=True)
        return
    hollow = pd.isna(row["low"])
    if not hollow:
        ax.plot([row["low"], row["high"]], [y, y], color=mark.color, linewidth=1.8, zorder=3)
    ax.plot(
        [row["value"]],
        [y],
        color=mark.color,
        marker=mark.marker,
        markersize=6,
        markerfacecolor="white" if hollow else mark.color,
        linestyle="None",
        label="estimate",
        clip_on=False,
        zorder=4,
    )
    _write(ax, y, f"{row['value']:.3f} {_interval(row, '[]')}", bold=True)


def _draw_null(ax: Axes, y: int, row: pd.Series, draws: Sequence[float]) -> None:
    """Draw a null's draws as ticks on the line of their range, and write mean and range."""
    known = [value for value in draws if not pd.isna(value)]
    if pd.isna(row["value"]):
        _write(ax, y, NOT_ESTIMATED)
        return
    if not pd.isna(row["low"]):
        ax.plot([row["low"], row["high"]], [y, y], color=GUIDE, linewidth=0.8, zorder=2)
    mark: dict[str, Any] = {"color": GUIDE, "linestyle": "None", "clip_on": False, "zorder": 3}
    ax.plot(known, [y] * len(known), marker="|", label="draws", **mark)
    ax.plot([row["value"]], [y], marker="o", markersize=3, label="null", **mark)
    _write(ax, y, f"{row['value']:.3f} {_interval(row, '()')}")


def _interval(row: pd.Series, brackets: str) -> str:
    """Return the two ends in brackets; nothing when they are not there or equal the value."""
    if pd.isna(row["low"]) or row["high"] - row["low"] < 1e-9:
        return ""
    return f"{brackets[0]}{row['low']:.3f}, {row['high']:.3f}{brackets[1]}"


def _write(ax: Axes, y: int, text: str, *, bold: bool = False) -> None:
    """Write numbers right of the panel, at line ``y``."""
    ax.annotate(
        text.strip(),
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
        fontweight="bold" if bold else "normal",
    )


def _legend() -> list[Line2D | Patch]:
    """Explain marks that occur in every panel."""
    low, high = FALSE_SIGNAL, 1 - FALSE_SIGNAL
    return [
        Line2D([], [], color="black", marker="o", markersize=6, label="estimate, 95% interval"),
        guide("draws of a null, range", marker="|", linewidth=0.8),
        guide("their mean", marker="o", markersize=3, linestyle="None"),
        guide("chance", linestyle="--"),
        Patch(color=CHANCE_BAND, label=f"{low:.2f} to {high:.2f}: reached by noise alone"),
    ]


def _caption(data: pd.DataFrame) -> str:
    """Return the caption: what nulls are, what is missing, and why."""
    sources = set(data["source"]) - {"model"}
    parts = [
        "Dots: the index of a network over images, with its 95% bootstrap interval (clusters of "
        "images); hollow: no interval."
    ]
    if "N3" in sources:
        parts.append(
            "Random weights (N3) are not at 0.5: edges excite untrained filters; their values "
            "depend on measuring batch-norm statistics again and on the smallest region counted."
        )
    bare = [m for m, rows in data.groupby("model", sort=False) if set(rows["source"]) == {"model"}]
    if bare:
        parts.append(f"No nulls were made for {listed([str(one) for one in bare])}.")
    missing = data[data["reason"].notna()]
    for reason, rows in missing.groupby("reason", sort=False):
        lines = list(dict.fromkeys(_place(row) for row in rows.to_dict("records")))
        # The figure shows which lines they are, and the alt text names all.
        what = ", ".join(lines) if len(lines) <= MOST_NAMED else f"{len(lines)} lines"
        parts.append(f"{what}: {cause(str(reason))}.")
    return " ".join(parts)


def _place(row: Mapping[Any, Any]) -> str:
    """Name the line and the index of a row."""
    source = "" if row["source"] == "model" else f" {row['source']}"
    return f"{row['model']}{source} {row['index']}"


def _alt_text(data: pd.DataFrame) -> str:
    """Give every number of the figure in words."""
    parts = []
    for row in data[data["draw"].isna()].to_dict("records"):
        if pd.isna(row["value"]):
            said = f"{NOT_ESTIMATED} ({row['reason']})"
        else:
            said = f"{row['value']:.3f} {_interval(pd.Series(row), '[]')}".strip()
        parts.append(f"{_place(row)} {said}")
    return f"Indices of scale confusion beside their nulls, chance 0.5. {'; '.join(parts)}."


GAP_COLUMNS = ("gap_low", "gap_high", "classes", "value", "low", "high", "n_images", "n_pairs")
"""What a frame must have (``gsto_viz.stats.pairs.sci_by_gap``)."""
PANELS = {"all": "all pairs", "same": "pairs of one class", "different": "pairs of two classes"}
SPREAD, MOST = 0.16, 0.85
"""Distance between neighbouring networks within a bin, and of the first from the last one at most;
bins are 1 apart."""
GAP_CAPTION = (
    "SCI over pairs of regions whose sizes differ by so many octaves, mean over images, with 95% "
    "bootstrap intervals where there are at least 10 independent images (hollow: no interval). "
    "Numbers above: pairs. 0 aware, 0.5 chance, 1 reversed; grey: reached by noise alone."
)


@context()
def figure_sci_by_gap(
    frames: Mapping[str, pd.DataFrame],
    *,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw SCI by octave gap: a panel each for all pairs, pairs of one and of two classes.

    Pairs of two classes have no panel where there are none, as where there is one class.

    Args:
        frames: By network (A, B), what ``gsto_viz.stats.sci_by_gap`` returns.
        names: By network, the checkpoint's name for the legend.
        width: Inches.

    Raises:
        GstoVizError: No frame, or one that is not what ``sci_by_gap`` returns.
    """
    check_frames(frames, GAP_COLUMNS, "sci_by_gap(...)")
    handles = [*network_handles(frames, names), guide("chance", linestyle="--")]
    page = Page(width)
    head = 0.3 + len(frames) * NOTE_LINE / POINTS
    pairs = pd.concat(frames.values()).groupby("classes")["n_pairs"].sum()
    panels = {k: title for k, title in PANELS.items() if k != "different" or pairs.get(k, 0) > 0}
    (charts,) = page.charts((1, len(panels)), height=1.7, head=head, foot=0.45)
    for ax, (classes, title) in zip(charts, panels.items(), strict=True):
        _draw_gap_panel(ax, {k: f[f["classes"] == classes] for k, f in frames.items()})
        head_line(ax, title, pad=8 + NOTE_LINE * len(frames))
        ax.tick_params(labelleft=ax is charts[0])
    charts[0].set_ylabel("SCI")
    page.legend(handles)
    return page.finish(GAP_CAPTION, _gap_alt_text(frames))


def _draw_gap_panel(ax: Axes, frames: Mapping[str, pd.DataFrame]) -> None:
    bins = sorted({gap for frame in frames.values() for gap in _gaps(frame)})
    chance_band(ax)
    for position, (key, frame) in enumerate(frames.items()):
        frame = frame.sort_values("gap_low")
        places = [bins.index(gap) for gap in _gaps(frame)]
        apart = min(SPREAD, MOST / len(frames))
        shift = apart * (position - (len(frames) - 1) / 2)
        x, mark = np.array(places) + shift, network_mark(position)
        estimates = numbers(frame, "value", "low", "high")
        ax.plot(
            x, estimates[0], color=mark.color, linewidth=0.8, alpha=0.6, label="curve", zorder=2
        )
        draw_estimates(ax, x, estimates, mark.color, bar=1.4, marker=mark.marker, clip_on=False)
        note: dict[str, Any] = {"color": mark.color, "line": len(frames) - 1 - position}
        draw_above(f"{key}:", 0.0, "axes fraction", ax, ha="right", **note)
        for place, pairs in zip(places, frame["n_pairs"].tolist(), strict=True):
            draw_above(str(pairs), place, "data", ax, ha="center", **note)
    ax.set_xlim(-0.5, len(bins) - 0.5)
    ax.set_xticks(range(len(bins)), [_gap_name(*gap) for gap in bins])
    ax.set_xlabel("difference of size, octaves (log2 px)")
    share_axis(ax)


def _gaps(frame: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(frame["gap_low"].tolist(), frame["gap_high"].tolist(), strict=True))


def _gap_name(low: float, high: float) -> str:
    return f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"


def _gap_alt_text(frames: Mapping[str, pd.DataFrame]) -> str:
    """Give the values over all pairs in words."""
    parts = []
    for key, frame in frames.items():
        rows = frame[frame["classes"] == "all"].sort_values("gap_low")
        said = [
            f"{_gap_name(gap_low, gap_high)} octaves "
            + ("not estimated" if pd.isna(value) else f"{value:.2f}")
            for gap_low, gap_high, value in rows[["gap_low", "gap_high", "value"]].to_numpy()
        ]
        parts.append(f"{key}: {', '.join(said)}.")
    return (
        "SCI against the difference of size, for all pairs, pairs of one class and pairs of two "
        f"classes. All pairs: {' '.join(parts)}"
    )
