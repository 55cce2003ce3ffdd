"""Mean response of every branch by object size, and by distance to the edge."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.colors import branch_mark, network_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.page import (
    FEW,
    GUIDE,
    WIDTH,
    Page,
    begin_with,
    check_columns,
    check_frames,
    chunks,
    context,
    draw_above,
    draw_curve,
    guide,
    head_line,
    line_of,
    network_handles,
    octave_axis,
    share_axis,
    title_of,
)
from gsto_viz.types import BAND_PX, Stride, stride_order, stride_words
from gsto_viz.words import counted, listed

FEW_REGIONS = 20
"""Octaves with fewer regions are drawn with grey markers."""
COLUMNS = ("branch", "stride", "octave", "mean", "low", "high", "n_regions", "n_images")
"""What the frame must have (``gsto_viz.stats.sizes.response_by_octave``)."""
MOST_COLUMNS = 3
"""Networks side by side; more of them take further rows."""
SIZE_LABELS = (
    "size of the region: octaves (log2 px) and, below them, px",
    "size: octaves (log2 px), px",
)
CAPTION = (
    "Mean percentile response of each branch over the regions of one size octave (octave o: sizes "
    "from 2^o to 2^(o+1) px of sqrt(area), network-input pixels), images weighted equally. Bands: "
    "95% bootstrap interval over images, where there are at least 10. n: number of regions."
)


def plot_sizes(frame: pd.DataFrame, *, ax: Axes, octaves: tuple[int, int] | None = None) -> Axes:
    """Draw one line per branch: its mean percentile response against the size of the regions.

    A point stands in the middle of its octave. Markers of octaves with fewer than ``FEW_REGIONS``
    regions are grey. Ribbons appear where the frame has intervals.

    Args:
        frame: What ``response_by_octave`` returns.
        ax: Where; the numbers of regions stand above it.
        octaves: First and last octave of the axis; by default those of the frame.

    Raises:
        GstoVizError: A column is missing, or there are no rows.
    """
    check_frame(frame)
    first, last = octaves or (int(frame["octave"].min()), int(frame["octave"].max()))
    ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle=":", zorder=1)
    for branch, rows in frame.groupby("branch"):
        mark, rows = branch_mark(int(str(branch))), rows.sort_values("octave")
        few = rows["n_regions"].to_numpy() < FEW_REGIONS
        draw_curve(
            ax,
            rows,
            "octave",
            mark.color,
            few=few,
            label=stride_words(rows["stride"].iloc[0]),
            marker=mark.marker,
            markeredgewidth=0.6,
        )
    counts = frame.groupby("octave")["n_regions"].max()
    draw_above("n =", 0.0, "axes fraction", ax, ha="right", color=GUIDE)
    for octave, count in zip(counts.index.tolist(), counts.tolist(), strict=True):
        color = FEW if count < FEW_REGIONS else GUIDE
        draw_above(str(count), octave + 0.5, "data", ax, ha="center", color=color)
    octave_axis(ax, first, last, *SIZE_LABELS)
    share_axis(ax)
    return ax


@context()
def figure_tuning_fan(
    frames: Mapping[str, pd.DataFrame],
    *,
    random: Mapping[str, Sequence[pd.DataFrame]] | None = None,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw the size responses of networks over those of the same networks with random weights.

    Args:
        frames: By network (A, B), what ``response_by_octave`` returns.
        random: By network, one such frame per draw of random weights; None or a network without
            draws: the caption says so.
        names: By network, the checkpoint's name for the heading.
        width: Inches.

    Raises:
        GstoVizError: No frame, one that is not what ``response_by_octave`` returns, or draws of a
            network that is not among ``frames``.
    """
    random = random or {}
    if unknown := set(random) - set(frames):
        raise GstoVizError(
            f"random draws of '{min(unknown)}', which has no responses; leave it out"
        )
    check_frames(frames, COLUMNS, "response_by_octave(...)")
    draws = [frame for some in random.values() for frame in some]
    for frame in (*frames.values(), *draws):
        check_frame(frame)
    octaves = (
        min(int(frame["octave"].min()) for frame in frames.values()),
        max(int(frame["octave"].max()) for frame in frames.values()),
    )
    page = Page(width)
    columns = min(len(frames), MOST_COLUMNS)
    for keys in chunks(list(frames), columns):
        drawn = any(len(random.get(key, ())) for key in keys)
        charts = page.charts((2 if drawn else 1, columns), height=1.6 if draws else 1.9)
        for column, key in enumerate(keys):
            own, ax = random.get(key, ()), charts[0][column]
            plot_sizes(frames[key], ax=ax, octaves=octaves)
            head_line(ax, title_of(key, names), pad=16)
            if own:
                plot_random(own, ax=ax, octaves=octaves, every=False)
            if drawn:
                below = charts[1][column]
                plot_random(own, ax=below, octaves=octaves)
                words = f"random weights, {counted(len(own), 'draw')}"
                note = words if own else "no draws of random weights"
                below.set_title(note, loc="left", pad=3)
        for row in charts:
            row[0].set_ylabel("mean percentile response")
            for ax in row[1:]:
                ax.tick_params(labelleft=False)
            for ax in row[len(keys) :]:
                ax.remove()
    page.legend(_legend(pd.concat(list(frames.values())), with_draws=bool(draws)))
    titles = {key: title_of(key, names) for key in frames}
    said = response_words(
        {titles[key]: frame for key, frame in frames.items()},
        {titles[key]: draws for key, draws in random.items() if len(draws)},
    )
    return page.finish(f"{CAPTION} {_about_draws(frames, random)}", said)


