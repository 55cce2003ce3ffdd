"""All indices of one image at once, against loops over pairs."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz import stats
from gsto_viz.stats import image_indices, index_columns, index_values
from gsto_viz.words import INDICES


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


def loop(table, column, same_class=False):
    """Share of pairs in which the larger region has more, pair by pair."""
    won = []
    rows = table[table["qualifies"]].to_dict("records")
    for y in rows:
        for x in rows:
            gain = y[column] - x[column]
            apart = y["area_px"] >= 4 * x["area_px"] and not np.isnan(gain)
            if apart and (not same_class or x["class_id"] == y["class_id"]):
                won.append(0.5 if abs(gain) <= 1e-9 else float(gain > 0))
    return (np.mean(won), len(won)) if won else None


def turned(found):
    return None if found is None else (1 - found[0], found[1])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("branches", [2, 4])
def test_every_index_is_a_loop_over_pairs(seed: int, branches: int) -> None:
    table = random_table(np.random.default_rng(seed), 23, branches)
    last = f"z_{branches - 1}"
    deep = table[table["qualifies"] & (table["max_distance_px"] >= 32)]
    wrong = [
        0.5 if core == band else float(core < band)
        for core, band in zip(deep["q_core"], deep["q_band"], strict=True)
        if not np.isnan(core - band)
    ]
    expected = {
        "sci": turned(loop(table, "q")),
        "sci_edge": (np.mean(wrong), len(wrong)) if wrong else None,
        "c_fine": loop(table, "z_0"),
        "c_coarse": turned(loop(table, last)),
        "a_first_matched": loop(table, "z_matched_0"),
        "a_last": loop(table, last),
        "sci_same_class": turned(loop(table, "q", same_class=True)),
        "sci_whole": turned(loop(table, "q_whole")),
    }
    columns = {name: table[name].to_numpy() for name in index_columns(branches)}
    found = image_indices(columns, branches, min_depth_px=32)
    assert list(expected) == list(INDICES)
    for name, value in expected.items():
        if value is None:
            assert name not in found
        else:
            assert found[name] == (pytest.approx(value[0], abs=1e-15), value[1]), name


def test_tables_of_many_images_are_images_one_by_one() -> None:
    rng = np.random.default_rng(1)
    tables = [random_table(rng, n, 4).assign(image=f"im{n}") for n in (5, 1, 19, 12)]
    values = index_values(tables, min_depth_px=32)
    assert list(values) == list(INDICES)
    for name, found in values.items():
        expected = []
        for table in sorted(tables, key=lambda one: one["image"][0]):
            columns = {column: table[column].to_numpy() for column in index_columns(4)}
            one = image_indices(columns, 4, min_depth_px=32)
            expected += [(table["image"][0], *one[name])] if name in one else []
        assert list(found.itertuples(index=False, name=None)) == expected
    sci_alone = stats.sci_values(tables)[["image", "value", "pairs"]]
    pd.testing.assert_frame_equal(values["sci"], sci_alone)


def test_without_a_pair_there_is_no_value() -> None:
    table = random_table(np.random.default_rng(0), 6, 4).assign(area_px=100, max_distance_px=3.0)
    columns = {name: table[name].to_numpy() for name in index_columns(4)}
    assert image_indices(columns, 4) == {}
