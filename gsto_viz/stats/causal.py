r"""SCI_C, scale transfer, effective receptive fields, and what interventions cost.

Region tables get the columns ``psi_{r}`` (exact Shapley values of the region's margin, in logits)
and ``phi_{r}`` (shares) from ``gsto_viz.attribution``. Each is divided by its spread over the data
set, because branches differ in how much they contribute at all, and

.. math:: q(x) = \sum_r \lambda_r \psi_r(x) / \mathrm{sd}_r, \qquad
          \lambda_r = \log_2 s_r - \mathrm{mean}_k \log_2 s_k

takes the place of coarseness in SCI. No gain or invertible mix of channels that the network undoes
changes it.

An intervention instead of a comparison between objects: the same object, m octaves larger, should
be answered by coarser branches. Class, texture and context stay the same. Only coarseness at
matched resolution (column ``q``) is read: the unmatched contrast rises by pooling alone.

Region tables at resize factor 2**m are made with the region numbers of the unresized image, resized
by nearest neighbour, in place of the instance map, so that no region is cut anew:
``region_table(labels_m, maps_m, instances=ids_m)``. Region k of the unresized image is then the row
with ``instance_id`` k.

.. math:: \mathrm{ERF} = 2 \sqrt{ \sum_p g(p) |p - c|^2 / (2 \sum_p g(p)) }

with g the squared gradient of the cell with respect to the image, summed over channels, and c the
cell's centre: twice the standard deviation per axis, in pixels. Its slope against stride says
whether branches see different scales at all: 1 like a pyramid, 0 all the same.

A drop is the unchanged network's value minus the changed one's: positive when the change hurts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import (
    EACH,
    Estimate,
    Images,
    estimate,
    image_mean_estimate,
    mean_by_group,
)
from gsto_viz.stats.outcome import outcome_scores
from gsto_viz.stats.pairs import (
    KEY,
    OCTAVE_GAP,
    Tables,
    branch_count,
    directions,
    merge_tables,
    qualifying,
    sci_values,
    win_share,
)
from gsto_viz.stats.sizes import has_octaves, stride_octaves, tracking_slope
from gsto_viz.types import FloatArray, Stride

COLUMN = "q_c"
"""The column that :func:`causal_coarseness` adds."""
_READ = ["area_px", "max_distance_px", "class_id", "size_octave", "qualifies"]


def causal_coarseness(
    tables: Tables, strides: Sequence[Stride] = (4, 8, 16, 32), *, response: str = "psi"
) -> pd.DataFrame:
    """Add the causal coarseness of every region.

    Args:
        tables: Region tables with ``{response}_{r}``, of the whole data set: the spread of each
            branch is taken over its regions that qualify.
        strides: Pixels per cell of each branch.
        response: ``psi`` (Shapley values) or ``phi`` (shares).

    Returns:
        One row per region: ``image``, ``region``, sizes, ``class_id``, ``qualifies``, the
        contributions and ``q_c`` (standard deviations times octaves; null where a contribution is).
        A branch that contributes the same everywhere has no say.

    Raises:
        GstoVizError: A column is missing or the number of strides is not that of the branches.
    """
    branches = branch_count(tables, response)
    if len(strides) != branches:
        raise GstoVizError(f"{len(strides)} strides for {branches} branches; give one per branch")
    names = [f"{response}_{r}" for r in range(branches)]
    table = merge_tables(tables, [*_READ, *names])
    values = table[names].to_numpy(dtype=np.float64)
    counted = values[table["qualifies"].to_numpy(dtype=bool)]
    weights = stride_octaves(strides) * _inverse_spread(counted)
    return table.assign(**{COLUMN: values @ weights})


def _inverse_spread(values: FloatArray) -> FloatArray:
    """Return 1 / standard deviation of each column's known values; 0 if constant."""
    result = np.zeros(values.shape[1])
    for r, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        if known.size and known.min() < known.max():
            result[r] = 1.0 / known.std()
    return result


def sci_c_values(
    tables: Tables,
    strides: Sequence[Stride] = (4, 8, 16, 32),
    *,
    response: str = "psi",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
) -> pd.DataFrame:
    """Compute SCI_C of each image that has a pair: ``image``, ``value``, ``pairs``.

    ``tables`` and ``response`` as for :func:`causal_coarseness`, pairs as for ``sci``.
    """
    table = causal_coarseness(tables, strides, response=response)
    return sci_values(table, response=COLUMN, gap=gap, same_class=same_class)


