"""Maps made ready for display: one explicit normalisation each, with the numbers of its colour bar.

A raw channel mean can take any size without the network changing, so raw maps of two networks or
two branches must not be compared by eye. The percentile map is the comparable form and the default;
the raw modes exist to reproduce the paper's pictures and are marked as raw. NumPy only.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import BoolMap, FloatMap, grid_shape, percentile_map, valid_cells
from gsto_viz.errors import GstoVizError
from gsto_viz.types import IGNORE, Inspection

MODES = ("percentile", "shared", "per_map", "zscore")
"""Normalisations of branch maps; ``normalise`` says what each does."""
RAW_MODES = ("shared", "per_map")
RAW_BADGE = "raw: the size of these numbers is arbitrary"
"""Shown wherever raw maps are drawn."""
ZSCORE_LIMIT = 3.0
"""The z-score bar runs from -3 to 3 for every map; values beyond take the end colours."""
LABELS = {
    "percentile": "percentile of activity in this image",
    "shared": "channel mean, A and B on one scale",
    "per_map": "channel mean, each map on its own scale",
    "zscore": "activity, standard deviations from this image's mean",
    "gate": "gate value",
}
"""What the numbers of each mode are, as written at colour bars."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One map as it will be drawn.

    Attributes:
        values: (h, w) float64, read-only; NaN in cells that do not count.
        low: Lower end of the colour bar, in the units of ``values``.
        high: Upper end, above ``low``.
        mode: One of ``MODES``, or ``gate``.
        label: What the numbers are, for the colour bar.
        raw: True when the size of the numbers is arbitrary; drawings then carry ``RAW_BADGE``.
        stride: Pixels per cell: cell k covers pixels [k stride, (k+1) stride) of the image.
        colors: Name of a Matplotlib colour map; None: the fixed one of the mode.

    Raises:
        GstoVizError: The map is not (h, w) with h, w > 0, the limits are not finite and in order,
            or the stride is below 1.
    """

    values: FloatMap
    low: float
    high: float
    mode: str
    label: str
    raw: bool
    stride: int
    colors: str | None = None

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2 or values.size == 0:
            raise GstoVizError(f"a heat map is (h, w) and not empty, got {values.shape}; give that")
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise GstoVizError(
                f"a colour bar cannot run from {self.low:g} to {self.high:g}; give low < high"
            )
        if self.stride < 1:
            raise GstoVizError(f"stride {self.stride} is not possible; give pixels per cell, >= 1")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @property
    def clipped(self) -> tuple[bool, bool]:
        """Whether values lie below ``low`` and above ``high``."""
        known = self.values[np.isfinite(self.values)]
        return bool((known < self.low).any()), bool((known > self.high).any())


def check_mode(mode: str, modes: Sequence[str] = MODES) -> None:
    """Refuse a normalisation that does not exist, naming the closest one."""
    if mode not in modes:
        close = difflib.get_close_matches(mode, modes, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise GstoVizError(f"unknown normalisation '{mode}'; {hint}choose {', '.join(modes)}")


def valid_by_stride(
    labels: npt.NDArray[np.integer], strides: Sequence[int], ignore: int | None = IGNORE
) -> dict[int, BoolMap]:
    """Return the cells that count on each grid: at least half of their pixels are annotated.

    Args:
        labels: (H, W) class indices.
        strides: Pixels per cell of each grid.
        ignore: The label of pixels without class; None when there is none.
    """
    return {stride: valid_cells(labels, stride, ignore) for stride in strides}


def normalise(
    inspections: Sequence[Inspection],
    mode: str = "percentile",
    valid: Mapping[int, BoolMap] | None = None,
) -> tuple[tuple[HeatMap, ...], ...]:
    """Make the branch maps of networks that saw one image ready for display.

    ``percentile``
        U in (0, 1) of the gain-fixed activity within its image; the bar always runs from 0 to 1.
    ``zscore``
        Gain-fixed activity minus its mean, divided by its population standard deviation over the
        image's cells; the bar always runs from -3 to 3.
    ``shared``
        Raw channel means; for each branch, one pair of limits for all networks.
    ``per_map``
        Raw channel means; each map has its own limits, as in GSTO's figures.

    Args:
        inspections: What each network shows for the image, A first.
        mode: One of ``MODES``.
        valid: By stride, (h, w) True for the cells that count (``valid_by_stride``); the others
            become NaN and take no part in ranks and limits. None: all cells count.

    Returns:
        For each inspection, one map per branch.

    Raises:
        GstoVizError: Unknown mode; a stride without valid cells; shapes that differ; a value that
            is not finite; ``shared`` with networks of different strides.
    """
    check_mode(mode)
    if mode == "shared" and len({inspection.strides for inspection in inspections}) > 1:
        raise GstoVizError(
            "networks with different branch strides have no shared scale; use percentile"
        )
    rows = [_masked_maps(inspection, mode in RAW_MODES, valid) for inspection in inspections]
    limits = partial(_shared_limits, rows) if mode == "shared" else _own_limits
    return tuple(
        tuple(
            _finish(values, mode, stride, limits, r)
            for r, (values, stride) in enumerate(zip(row, inspection.strides, strict=True))
        )
        for row, inspection in zip(rows, inspections, strict=True)
    )


def normalise_map(
    values: npt.NDArray[np.floating],
    *,
    stride: int,
    mode: str = "percentile",
    valid: BoolMap | None = None,
) -> HeatMap:
    """Make one map of any tap ready for display; for single maps ``shared`` does not exist.

    Args:
        values: (h, w), finite.
        stride: Pixels per cell.
        mode: ``percentile``, ``zscore`` or ``per_map``.
        valid: (h, w) True for the cells that count; None: all.
    """
    check_mode(mode, ("percentile", "per_map", "zscore"))
    masked = _mask(values, valid, f"map of stride {stride}")
    return _finish(masked, mode, stride, _own_limits, 0)


def gate_map(
    values: npt.NDArray[np.floating], *, stride: int, limits: tuple[float, float]
) -> HeatMap:
    """Make a gate map ready for display; the bar runs over what the gate's form allows.

    Args:
        values: (h, w) gate values, finite.
        stride: Pixels per cell.
        limits: Infimum and supremum of the form: (0, 1) paper, (0.5, 1) released.
    """
    masked = _mask(values, None, "gate map")
    return HeatMap(masked, *limits, mode="gate", label=LABELS["gate"], raw=False, stride=stride)


def saturated_share(
    values: npt.NDArray[np.floating], limits: tuple[float, float], tolerance: float = 1e-6
) -> float:
    """Return the share of cells, 0..1, whose gate is as closed as its form allows.

    Args:
        values: (h, w) gate values.
        limits: Infimum and supremum of the form.
        tolerance: A gate within this distance of the infimum counts as closed.
    """
    return float(np.mean(np.asarray(values, dtype=np.float64) <= limits[0] + tolerance))


def check_grid(values: npt.NDArray, stride: int, size: tuple[int, int], what: str) -> None:
    """Refuse a map that does not lie on the grid of ``stride`` for an image of (H, W) pixels."""
    expected = grid_shape(*size, stride)
    if values.shape != expected:
        raise GstoVizError(
            f"{what} is {values.shape}, but stride {stride} on a {size[0]}x{size[1]} image makes "
            f"{expected}; give maps and image of one forward pass"
        )


Limits = Callable[[FloatMap, int], tuple[float, float]]


def _finish(values: FloatMap, mode: str, stride: int, limits: Limits, branch: int) -> HeatMap:
    """Turn a masked map of branch ``branch`` into what is drawn."""
    if mode == "percentile":
        values, (low, high) = percentile_map(values, ~np.isnan(values)), (0.0, 1.0)
    elif mode == "zscore":
        values, (low, high) = _standardised(values), (-ZSCORE_LIMIT, ZSCORE_LIMIT)
    else:
        low, high = limits(values, branch)
    raw = mode in RAW_MODES
    return HeatMap(values, low, high, mode=mode, label=LABELS[mode], raw=raw, stride=stride)


def _masked_maps(
    inspection: Inspection, raw: bool, valid: Mapping[int, BoolMap] | None
) -> list[FloatMap]:
    """Return the network's maps in float64 with NaN where a cell does not count."""
    maps = inspection.raw if raw else inspection.activity
    if len(maps) != len(inspection.strides):
        raise GstoVizError(
            f"'{inspection.name}' has {len(maps)} maps for {len(inspection.strides)} strides; "
            "give one map per branch"
        )
    masked = []
    for r, (values, stride) in enumerate(zip(maps, inspection.strides, strict=True)):
        if valid is not None and stride not in valid:
            raise GstoVizError(f"no valid cells for stride {stride}; make them with its stride")
        mask = None if valid is None else valid[stride]
        masked.append(_mask(values, mask, f"branch {r} of '{inspection.name}'"))
    return masked


