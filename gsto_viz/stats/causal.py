r"""SCI_C: the Scale Confusion Index on what branches contribute, not on where they fire.

Region tables get the columns ``psi_{r}`` (exact Shapley values of the region's margin, in logits)
and ``phi_{r}`` (shares) from ``gsto_viz.attribution``. Each is divided by its spread over the data
set, because branches differ in how much they contribute at all, and

.. math:: q(x) = \sum_r \lambda_r \psi_r(x) / \mathrm{sd}_r, \qquad
          \lambda_r = \log_2 s_r - \mathrm{mean}_k \log_2 s_k

takes the place of coarseness in SCI. No gain or invertible mix of channels that the network undoes
changes it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import Estimate, FloatArray, estimate
from gsto_viz.stats.sci import OCTAVE_GAP, sci_values
from gsto_viz.stats.tables import Tables, branch_count, merge_tables

COLUMN = "q_c"
"""The column that :func:`causal_coarseness` adds."""
_READ = ["area_px", "max_distance_px", "class_id", "size_octave", "qualifies"]


def causal_coarseness(
    tables: Tables, strides: Sequence[int] = (4, 8, 16, 32), *, response: str = "psi"
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
    weights = coarse_weights(strides) * _inverse_spread(counted)
    return table.assign(**{COLUMN: values @ weights})


def coarse_weights(strides: Sequence[int]) -> FloatArray:
    """Return lambda, the centred log2 strides: (R,), octaves."""
    octaves = np.log2(np.asarray(strides, dtype=np.float64))
    return np.asarray(octaves - octaves.mean())


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
    strides: Sequence[int] = (4, 8, 16, 32),
    *,
    response: str = "psi",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
) -> pd.DataFrame:
    """Give SCI_C of each image that has a pair: ``image``, ``value``, ``pairs``.

    Args:
        tables: As for :func:`causal_coarseness`: the whole data set at once.
        strides: Pixels per cell of each branch.
        response: ``psi`` or ``phi``.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).
    """
    table = causal_coarseness(tables, strides, response=response)
    return sci_values(table, response=COLUMN, gap=gap, same_class=same_class)


def sci_c(
    tables: Tables,
    strides: Sequence[int] = (4, 8, 16, 32),
    *,
    response: str = "psi",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate SCI_C: how often two regions of one image are ordered the wrong way round.

    Arguments as for :func:`sci_c_values`; ``clusters`` and ``seed`` as for ``sci``. The interval
    holds the spreads of the branches fixed at those of the data set.

    Returns:
        Value in [0, 1]: 0 large regions rest on coarse branches, 0.5 chance, 1 reversed. As for
        ``sci`` when it is not estimated.
    """
    values = sci_c_values(tables, strides, response=response, gap=gap, same_class=same_class)
    return estimate(values, clusters, seed)
