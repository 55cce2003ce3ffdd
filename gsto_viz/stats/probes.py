r"""Linear probes: what can be read off a branch's features, about object size and class.

Ridge regressions on sums :math:`X^T X` and :math:`X^T y`, one set per fold, where folds are made of
whole images. Sums of images and shards add up (to rounding: give the shards in one order for the
same last bits). Decodable is not used: a probe says what is there, not what the network does with
it, and branches with many channels have the advantage (see :func:`random_projection`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.nulls import stream
from gsto_viz.stats.pairs import KEY

FOLDS = 5
PENALTY = 1e-3
"""Ridge penalty as a share of the mean variance of a feature."""


def fold_of(image: str, folds: int = FOLDS, seed: int = 0) -> int:
    """Return the fold of an image, 0..folds-1, fixed by its name (BLAKE2b, not Python's hash)."""
    digest = hashlib.blake2b(f"{seed}\0{image}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % folds


@dataclass(frozen=True, eq=False)
class ProbeSums:
    """Sums over n rows of features x (C) and targets y (K), a constant included in x."""

    xx: FloatMap
    """(C + 1, C + 1): X^T X, the constant last."""
    xy: FloatMap
    """(C + 1, K): X^T Y; its last row sums the targets."""
    yy: FloatMap
    """(K,): sums of squared targets."""

    def __add__(self, other: "ProbeSums") -> "ProbeSums":
        """Return the sums over the rows of both."""
        if self.xx.shape != other.xx.shape or self.xy.shape != other.xy.shape:
            raise GstoVizError(
                f"sums of {self.xy.shape} and {other.xy.shape} (features + 1, targets) do not add "
                "up; they are of different branches or targets"
            )
        return ProbeSums(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)

    @property
    def rows(self) -> int:
        """How many rows were summed."""
        return round(float(self.xx[-1, -1]))


def probe_sums(features: npt.NDArray[np.floating], targets: npt.NDArray[np.floating]) -> ProbeSums:
    """Sum the rows of one image.

    Args:
        features: (n, C), one row per object (pooled) or cell.
        targets: (n, K): sizes in octaves, or 1 for the class of a cell and 0 for the others.

    Raises:
        GstoVizError: Shapes do not fit or a value is not finite.
    """
    x, y = (np.asarray(a, dtype=np.float64) for a in (features, targets))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise GstoVizError(f"features {x.shape} and targets {y.shape}; give (n, C) and (n, K)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise GstoVizError(
            "features or targets of a probe hold NaN or infinity; leave such rows out"
        )
    x = np.hstack([x, np.ones((len(x), 1))])
    return ProbeSums(x.T @ x, x.T @ y, (y**2).sum(axis=0))


def ridge(sums: ProbeSums, penalty: float = PENALTY) -> FloatMap:
    """Fit targets by features and a constant that is not penalised.

    Args:
        sums: Of the rows to fit.
        penalty: As a share of the mean variance of a feature, so that a common gain of all features
            changes nothing; 0 gives least squares (of least norm), which no invertible linear map
            of the features changes.

    Returns:
        (C + 1, K) coefficients, the constant last.

    Raises:
        GstoVizError: There are no rows.
    """
    if sums.rows == 0:
        raise GstoVizError("a probe has no rows to fit; give more images")
    mean_x, mean_y = sums.xx[-1, :-1] / sums.rows, sums.xy[-1] / sums.rows
    variance = sums.xx[:-1, :-1] / sums.rows - np.outer(mean_x, mean_x)
    covariance = sums.xy[:-1] / sums.rows - np.outer(mean_x, mean_y)
    shrink = penalty * np.trace(variance) / max(len(variance), 1)
    slopes = np.linalg.lstsq(variance + shrink * np.eye(len(variance)), covariance, rcond=None)[0]
    return np.vstack([slopes, mean_y - mean_x @ slopes])


def squared_errors(sums: ProbeSums, coefficients: FloatMap) -> FloatMap:
    """Return the sum of squared errors of every target on the rows of ``sums``, (K,)."""
    fitted = np.einsum("ck,cd,dk->k", coefficients, sums.xx, coefficients)
    return sums.yy - 2 * (coefficients * sums.xy).sum(axis=0) + fitted


def held_out_fits(folds: Mapping[int, ProbeSums], penalty: float = PENALTY) -> dict[int, FloatMap]:
    """Fit each fold's probe on the images of all other folds.

    Args:
        folds: Sums of each fold; empty ones are passed over.
        penalty: As in :func:`ridge`.

    Returns:
        Coefficients by fold: those to predict the fold's own images with.

    Raises:
        GstoVizError: Fewer than two folds have rows.
    """
    filled = [k for k, fold in folds.items() if fold.rows]
    if len(filled) < 2:
        raise GstoVizError(
            f"not estimated: {len(filled)} folds of images have rows, a probe needs two; give more "
            "images"
        )
    return {k: ridge(_others(folds, k), penalty) for k in filled}


def _others(folds: Mapping[int, ProbeSums], k: int) -> ProbeSums:
    rest = [fold for j, fold in folds.items() if j != k]
    return sum(rest[1:], rest[0])


def _mean_of_others(folds: Mapping[int, ProbeSums], k: int) -> FloatMap:
    others = _others(folds, k)
    return others.xy[-1] / others.rows


def cross_image_r2(folds: Mapping[int, ProbeSums], penalty: float = PENALTY) -> FloatMap:
    r"""Return :math:`R^2` of every target on images that the fit has not seen.

    Each fold is predicted from the others; :math:`R^2 = 1 - \sum` squared errors / :math:`\sum`
    squared deviations from the mean of the other folds (what a probe without features predicts).

    Args:
        folds: Sums of each fold of images, of :func:`add_by_fold`.
        penalty: As in :func:`ridge`.

    Returns:
        (K,), at most 1, below 0 when the features mislead; NaN for a constant target.

    Raises:
        GstoVizError: Fewer than two folds have rows.
    """
    fits = held_out_fits(folds, penalty)
    errors = deviations = np.zeros(1)
    for k, coefficients in fits.items():
        errors = errors + squared_errors(folds[k], coefficients)
        constant = np.zeros_like(coefficients)
        constant[-1] = _mean_of_others(folds, k)
        deviations = deviations + squared_errors(folds[k], constant)
    varies = deviations > 1e-12 * sum(folds[k].yy for k in fits)
    result = np.full(deviations.shape, np.nan)
    np.divide(errors, deviations, out=result, where=varies)
    return 1.0 - result


def size_targets(table: pd.DataFrame, shuffles: int = 5, seed: int = 0) -> FloatMap:
    """Return what the size probe predicts: true sizes, and controls shuffled within class.

    A probe that only recognises the class does as well on the controls.

    Args:
        table: The complete region table of all images (one row per object).
        shuffles: How many controls.
        seed: Of the shuffles.

    Returns:
        (rows, 1 + shuffles) octaves, in the order of ``table``: l, then l of another object of the
        class. Does not depend on the order of the rows.
    """
    place = np.arange(len(table))
    order = table.assign(place=place).sort_values(KEY, ignore_index=True)
    size = order["size_octave"].to_numpy(dtype=np.float64)
    targets = np.repeat(size[:, None], 1 + shuffles, axis=1)
    for class_id, rows in order.groupby("class_id").indices.items():
        for k in range(1, shuffles + 1):
            targets[rows, k] = size[stream("probe", seed, k, class_id).permutation(rows)]
    result = np.empty_like(targets)
    result[order["place"].to_numpy()] = targets
    return result


@dataclass(frozen=True)
class SizeProbe:
    """How well a branch's features tell the size of an object."""

    r2: float
    """Cross-image R^2 of the size in octaves."""
    shuffled_r2: float
    """Mean R^2 of sizes shuffled within class."""

    @property
    def selectivity(self) -> float:
        """R^2 beyond what class alone gives."""
        return self.r2 - self.shuffled_r2


def size_probe(folds: Mapping[int, ProbeSums], penalty: float = PENALTY) -> SizeProbe:
    """Summarise sums whose targets are those of :func:`size_targets` (at least one shuffle)."""
    r2 = cross_image_r2(folds, penalty)
    if len(r2) < 2:
        raise GstoVizError("the size probe has no control; give size_targets with shuffles")
    return SizeProbe(float(r2[0]), float(r2[1:].mean()))


def class_hits(
    features: npt.NDArray[np.floating],
    coefficients: FloatMap,
    class_id: npt.NDArray[np.integer],
    size_bin: npt.NDArray[np.integer],
    bins: int,
) -> npt.NDArray[np.int64]:
    """Count the cells whose class the one-vs-all probe tells right, by size bin and class.

    Args:
        features: (n, C) cells of one image that the fit has not seen.
        coefficients: (C + 1, K) of :func:`ridge`, fitted to class indicators.
        class_id: (n,) class of each cell, 0..K-1; the largest score decides.
        size_bin: (n,) size bin of the region that a cell belongs to, 0..bins-1.
        bins: Number of bins.

    Returns:
        (bins, K, 2) int64: hits and cells. Counts of images add up.
    """
    classes = coefficients.shape[1]
    scores = np.asarray(features, dtype=np.float64) @ coefficients[:-1] + coefficients[-1]
    right = scores.argmax(axis=1) == class_id
    cell = np.asarray(size_bin) * classes + np.asarray(class_id)
    hits, cells = (np.bincount(c, minlength=bins * classes) for c in (cell[right], cell))
    return np.stack([hits, cells], axis=-1).reshape(bins, classes, 2)


def balanced_accuracy(counts: npt.NDArray[np.int64]) -> FloatMap:
    """Return the mean over classes of the share of cells told right, (bins,).

    Classes that do not occur in a bin are left out of it; NaN for an empty bin. Chance is one over
    the number of classes in the bin, so compare branches, not bins.
    """
    hits, cells = counts[..., 0].astype(np.float64), counts[..., 1]
    there = cells > 0
    recall = np.divide(hits, cells, out=np.zeros_like(hits), where=there)
    result = np.full(len(counts), np.nan)
    np.divide(recall.sum(axis=1), there.sum(axis=1), out=result, where=there.any(axis=1))
    return result


def random_projection(channels: int, kept: int, seed: int = 0) -> FloatMap:
    """Draw ``kept`` orthonormal directions of ``channels``, so that branches compare at one width.

    Returns:
        (channels, kept) with orthonormal columns; multiply features (n, channels) by it.
    """
    if not 1 <= kept <= channels:
        raise GstoVizError(f"cannot keep {kept} of {channels} directions; keep 1 to {channels}")
    draw = stream("projection", seed, channels, kept).normal(size=(channels, kept))
    basis, upper = np.linalg.qr(draw)
    # With positive diagonal the decomposition is unique, and the draw evenly distributed.
    return np.asarray(basis * np.sign(np.diag(upper)))


def add_by_fold(
    sums: Mapping[str, ProbeSums], folds: int = FOLDS, seed: int = 0
) -> dict[int, ProbeSums]:
    """Add the sums of images into folds, in the order of their names.

    Args:
        sums: Sums of each image, by name; the same shapes everywhere.
        folds: How many.
        seed: Of the assignment.

    Returns:
        Sums by fold, for the folds that have an image.
    """
    added: dict[int, ProbeSums] = {}
    for image in sorted(sums):
        fold = fold_of(image, folds, seed)
        added[fold] = added[fold] + sums[image] if fold in added else sums[image]
    return dict(sorted(added.items()))