def tuning_fan_data(
    frames: Mapping[str, pd.DataFrame],
    random: Mapping[str, Sequence[pd.DataFrame]] | None = None,
) -> pd.DataFrame:
    """Return what ``figure_tuning_fan`` draws as one table.

    Returns:
        ``model``, ``weights`` (``trained`` or ``random``), ``draw`` (from 0; null for trained
        weights), then the columns of ``response_by_octave``.

    Raises:
        GstoVizError: No frame.
    """
    check_frames(frames, COLUMNS, "response_by_octave(...)")
    parts = [frame.assign(model=key, weights="trained", draw=None) for key, frame in frames.items()]
    parts += [
        frame.assign(model=key, weights="random", draw=draw)
        for key, draws in (random or {}).items()
        for draw, frame in enumerate(draws)
    ]
    table = pd.concat([part.astype({"draw": "Int64"}) for part in parts], ignore_index=True)
    return begin_with(table, "model", "weights", "draw")


def plot_random(
    draws: Sequence[pd.DataFrame], *, ax: Axes, octaves: tuple[int, int], every: bool = True
) -> Axes:
    """Draw the responses of random weights: the mean of the draws dashed, each draw thin.

    Args:
        draws: What ``response_by_octave`` returns, one frame per draw; none: the axes stay empty.
        ax: Where; a network's own lines may be there already.
        octaves: First and last octave of the axis.
        every: Also each draw.
    """
    ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle=":", zorder=1)
    octave_axis(ax, *octaves, *SIZE_LABELS)
    share_axis(ax)
    if not draws:
        return ax
    table = pd.concat([frame.assign(draw=draw) for draw, frame in enumerate(draws)])
    for branch, rows in table.sort_values("octave").groupby("branch"):
        color = branch_mark(int(str(branch))).color
        mean = rows.groupby("octave")["mean"].mean()
        ax.plot(
            mean.index.to_numpy(dtype=np.float64) + 0.5,
            mean.to_numpy(),
            color=color,
            linestyle="--",
            linewidth=1.0,
            label="random mean",
            zorder=2.5,
        )
        for _, one in rows.groupby("draw") if every else ():
            x = one["octave"].to_numpy(dtype=np.float64) + 0.5
            ax.plot(x, one["mean"], color=color, linewidth=0.4, label="random draw", zorder=2)
    return ax


def check_frame(frame: pd.DataFrame) -> None:
    """Refuse a frame without the columns of ``response_by_octave`` or without rows."""
    check_columns(frame, COLUMNS, "response_by_octave(...)")
    if frame.empty:
        raise GstoVizError("no region qualifies, so there is no response to draw; add images")


