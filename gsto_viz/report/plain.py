"""Results as plain JSON values, and back: estimates, tables, arrays."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.stats.hypothesis import P_FLOOR
from gsto_viz.stats.inference import Estimate


def plain(value: Any) -> Any:
    """Turn results into what strict JSON can hold.

    Dataclasses become objects, tables lists of rows, arrays lists; NaN and infinity become null.
    """
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.astype(object).to_dict("records")]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is pd.NA or value is pd.NaT:
        return None
    return value


def as_estimate(values: Mapping[str, Any]) -> Estimate:
    """Read an estimate that :func:`plain` wrote; further keys are passed over."""
    return Estimate(**{field.name: values[field.name] for field in fields(Estimate)})


def shown(estimate: Estimate, digits: int = 3) -> str:
    """Write an estimate for people: ``0.412 [0.380, 0.447]``, or why there is none."""
    if estimate.value is None:
        return estimate.reason or "not estimated"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} (no interval: {estimate.reason})"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def shown_p(p: float | None, tested: float | None = None) -> str:
    """Write a p value for people: ``0.0123``; ``<= 0.0001`` at the floor of the test.

    Args:
        p: Of a sign-flip test, adjusted or not; None or NaN, written ``-``: not estimated.
        tested: p before it was adjusted, where it was: what rests on a floor is a bound, too.
    """
    if p is None or math.isnan(p):
        return "-"
    bound = (p if tested is None else tested) <= P_FLOOR
    return f"<= {p:.4f}" if bound else f"{p:.4f}"