def sci_c(
    tables: Tables,
    strides: Sequence[Stride] = (4, 8, 16, 32),
    *,
    response: str = "psi",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    images: Images = EACH,
) -> Estimate:
    """Estimate SCI_C: how often two regions of one image are ordered the wrong way round.

    Arguments as for :func:`sci_c_values`; ``images`` as for ``sci``. The interval
    holds the spreads of the branches fixed at those of the data set.

    Returns:
        Value in [0, 1]: 0 large regions rest on coarse branches, 0.5 chance, 1 reversed. As for
        ``sci`` when it is not estimated.
    """
    values = sci_c_values(tables, strides, response=response, gap=gap, same_class=same_class)
    return estimate(values, images)


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
    """Count, per image and m, how often the coarseness of an object of :func:`transfer_rows` rises.

    Returns:
        ``image``, ``m``, ``rises`` (q is larger at m), ``ties``, ``objects`` (whole numbers), and
        ``change``, the sum of changes. Rows of shards of images concatenate.
    """
    change = rows["change"].astype(np.float64)
    signs = directions(change.to_numpy(dtype=np.float64))
    counted = rows[["image", "m"]].assign(
        rises=(signs > 0).astype(np.int64),
        ties=(signs == 0).astype(np.int64),
        objects=1,
        change=change,
    )
    return counted.groupby(["image", "m"], as_index=False)[COUNT_COLUMNS[2:]].sum()


def transfer_values(counts: pd.DataFrame, m: float) -> pd.DataFrame:
    """Compute STP(m) of each image that has objects, from :func:`transfer_counts`.

    Columns ``image``, ``value``, ``pairs`` (objects).
    """
    chosen = counts[counts["m"] == m].reset_index(drop=True)
    values = win_share(chosen["rises"], chosen["ties"], chosen["objects"])
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
    images: Images = EACH,
) -> Estimate:
    """Estimate STP(m) = P(q(x; 2^m) > q(x; 1)) + 1/2 P(tie) from :func:`transfer_counts`.

    The mean over images.

    Returns:
        Value in [0, 1]. For m > 0: 1 aware, 0.5 blind, 0 reversed; for m < 0 the other way round.
        ``n_pairs`` is the number of objects.
    """
    return estimate(transfer_values(counts, m), images)


def transfer_slope(rows: pd.DataFrame, *, images: Images = EACH) -> Estimate:
    r"""Estimate kappa, the mean change of coarseness per octave of resizing.

    .. math:: \kappa(x) = \sum_m m\,[q(x; 2^m) - q(x; 1)] / \sum_m m^2

    (least squares through the unresized object), averaged over the objects of an image and then
    over images. There is no ideal value: percentiles are bounded.

    Returns:
        Percentile per octave: above 0 aware, 0 blind, below 0 reversed. ``n_pairs`` is the number
        of objects.
    """
    sums = rows.assign(top=rows["m"] * rows["change"], bottom=rows["m"] ** 2)
    objects = sums.groupby(["image", "region"], as_index=False)[["top", "bottom"]].sum()
    slope = (objects["top"] / objects["bottom"]).astype(np.float64)
    by_image = slope.groupby(objects["image"]).mean()
    return image_mean_estimate(by_image.index.tolist(), by_image.to_numpy(), len(objects), images)


def transfer_beyond_blur(
    counts: pd.DataFrame,
    blurred: pd.DataFrame,
    m: float,
    *,
    images: Images = EACH,
) -> Estimate:
    """Estimate STP(m) minus STP of the blur-only control, mean over images that have both.

    ``blurred`` counts images resized by 2**-abs(m) and back, under the same m.

    Returns:
        Value in [-1, 1]; 0 when resizing does no more than blur.
    """
    own, blur = transfer_values(counts, m), transfer_values(blurred, m)
    both = own.merge(blur, on="image", suffixes=("", "_blur"))
    return estimate(both.assign(value=both["value"] - both["value_blur"]), images)


class Sized(Protocol):
    """A measured receptive field."""

    @property
    def erf_px(self) -> float:
        """ERF, pixels."""

    @property
    def stride(self) -> Stride:
        """The grid of its branch."""