def _legend(rows: pd.DataFrame, *, with_draws: bool) -> list[Line2D]:
    """Explain colours, markers, dashes, the line at 0.5 and grey points."""
    handles = []
    pairs = zip(rows["branch"], rows["stride"], strict=True)
    found = {(branch, stride_order(stride), stride_words(stride)) for branch, stride in pairs}
    for branch, _, label in sorted(found):
        mark = branch_mark(int(branch))
        handles.append(Line2D([], [], color=mark.color, marker=mark.marker, label=label))
    if with_draws:
        handles.append(guide("random weights, mean", linestyle="--", linewidth=1.2))
        handles.append(guide("one draw each", linewidth=0.4))
    handles.append(guide("0.5: average of the image", linestyle=":"))
    few = f"grey: fewer than {FEW_REGIONS} regions"
    handles.append(Line2D([], [], color=FEW, marker="o", linestyle="None", label=few))
    return handles


def _about_draws(
    frames: Mapping[str, pd.DataFrame], random: Mapping[str, Sequence[pd.DataFrame]]
) -> str:
    """Explain the dashes in the caption, and name the networks that have none."""
    parts = []
    if counts := {key: len(random.get(key, ())) for key in frames if len(random.get(key, ()))}:
        many = ", ".join(f"{counted(count, 'draw')} of {key}" for key, count in counts.items())
        parts.append(
            f"Dashed: the same networks with random weights ({many}), batch-norm statistics and "
            "gains measured again for each; edges excite untrained filters, so they are not flat."
        )
    if missing := [key for key in frames if key not in counts]:
        parts.append(f"No draws of random weights for {listed(missing)}.")
    return " ".join(parts)


def response_words(
    frames: Mapping[str, pd.DataFrame], random: Mapping[str, Sequence[pd.DataFrame]]
) -> str:
    """Describe responses by size in words, with each branch's best octave.

    Args:
        frames: By title, what ``response_by_octave`` gave.
        random: By title, the same of each draw of random weights; may be empty.
    """
    parts = []
    for title, frame in frames.items():
        known = frame.dropna(subset=["mean"])
        best = known.loc[known.groupby("branch")["mean"].idxmax()]
        peaks = ", ".join(
            f"{stride_words(stride)} is highest at octave {octave} ({mean:.2f})"
            for stride, octave, mean in zip(
                best["stride"], best["octave"], best["mean"], strict=True
            )
        )
        dashes = f"; dashed, {len(random[title])} random networks" if title in random else ""
        parts.append(f"{title}: {peaks}{dashes}.")
    return f"Mean percentile response against region size, one line per branch. {' '.join(parts)}"


DISTANCE_COLUMNS = (
    "branch",
    "size_octave",
    "distance_octave",
    "mean",
    "low",
    "high",
    "pixels",
    "n_images",
)
"""What a frame must have (``gsto_viz.stats.sizes.distance_profile``)."""
LARGE_OCTAVE = 6
"""Regions from 2^6 = 64 px of sqrt(area) have pixels far from any edge."""
MAX_PANELS = 4
"""Panels of one row; the smallest of more size octaves are left to the table."""
TOGETHER = 3
"""Networks whose lines share a panel; of more, two do."""
DISTANCE_CAPTION = (
    "Mean percentile of the finest and the coarsest branch over the pixels of regions of one size "
    "octave, by distance to the region's edge (octave o: from 2^o to 2^(o+1) px, network-input "
    "pixels). Ribbons: 95% bootstrap interval over images, where there are at least 10 with such "
    "pixels. Grey line: where the band ends and the core begins. Without scale confusion the "
    "finest branch falls towards the inside of large regions and the coarsest does not."
)


