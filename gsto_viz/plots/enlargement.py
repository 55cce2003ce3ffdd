"""What bilinear enlargement leaves of variance: the law, white noise, branches of networks."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.colors import network_mark
from gsto_viz.plots.page import (
    GUIDE,
    WIDTH,
    Page,
    check_frames,
    context,
    draw_estimates,
    guide,
    join_frames,
    network_handles,
    numbers,
    share_axis,
)
from gsto_viz.stats.inference import cause
from gsto_viz.stats.upsampling import kept_variance
from gsto_viz.words import listed

FACTORS = (2, 4, 8)
"""Those of the branches of HRNet."""
LAW, NOISE, BRANCH = "law", "white noise", "branch"
COLUMNS = ("branch", "stride", "factor", "height", "width", "kept", "low", "high", "predicted")
"""What a frame must have (``gsto_viz.stats.enlargement``, and the stride)."""
SPREAD, MOST = 0.09, 0.6
"""Octaves between neighbouring networks at one factor, and between the first and the last one at
most."""
CLOSEST = 0.25
"""Octaves between two factors that have a tick."""
NOISE_COLOR = "#777777"


def enlarged_size(finest: tuple[int, int], factor: int) -> tuple[int, int]:
    """Return the size of the map that fills a finest grid (H, W) when it is enlarged."""
    height, width = (max(1, round(side / factor)) for side in finest)
    return height, width


def enlargement_data(
    frames: Mapping[str, pd.DataFrame],
    finest: tuple[int, int],
    noise: Mapping[int, npt.NDArray[np.float64]],
) -> pd.DataFrame:
    """Return what ``figure_enlargement`` draws as one table.

    Args:
        frames: By network, what ``gsto_viz.stats.enlargement`` returns, and ``stride``.
        finest: Height and width of the finest grid, cells: law and noise fill it.
        noise: By factor, the share that draws of white noise keep.

    Returns:
        ``series`` (``law``, ``white noise`` or ``branch``), ``model``, ``factor``, ``height`` and
        ``width`` of the map before, ``kept`` (share of variance), ``low`` and ``high`` (range of
        the draws; 95 % interval over images), ``without_border`` (law of an endless map), and the
        other columns of the frames. Branches that are not enlarged are left out.
    """
    check_frames(frames, COLUMNS, "enlargement(...) with strides")
    rows = []
    for factor in FACTORS:
        height, width = size = enlarged_size(finest, factor)
        place = {"factor": factor, "height": height, "width": width}
        law = {"kept": kept_variance(factor, size), "without_border": kept_variance(factor)}
        rows.append({"series": LAW, **place, **law})
        if factor in noise:
            drawn = noise[factor]
            ends = {"kept": drawn.mean(), "low": drawn.min(), "high": drawn.max()}
            rows.append({"series": NOISE, **place, **ends, "draws": drawn.size})
    branches = join_frames({key: one[one["factor"] > 1] for key, one in frames.items()})
    table = pd.concat([pd.DataFrame(rows), branches.assign(series=BRANCH)], ignore_index=True)
    first = ["series", "model", "branch", "stride"]
    return table[[*first, *(name for name in table if name not in first)]].astype(
        {"branch": "Int64", "draws": "Int64", "n_images": "Int64"}
    )


@context()
def figure_enlargement(
    data: pd.DataFrame, *, names: Mapping[str, str] | None = None, width: float = WIDTH
) -> Figure:
    """Draw the share of variance that maps keep when they are enlarged, by factor.

    Args:
        data: What ``enlargement_data`` returns.
        names: By network, the checkpoint's name for the legend.
        width: Inches.
    """
    own = data[data["series"] == BRANCH]
    models = list(dict.fromkeys(own["model"]))
    page = Page(width)
    ((ax,),) = page.charts((1, 1), height=2.6, head=0.15, foot=0.45)
    _draw_reference(ax, data)
    for position, key in enumerate(models):
        _draw_branches(ax, own[own["model"] == key], position, len(models))
    factors = _ticks(own["factor"].astype(float).tolist())
    ax.set_xticks(np.log2(factors), [f"{one:g}x" for one in factors])
    ax.set_xlim(min(0.5, np.log2(factors[0]) - 0.5), np.log2(factors[-1]) + 0.5)
    ax.set_xlabel("bilinear enlargement of the branch to the finest grid, along each axis")
    share_axis(ax, "share of variance kept")
    page.legend([*network_handles(models, names, linestyle="None"), *_legend()])
    return page.finish(_caption(data), _alt_text(data))


def _ticks(measured: Sequence[float]) -> list[float]:
    """Return the factors of the law, and those of branches that are not too close to another."""
    kept = [float(one) for one in FACTORS]
    for factor in measured:
        if min(abs(np.log2(factor / one)) for one in kept) >= CLOSEST:
            kept.append(round(factor, 1))
    return sorted(kept)


def _draw_reference(ax: Axes, data: pd.DataFrame) -> None:
    """Draw the law, and white noise beside it."""
    law, noise = (data[data["series"] == name].sort_values("factor") for name in (LAW, NOISE))
    x = np.log2(law["factor"].to_numpy(dtype=np.float64))
    kept, endless = numbers(law, "kept", "without_border")
    ax.plot(x, kept, color="black", linewidth=1.0, label=LAW, zorder=2)
    ax.plot(x, endless, color=GUIDE, linewidth=0.8, linestyle=":", label="endless", zorder=2)
    if len(noise):
        x = np.log2(noise["factor"].to_numpy(dtype=np.float64))
        values = numbers(noise, "kept", "low", "high")
        draw_estimates(ax, x, values, NOISE_COLOR, bar=3.0, marker="x", label=NOISE)


def _draw_branches(ax: Axes, rows: pd.DataFrame, position: int, count: int) -> None:
    """Draw the branches of one network: measured, and as the law predicts them."""
    mark = network_mark(position)
    apart = min(SPREAD, MOST / count)
    # Beside the law, which stands on the factor itself.
    shift = apart * (position - (count - 1) / 2) or 0.0
    x = np.log2(rows["factor"].to_numpy(dtype=np.float64)) + shift
    values = numbers(rows, "kept", "low", "high")
    draw_estimates(ax, x, values, mark.color, bar=1.4, marker=mark.marker, clip_on=False)
    half = 0.035
    ax.hlines(
        numbers(rows, "predicted")[0], x - half, x + half, color="black", linewidth=1.2, zorder=5
    )


def _legend() -> list[Line2D]:
    return [
        guide("predicted by the law", color="black", marker="_", linestyle="None"),
        Line2D([], [], color="black", linewidth=1.0, label="law for white noise, with borders"),
        guide("the same without borders", linestyle=":", linewidth=0.8),
        guide("white noise, range of draws", color=NOISE_COLOR, marker="x", linestyle="None"),
    ]


def _caption(data: pd.DataFrame) -> str:
    """Return the caption: what is compared, on which maps, and what is missing."""
    law, noise = (data[data["series"] == name] for name in (LAW, NOISE))
    sizes = listed([f"{h}x{w}" for h, w in zip(law["height"], law["width"], strict=True)])
    parts = [
        "Variance of all values of a branch, over channels, positions and images, after bilinear "
        "enlargement to the finest grid, over their variance before it (95% bootstrap intervals; "
        "hollow: no interval); networks side by side. Black ticks: what the law predicts from the "
        "products of neighbouring features, as if borders were like the rest of a map. Line: the "
        f"law for white noise on maps of {sizes} cells."
    ]
    if len(noise):
        parts.append(
            f"Crosses: white noise of that size through torch, {int(noise['draws'].iloc[0])} draws."
        )
    own = data[data["series"] == BRANCH]
    if own.empty:
        parts.append("No branch is enlarged.")
    missing = own[own["kept"].isna()]
    for reason, rows in missing.groupby("reason", sort=False):
        where = listed([f"{m} /{s}" for m, s in zip(rows["model"], rows["stride"], strict=True)])
        parts.append(f"{where}: {cause(str(reason))}.")
    return " ".join(parts)


def _alt_text(data: pd.DataFrame) -> str:
    """Give every number of the figure in words."""
    said: list[str] = []
    for row in data.to_dict("records"):
        who = row["series"] if row["series"] != BRANCH else f"{row['model']} /{row['stride']}"
        kept = "not estimated" if pd.isna(row["kept"]) else f"{row['kept']:.3f}"
        more = f" (predicted {row['predicted']:.3f})" if row["series"] == BRANCH else ""
        said.append(f"{who} {row['factor']:.3g}x {kept}{more}")
    return f"Share of variance kept under bilinear enlargement: {'; '.join(said)}."
