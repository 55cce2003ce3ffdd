"""All indices of one image at once, against the functions that read whole tables."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz import stats
from gsto_viz.stats import image_indices
from gsto_viz.stats.pairs import INDICES, index_columns


def random_table(rng: np.random.Generator, regions: int, branches: int) -> pd.DataFrame:
    """A region table of one image with ties, missing values and regions that do not qualify."""
    table = pd.DataFrame(
        {
            "image": ["one"] * regions,
            "region": np.arange(1, regions + 1),
            "class_id": rng.integers(0, 3, regions),
            "area_px": 4 ** rng.integers(2, 9, regions) + rng.integers(0, 2, regions),
            "qualifies": rng.random(regions) > 0.2,
            "max_distance_px": np.where(
                rng.random(regions) < 0.1, np.nan, rng.integers(1, 80, regions)
            ),
        }
    )
    for name in ("z", "z_matched"):
        for r in range(branches):
            table[f"{name}_{r}"] = rng.integers(0, 6, regions) / 6 + 0.05
    for name in ("q", "q_whole", "q_core", "q_band"):
        values = rng.integers(-4, 5, regions) / 4
        table[name] = np.where(rng.random(regions) < 0.15, np.nan, values)
    return table


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("branches", [2, 4])
def test_every_index_is_that_of_the_function_for_tables(seed: int, branches: int) -> None:
    table = random_table(np.random.default_rng(seed), 23, branches)
    last = branches - 1
    expected = {
        "sci": stats.sci(table),
        "sci_edge": stats.sci_edge(table, min_depth_px=32),
        "c_fine": stats.c_fine(table),
        "c_coarse": stats.c_coarse(table),
        "a_first_matched": stats.concordance(table, 0, response="z_matched"),
        "a_last": stats.concordance(table, last),
        "sci_same_class": stats.sci(table, same_class=True),
        "sci_whole": stats.sci(table, response="q_whole"),
    }
    columns = {name: table[name].to_numpy() for name in index_columns(branches)}
    found = image_indices(columns, branches, min_depth_px=32)
    assert tuple(expected) == INDICES
    for name, estimate in expected.items():
        if estimate.value is None:
            assert name not in found
        else:
            assert found[name] == (pytest.approx(estimate.value, abs=1e-15), estimate.n_pairs), name


def test_without_a_pair_there_is_no_value() -> None:
    table = random_table(np.random.default_rng(0), 6, 4).assign(area_px=100, max_distance_px=3.0)
    columns = {name: table[name].to_numpy() for name in index_columns(4)}
    assert image_indices(columns, 4) == {}
