"""Gates by object size: mean opening by octave, and how much of it size explains.

Reads the columns ``g_core/TAP`` and ``g_band/TAP`` of region tables (``gate_values``), sums them
into cells of image x octave x class x part, and answers from the sums.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap
from gsto_viz.stats.inference import image_mean_interval
from gsto_viz.stats.tables import Tables, merge_tables

NO_VARIANCE = 1e-12
"""A sum of squares below this share of the sum of squared g' is rounding, not variance."""


def gate_cells(tables: Tables, tap: str) -> pd.DataFrame:
    """Sum a gate's g' by image, size octave, class, and band or core.

    Args:
        tables: Region tables with ``g_core/TAP`` and ``g_band/TAP``.
        tap: The gate.

    Returns:
        ``image``, ``octave`` (floor of l), ``class_id``, ``part`` (``core`` or ``band``), ``n``
        regions, ``sum`` and ``squares`` of g'. Rows of shards of images concatenate.
    """
    names = {"core": f"g_core/{tap}", "band": f"g_band/{tap}"}
    table = merge_tables(tables, ["size_octave", "class_id", "qualifies", *names.values()])
    table = table[table["qualifies"].astype(bool)]
    parts = []
    for part, name in names.items():
        rows = table.dropna(subset=[name])
        value = rows[name].astype(np.float64)
        octave = np.floor(rows["size_octave"]).astype(np.int64)
        frame = rows[["image", "class_id"]].assign(
            octave=octave, part=part, n=1, sum=value, squares=value**2
        )
        parts.append(frame)
    keys = ["image", "octave", "class_id", "part"]
    return pd.concat(parts).groupby(keys, as_index=False)[["n", "sum", "squares"]].sum()


def gate_by_octave(
    cells: pd.DataFrame,
    *,
    by_class: bool = False,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Average a gate's g' by size octave and part: over regions of an image, then over images.

    Args:
        cells: Of :func:`gate_cells`, any number of images.
        by_class: One row per class as well.
        clusters: Cluster of each image for the interval (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        ``part`` (``band`` or ``core``), ``class_id`` (only ``by_class``), ``octave``, ``mean``,
        ``low``, ``high`` (95 %, null below 10 independent images), ``n_regions``, ``n_images``,
        ``reason`` (why there is no interval, else null).
    """
    keys = ["part", *(["class_id"] if by_class else []), "octave"]
    sums = cells.groupby([*keys, "image"], as_index=False)[["sum", "n"]].sum()
    means = (sums["sum"] / sums["n"]).to_numpy(dtype=np.float64)
    names, regions = sums["image"].to_numpy(dtype=object), sums["n"].to_numpy()
    rows = []
    for key, group in sums.groupby(keys):
        at = group.index.to_numpy()
        mean = means[at]
        low, high, reason = image_mean_interval(names[at].tolist(), mean[:, None], clusters, seed)
        ends = [np.nan if end is None else float(end[0]) for end in (low, high)]
        rows.append([*key, mean.mean(), *ends, int(regions[at].sum()), len(mean), reason])
    columns = [*keys, "mean", "low", "high", "n_regions", "n_images", "reason"]
    return pd.DataFrame(rows, columns=columns)


def variance_explained(cells: pd.DataFrame) -> tuple[float, float]:
    """Return eta^2 of size, and partial eta^2 of size given class.

    eta^2 = variance of g' between size octaves / total variance, over regions of all images.
    Partial: of an additive model octave + class, SS(octave given class) / (SS(octave given class) +
    residual SS). Supervised gates follow the class, and classes have sizes: the second is what
    size explains beyond class.

    Args:
        cells: Of :func:`gate_cells`, one part, any number of images.

    Returns:
        Two numbers in [0, 1]; 0 for a constant gate, NaN without regions. The partial one is NaN
        where class leaves nothing to explain.
    """
    sums = cells.groupby(["octave", "class_id"], as_index=False)[["n", "sum", "squares"]].sum()
    n, total = sums["n"].to_numpy(dtype=np.float64), sums["sum"].to_numpy(dtype=np.float64)
    if n.sum() == 0:
        return np.nan, np.nan
    squares = float(sums["squares"].sum())
    overall, least = squares - total.sum() ** 2 / n.sum(), NO_VARIANCE * squares
    if overall <= least:
        return 0.0, 0.0
    octave = _indicators(sums["octave"].to_numpy())
    class_id = _indicators(sums["class_id"].to_numpy())
    alone = _residual(octave, n, total, squares)
    of_class = _residual(class_id, n, total, squares)
    of_both = _residual(np.hstack([octave, class_id]), n, total, squares)
    partial = 1.0 - of_both / of_class if of_class > least else np.nan
    return float(np.clip(1.0 - alone / overall, 0, 1)), float(np.clip(partial, 0, 1))


def _indicators(levels: npt.NDArray[np.integer]) -> FloatMap:
    return (levels[:, None] == np.unique(levels)).astype(np.float64)


def _residual(design: FloatMap, n: FloatMap, total: FloatMap, squares: float) -> float:
    """Return the residual sum of squares of regions fitted by cell indicators, from cell sums."""
    root = np.sqrt(n)
    fitted = design @ np.linalg.lstsq(design * root[:, None], total / root, rcond=None)[0]
    return float(squares - 2 * (fitted @ total) + (n * fitted) @ fitted)