def _mask(values: npt.NDArray[np.floating], valid: BoolMap | None, what: str) -> FloatMap:
    """Copy ``values`` to float64 and put NaN where not ``valid``."""
    copy = np.array(values, dtype=np.float64)
    if copy.ndim != 2 or (valid is not None and valid.shape != copy.shape):
        cells = "" if valid is None else f" and its valid cells are {valid.shape}"
        raise GstoVizError(f"{what} is {copy.shape}{cells}; give (h, w) arrays of one shape")
    mask = np.ones(copy.shape, bool) if valid is None else valid
    if not np.isfinite(copy[mask]).all():
        raise GstoVizError(f"{what} holds NaN or infinity; look at the image and the weights")
    copy[~mask] = np.nan
    return copy


def _own_limits(values: FloatMap, branch: int) -> tuple[float, float]:
    return _widened(values[np.isfinite(values)])


def _shared_limits(
    rows: Sequence[Sequence[FloatMap]], values: FloatMap, branch: int
) -> tuple[float, float]:
    together = np.concatenate([row[branch].ravel() for row in rows])
    return _widened(together[np.isfinite(together)])


def _widened(values: FloatMap) -> tuple[float, float]:
    """Return minimum and maximum; a constant map gets limits around it and is drawn mid-scale."""
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low < high:
        return low, high
    margin = 0.5 * abs(low) if low else 0.5
    return low - margin, low + margin


def _standardised(values: FloatMap) -> FloatMap:
    """Return z-scores over the cells that count; 0 for a constant map."""
    known = values[np.isfinite(values)]
    # The spread of equal numbers can come out as 1e-17; ask for equality, not for a small spread.
    if known.size == 0 or known.min() == known.max():
        return np.where(np.isnan(values), np.nan, 0.0)
    standardised: FloatMap = (values - known.mean()) / known.std()
    return standardised