@context()
def figure_distance_profile(
    frames: Mapping[str, pd.DataFrame],
    *,
    strides: Mapping[str, Sequence[Stride]],
    names: Mapping[str, str] | None = None,
    from_octave: int = LARGE_OCTAVE,
    width: float = WIDTH,
) -> Figure:
    """Draw what the finest and the coarsest branch do from the edge of large regions inwards.

    One panel per size octave, the largest four; colours say the branch, line styles the network.
    Of more than three networks, two share a row of panels.

    Args:
        frames: By network (A, B), what ``gsto_viz.stats.distance_profile`` returns.
        strides: By network, pixels per cell of each branch.
        names: By network, the checkpoint's name for the legend.
        from_octave: Smallest size octave of a region that is called large.
        width: Inches.

    Raises:
        GstoVizError: No frame, one that is not what ``distance_profile`` returns, or no region
            that large.
    """
    check_frames(frames, DISTANCE_COLUMNS, "distance_profile(...)")
    for key in frames:
        if key not in strides:
            raise GstoVizError(f"'{key}' has no strides; give those of its branches")
    large = {key: _ends(frame, len(strides[key]), from_octave) for key, frame in frames.items()}
    sizes = sorted({int(o) for frame in large.values() for o in frame["size_octave"]})[-MAX_PANELS:]
    if not sizes:
        raise GstoVizError(
            f"no region reaches {2**from_octave} px, so there is no profile; lower from_octave"
        )
    depth = max(int(frame["distance_octave"].max()) for frame in large.values() if len(frame))
    positions = {key: position for position, key in enumerate(frames)}
    page = Page(width)
    for keys in chunks(list(large), len(large) if len(large) <= TOGETHER else 2):
        (charts,) = page.charts((1, len(sizes)), height=1.7, head=0.25)
        for ax, octave in zip(charts, sizes, strict=True):
            ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle=":", zorder=1)
            ax.axvline(np.log2(BAND_PX), color="0.8", linewidth=0.8, zorder=0)
            for key in keys:
                rows = large[key][large[key]["size_octave"] == octave]
                position, mark = positions[key], network_mark(positions[key])
                for branch in dict.fromkeys((0, len(strides[key]) - 1)):
                    draw_curve(
                        ax,
                        rows[rows["branch"] == branch],
                        "distance_octave",
                        branch_mark(branch).color,
                        hollow=position > 0,
                        line={"linestyle": line_of(mark)},
                        label=f"network {position} branch {branch}",
                        marker=mark.marker,
                        markersize=3,
                    )
            head_line(ax, f"regions of {2**octave} to {2 ** (octave + 1)} px")
            octave_axis(ax, 0, depth, "distance to the edge: octaves, px")
            share_axis(ax)
            ax.tick_params(labelleft=ax is charts[0])
        together = "" if len(keys) == len(large) else f": {listed(keys)}"
        charts[0].set_ylabel(f"mean percentile{together}")
    page.legend(_distance_legend(strides, names))
    return page.finish(DISTANCE_CAPTION, _alt_text(large, strides, sizes[-1]))


def _ends(frame: pd.DataFrame, branches: int, from_octave: int) -> pd.DataFrame:
    """Return the rows of the finest and the coarsest branch of large regions."""
    chosen = frame["branch"].isin([0, branches - 1]) & (frame["size_octave"] >= from_octave)
    rows = frame[chosen].dropna(subset=["mean"])
    return rows.sort_values(["branch", "distance_octave"])


def _distance_legend(
    strides: Mapping[str, Sequence[Stride]], names: Mapping[str, str] | None
) -> list[Line2D]:
    """Explain the colours of both branches, and the lines of networks."""
    ends = {(branch, own[branch]) for own in strides.values() for branch in (0, len(own) - 1)}
    handles = []
    for branch, stride in sorted(ends, key=lambda one: (one[0], stride_order(one[1]))):
        color = branch_mark(branch).color
        handles.append(Line2D([], [], color=color, linewidth=2, label=stride_words(stride)))
    lines = network_handles(strides, names, 2.6, color="black", markersize=3)
    for position, line in enumerate(lines):
        line.set_linestyle(line_of(network_mark(position)))
        line.set_markerfacecolor("black" if position == 0 else "white")
    return [*handles, *lines]


def _alt_text(
    frames: Mapping[str, pd.DataFrame], strides: Mapping[str, Sequence[Stride]], octave: int
) -> str:
    """Return in words how each branch goes from the edge to the inside of the largest regions."""
    parts = []
    for key, frame in frames.items():
        for branch in dict.fromkeys((0, len(strides[key]) - 1)):
            mean = frame[(frame["size_octave"] == octave) & (frame["branch"] == branch)]["mean"]
            if len(mean):
                said = f"from {mean.iloc[0]:.2f} at the edge to {mean.iloc[-1]:.2f} inside"
                parts.append(f"{key} {stride_words(strides[key][branch])} {said}")
    return (
        "Mean percentile of the finest and the coarsest branch against the distance to the edge. "
        f"Regions of {2**octave} px and more: {'; '.join(parts)}."
    )
