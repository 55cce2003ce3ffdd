"""Scale transfer: what happens to the coarseness of one object when the image is resized.

An intervention instead of a comparison between objects: the same object, m octaves larger, should
be answered by coarser branches. Class, texture and context stay the same. Only coarseness at
matched resolution (column ``q``) is read: the unmatched contrast rises by pooling alone.

Region tables at resize factor 2**m are made with the region numbers of the unresized image, resized
by nearest neighbour, in place of the instance map, so that no region is cut anew:
``region_table(labels_m, maps_m, instances=ids_m)``. Region k of the unresized image is then the row
with ``instance_id`` k.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import Estimate, image_mean_estimate
from gsto_viz.stats.sci import TIE
from gsto_viz.stats.tables import Tables, merge_tables

ROW_COLUMNS = ["image", "region", "m", "change"]
COUNT_COLUMNS = ["image", "m", "rises", "ties", "objects", "change"]
BORDER_COLUMN = "border_distance_px"


def border_distance(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Count the pixels between each region and the nearest image border.

    Args:
        ids: (H, W) region numbers, 1..K; 0 = none.

    Returns:
        (K,): 0 for a region that touches the border; -1 for a number that does not occur.
    """
    height, width = ids.shape
    rows, columns = np.arange(height), np.arange(width)
    vertical = np.minimum(rows, height - 1 - rows)[:, None]
    distance = np.minimum(vertical, np.minimum(columns, width - 1 - columns))
    nearest = np.full(int(ids.max(initial=0)) + 1, height + width)
    np.minimum.at(nearest, ids.ravel(), distance.ravel())
    return np.where(nearest == height + width, -1, nearest)[1:].astype(np.int64)


def transfer_rows(base: Tables, resized: Mapping[float, Tables], border_px: float) -> pd.DataFrame:
    """Match the regions of an image with themselves after resizing.

    Args:
        base: Region tables of the unresized images, with ``border_distance_px`` beside the columns
            of ``region_table`` (see :func:`border_distance`).
        resized: Tables at factor 2**m, by m != 0 in octaves, with the same column at their own size
            and region numbers of ``base`` as ``instance_id``. For the control of blur: tables of
            images resized by 2**-abs(m) and back.
        border_px: Keep objects farther than this from the border, at both sizes: the coarsest
            stride.

    Returns:
        One row per object and m: ``image``, ``region``, ``m``, ``change`` = q at m minus q at 0.
        Objects must qualify at both sizes.

    Raises:
        GstoVizError: A column is missing, m is 0, or a region of a resized table is unknown.
    """
    columns = ["qualifies", BORDER_COLUMN, "q"]
    before = merge_tables(base, columns)
    known = pd.MultiIndex.from_frame(before[["image", "region"]])
    before = _kept(before, border_px)
    parts = []
    for m, tables in sorted(resized.items()):
        if m == 0:
            raise GstoVizError("m = 0 is the unresized image; give only tables that were resized")
        after = merge_tables(tables, [*columns, "instance_id"])
        named = after[["image", "instance_id"]].rename(columns={"instance_id": "region"})
        unknown = ~pd.MultiIndex.from_frame(named).isin(known)
        if unknown.any():
            image, region = named[unknown].iloc[0]
            raise GstoVizError(
                f"region {region} of image '{image}' at m = {m} is not in the table at m = 0; "
                "resize the region numbers and give them as the instance map"
            )
        after = _kept(after.assign(region=named["region"]), border_px)
        both = before.merge(after, on=["image", "region"], suffixes=("", "_m"))
        change = both["q_m"] - both["q"]
        parts.append(both[["image", "region"]].assign(m=float(m), change=change))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=ROW_COLUMNS)


def _kept(table: pd.DataFrame, border_px: float) -> pd.DataFrame:
    """Return regions that qualify, have a coarseness and lie far enough inside."""
    inside = table["qualifies"].astype(bool) & (table[BORDER_COLUMN] > border_px)
    return table.loc[inside, ["image", "region", "q"]].dropna(subset=["q"])


