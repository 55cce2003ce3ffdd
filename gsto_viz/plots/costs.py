"""What networks cost, how well they segment, and how confused their scales are: one dot each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import WIDTH, ChartPage, round_axis
from gsto_viz.plots.colors import CHANCE_BAND, GUIDE, model_style
from gsto_viz.plots.layout import shorten
from gsto_viz.plots.save import set_alt_text
from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.verdict import FALSE_SIGNAL

CAPTION = (
    "Cost: multiply-adds of one 1024x2048 image, divided by 2^30, as the papers "
    "count them. mIoU and SCI on the analysed images; bars: 95% bootstrap interval over images. "
    "Each dot is one trained network: the distance between two dots is not evidence about a method."
)
MIOU_MARGIN = 5.0
"""Least room beside the values of mIoU, in percent: small differences shall look small."""
COST = "multiply-adds at 1024x2048 / 2^30 (GMAC)"
MIOU = "mIoU, %"
SCI = "SCI (0 aware, 0.5 chance)"


@dataclass(frozen=True)
class CostPoint:
    """One network.

    Attributes:
        key: Its letter (A, B) or short name, written at its dot.
        name: The checkpoint's name, for the legend.
        macs_gi: Multiply-adds / 2^30 at 1024x2048; None when not counted.
        miou: Percent on the analysed images; None without labels.
        sci: Its SCI with interval.
        miou_low: Lower end of an interval of mIoU; None without.
        miou_high: Upper end.
    """

    key: str
    name: str
    macs_gi: float | None
    miou: float | None
    sci: Estimate
    miou_low: float | None = None
    miou_high: float | None = None


def costs_data(points: Sequence[CostPoint]) -> pd.DataFrame:
    """Return the networks as a table.

    Returns:
        ``model``, ``name``, ``macs_gi``, ``miou``, ``miou_low``, ``miou_high``, ``sci``,
        ``sci_low``, ``sci_high`` (null where missing), ``n_images``, ``reason`` (of SCI).
    """
    rows = []
    for point in points:
        row = {key: value for key, value in asdict(point).items() if key not in ("key", "sci")}
        one = point.sci
        rows.append(
            {"model": point.key}
            | row
            | {"sci": one.value, "sci_low": one.low, "sci_high": one.high}
            | {"n_images": one.n_images, "reason": one.reason}
        )
    numbers = ["macs_gi", "miou", "miou_low", "miou_high", "sci", "sci_low", "sci_high"]
    columns = ["model", "name", *numbers, "n_images", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, "float64"))


def figure_costs(points: Sequence[CostPoint], *, width: float = WIDTH) -> Figure:
    """Draw mIoU against cost, SCI against cost, and SCI against mIoU.

    A network that lacks one of the two numbers of a panel is left out there and named below it.

    Args:
        points: One per network, up to six.
        width: Inches.

    Raises:
        GstoVizError: No network, or more than there are colours.
    """
    if not points:
        raise GstoVizError("there is nothing to draw; give at least one network")
    data = costs_data(points)
    with style.context():
        handles = _legend(points)
        page = ChartPage(
            (1, 3),
            width=width,
            height=1.8,
            caption=CAPTION,
            handles=handles,
            head=0.2,
            foot=0.45,
            gap=0.6,
        )
        for ax, (x, y) in zip(page.charts[0], PANELS, strict=True):
            _draw_panel(ax, data, x, y)
    set_alt_text(page.figure, _alt_text(data))
    return page.figure


PANELS = (("macs_gi", "miou"), ("macs_gi", "sci"), ("miou", "sci"))
_LABELS = {"macs_gi": COST, "miou": MIOU, "sci": SCI}


def _draw_panel(ax: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    known = data[x].notna() & data[y].notna()
    if y == "sci":
        ax.axhspan(FALSE_SIGNAL, 1 - FALSE_SIGNAL, color=CHANCE_BAND, linewidth=0, zorder=0)
        ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle="--", zorder=1)
    for position, row in enumerate(data.to_dict("records")):
        if not known.iloc[position]:
            continue
        color, marker = model_style(position)
        ax.errorbar(
            row[x],
            row[y],
            xerr=_arms(row, x),
            yerr=_arms(row, y),
            color=color,
            marker=marker,
            markersize=5,
            elinewidth=1.0,
            linestyle="None",
            zorder=3,
        )
        _write_key(ax, row, x, y, position)
    _limits(ax.xaxis, data[known], x)
    _limits(ax.yaxis, data[known], y)
    ax.set_xlabel(_LABELS[x])
    ax.set_ylabel(_LABELS[y])
    if not known.all():
        names = ", ".join(data["model"][~known])
        room = ax.bbox.width / ax.figure.dpi
        ax.set_title(shorten(f"not estimated: {names}", room, style.SMALL), fontsize=style.SMALL)


def _write_key(ax: Axes, row: dict, x: str, y: str, position: int) -> None:
    """Write a network's letter above its bar, every second one below it."""
    below = position % 2 == 1
    end = row.get(f"{y}_low" if below else f"{y}_high")
    ax.annotate(
        row["model"],
        (row[x], row[y] if end is None or np.isnan(end) else end),
        xytext=(0, -5 if below else 5),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        color=model_style(position)[0],
        annotation_clip=False,
    )


def _arms(row: dict, name: str) -> list[list[float]] | None:
    """Return the lengths of an error bar's two arms; None where there is no interval."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if low is None or high is None or np.isnan(low) or np.isnan(high):
        return None
    return [[max(row[name] - low, 0.0)], [max(high - row[name], 0.0)]]


def _limits(axis: Axis, data: pd.DataFrame, name: str) -> None:
    """Give an axis limits: cost from 0, SCI 0 to at least 0.6, mIoU around the values."""
    ends = [c for c in (name, f"{name}_low", f"{name}_high") if c in data]
    values = data[ends].to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    high = float(values.max(initial=0.0))
    if name == "sci":
        limits = (0.0, max(0.6, min(1.0, high * 1.1)))
    elif name == "macs_gi":
        limits = (0.0, high * 1.25 or 1.0)
    elif values.size:
        margin = max(MIOU_MARGIN, 0.4 * (high - float(values.min())))
        limits = (max(0.0, float(values.min()) - margin), min(100.0, high + margin))
    else:
        limits = (0.0, 100.0)
    round_axis(axis, *limits)


def _legend(points: Sequence[CostPoint]) -> list[Line2D]:
    handles = []
    for position, point in enumerate(points):
        color, marker = model_style(position)
        label = shorten(f"{point.key}  {point.name}", 3.0, style.RC["legend.fontsize"])
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="None", label=label))
    handles.append(Line2D([], [], color=GUIDE, linestyle="--", linewidth=0.7, label="chance"))
    return handles


def _alt_text(data: pd.DataFrame) -> str:
    """Give every number in words."""
    units = {"macs_gi": "GMAC {:.1f}", "miou": "mIoU {:.1f} %", "sci": "SCI {:.3f}"}
    parts = []
    for row in data.to_dict("records"):
        said = [
            text.format(row[name]) if not np.isnan(row[name]) else f"no {name}"
            for name, text in units.items()
        ]
        parts.append(f"{row['model']} ({row['name']}): {', '.join(said)}")
    return f"Cost, mIoU and SCI of networks, a dot each. {'; '.join(parts)}."