def effective_size(gradient: npt.NDArray[np.floating], centre: tuple[float, float]) -> float:
    """Return ERF in pixels.

    Args:
        gradient: (H, W), not negative.
        centre: Row and column of c, pixels.

    Raises:
        GstoVizError: The map is negative somewhere or 0 everywhere.
    """
    gradient = np.asarray(gradient, dtype=np.float64)
    total = gradient.sum()
    if gradient.ndim != 2 or gradient.min() < 0 or not total > 0:
        raise GstoVizError(
            f"a gradient map {gradient.shape} must be (H, W), not negative and not 0 everywhere; "
            "the cell does not depend on the image"
        )
    rows, columns = (np.arange(n) - c for n, c in zip(gradient.shape, centre, strict=True))
    squares = (gradient.sum(axis=1) @ rows**2) + (gradient.sum(axis=0) @ columns**2)
    return float(2.0 * np.sqrt(squares / (2.0 * total)))


def erf_slope(
    sizes: npt.NDArray[np.floating], strides: Sequence[Stride]
) -> npt.NDArray[np.float64]:
    """Return the least-squares slope of log2 ERF on log2 stride, (..., R) -> (...)."""
    sizes = np.asarray(sizes, dtype=np.float64)
    if sizes.shape[-1] != len(strides) or len(set(strides)) < 2:
        raise GstoVizError(
            f"{sizes.shape[-1]} sizes and strides {tuple(strides)}; give one size per stride, at "
            "least two strides"
        )
    return tracking_slope(np.log2(sizes), strides)


def fields_slope(fields: Sequence[Sized]) -> float:
    """Return the slope of the fields of one cell, one per branch; NaN without octaves of stride."""
    if not has_octaves([field.stride for field in fields]):
        return math.nan
    sizes = np.array([field.erf_px for field in fields])
    return float(erf_slope(sizes, [field.stride for field in fields]))


UNCHANGED = "none"
"""The name of the unchanged network among interventions."""
MEASURES = ("recall", "iou")
GROUPS = ("octave", "coco_bin", "class_id")


def drops(counts: pd.DataFrame) -> pd.DataFrame:
    """Subtract the scores of each region under each intervention from those without.

    Args:
        counts: Region counts with a column ``intervention``, of any number of images; rows that
            occur twice count once.

    Returns:
        ``intervention``, ``image``, ``region``, ``recall``, ``iou``: drops in [-1, 1]; one row per
        intervention and region, in the order of ``counts``.

    Raises:
        GstoVizError: A region has no counts without intervention.
    """
    rows = counts.drop_duplicates(ignore_index=True)
    scores = rows[["intervention", *KEY]].join(outcome_scores(rows)[list(MEASURES)])
    before = scores[scores["intervention"] == UNCHANGED].drop(columns="intervention")
    after = scores[scores["intervention"] != UNCHANGED]
    both = after.merge(before, on=KEY, how="left", suffixes=("", "_before"), validate="many_to_one")
    if both["recall_before"].isna().any():
        image, region = both.loc[both["recall_before"].isna(), KEY].iloc[0]
        raise GstoVizError(
            f"region {region} of image '{image}' has no counts without intervention; count it too"
        )
    for measure in MEASURES:
        both[measure] = both[f"{measure}_before"] - both[measure]
    return both[["intervention", *KEY, *MEASURES]]


def mean_drops(
    dropped: pd.DataFrame,
    tables: Tables,
    *,
    by: str = "octave",
    images: Images = EACH,
) -> pd.DataFrame:
    """Average :func:`drops` over qualifying regions of a size or class, then over images.

    ``by`` is ``octave`` (floor of l), ``coco_bin`` or ``class_id``.

    Returns:
        One row per intervention, measure and group: ``intervention``, ``measure``, the group under
        the name of ``by``, ``mean``, ``low``, ``high`` (95 %, null below 10 independent images),
        ``n_regions``, ``n_images``, ``reason``.
    """
    if by not in GROUPS:
        raise GstoVizError(f"drops cannot be grouped by '{by}'; choose {', '.join(GROUPS)}")
    table = qualifying(tables, ["size_octave", "coco_bin", "class_id", "qualifies"])
    rows = dropped.merge(table[[*KEY, by]], on=KEY)
    frame = mean_by_group(rows, ["intervention", by], MEASURES, images=images)
    frame.insert(1, "measure", frame.pop("measure"))
    order = {name: k for k, name in enumerate(dropped["intervention"].unique())}
    rank = frame["intervention"].map(order)
    return (
        frame.assign(_rank=rank)
        .sort_values(["_rank", "measure", by], ignore_index=True, kind="stable")
        .drop(columns="_rank")
    )