def transfer_counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Count, per image and m, how often the coarseness of an object rises with resizing.

    Args:
        rows: Of :func:`transfer_rows`.

    Returns:
        ``image``, ``m``, ``rises`` (q is larger at m), ``ties``, ``objects`` (whole numbers), and
        ``change``, the sum of changes. Rows of shards of images concatenate.
    """
    change = rows["change"].astype(np.float64)
    counted = rows[["image", "m"]].assign(
        rises=(change > TIE).astype(np.int64),
        ties=(change.abs() <= TIE).astype(np.int64),
        objects=1,
        change=change,
    )
    return counted.groupby(["image", "m"], as_index=False)[COUNT_COLUMNS[2:]].sum()


def transfer_values(counts: pd.DataFrame, m: float) -> pd.DataFrame:
    """Give STP(m) of each image that has objects: ``image``, ``value``, ``pairs`` (objects).

    Args:
        counts: Of :func:`transfer_counts`.
        m: Octaves of resizing.
    """
    chosen = counts[counts["m"] == m].reset_index(drop=True)
    values = (chosen["rises"] + 0.5 * chosen["ties"]) / chosen["objects"]
    return pd.DataFrame(
        {
            "image": chosen["image"],
            "value": values.astype(np.float64),
            "pairs": chosen["objects"].astype(np.int64),
        }
    )


def scale_transfer(
    counts: pd.DataFrame,
    m: float,
    *,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate STP(m) = P(q(x; 2^m) > q(x; 1)) + 1/2 P(tie), mean over images.

    Args:
        counts: Of :func:`transfer_counts`.
        m: Octaves of resizing.
        clusters: Cluster of each image for the interval.
        seed: Of the bootstrap.

    Returns:
        Value in [0, 1]. For m > 0: 1 aware, 0.5 blind, 0 reversed; for m < 0 the other way round.
        ``n_pairs`` is the number of objects.
    """
    values = transfer_values(counts, m)
    return image_mean_estimate(
        values["image"].tolist(),
        values["value"].to_numpy(),
        int(values["pairs"].sum()),
        clusters,
        seed,
    )


def transfer_slope(
    rows: pd.DataFrame, *, clusters: Mapping[str, str] | None = None, seed: int = 0
) -> Estimate:
    r"""Estimate kappa, the mean change of coarseness per octave of resizing.

    .. math:: \kappa(x) = \sum_m m\,[q(x; 2^m) - q(x; 1)] / \sum_m m^2

    (least squares through the unresized object), averaged over the objects of an image and then
    over images. There is no ideal value: percentiles are bounded.

    Args:
        rows: Of :func:`transfer_rows`.
        clusters: Cluster of each image for the interval.
        seed: Of the bootstrap.

    Returns:
        Percentile per octave: above 0 aware, 0 blind, below 0 reversed. ``n_pairs`` is the number
        of objects.
    """
    sums = rows.assign(top=rows["m"] * rows["change"], bottom=rows["m"] ** 2)
    objects = sums.groupby(["image", "region"], as_index=False)[["top", "bottom"]].sum()
    slope = (objects["top"] / objects["bottom"]).astype(np.float64)
    by_image = slope.groupby(objects["image"]).mean()
    return image_mean_estimate(
        by_image.index.tolist(), by_image.to_numpy(), len(objects), clusters, seed
    )


def transfer_beyond_blur(
    counts: pd.DataFrame,
    blurred: pd.DataFrame,
    m: float,
    *,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate STP(m) minus STP of the blur-only control, mean over images that have both.

    Args:
        counts: Of :func:`transfer_counts`, resized images.
        blurred: The same of images resized by 2**-abs(m) and back, under the same m.
        m: Octaves of resizing.
        clusters: Cluster of each image for the interval.
        seed: Of the bootstrap.

    Returns:
        Value in [-1, 1]; 0 when resizing does no more than blur.
    """
    both = counts[counts["m"] == m].merge(
        blurred[blurred["m"] == m], on=["image", "m"], suffixes=("", "_blur")
    )
    shares = [
        (both[f"rises{end}"] + 0.5 * both[f"ties{end}"]) / both[f"objects{end}"]
        for end in ("", "_blur")
    ]
    difference = (shares[0] - shares[1]).to_numpy(dtype=np.float64)
    pairs = int(both["objects"].sum())
    return image_mean_estimate(both["image"].tolist(), difference, pairs, clusters, seed)
