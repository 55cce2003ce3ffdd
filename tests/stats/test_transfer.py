"""Scale transfer against loops, planted slopes, and real tables of resized label maps."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.regions import find_regions, region_table
from gsto_viz.stats import (
    border_distance,
    scale_transfer,
    transfer_beyond_blur,
    transfer_counts,
    transfer_rows,
    transfer_slope,
)

STEPS = (-1.0, -0.5, 0.5, 1.0)


def test_border_distance_counts_pixels_in_between():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, (14, 19)) * (rng.random((14, 19)) < 0.1)
    ids[6, 9] = 12
    expected = np.full(12, -1)
    for y in range(14):
        for x in range(19):
            k = ids[y, x] - 1
            gap = min(y, x, 13 - y, 18 - x)
            if k >= 0:
                expected[k] = gap if expected[k] < 0 else min(expected[k], gap)
    np.testing.assert_array_equal(border_distance(ids), expected)
    assert border_distance(np.zeros((3, 3), int)).size == 0


def planted(images, slope, noise, seed=0):
    """Tables at every m: q of an object is its own level plus slope m plus noise."""
    rng = np.random.default_rng(seed)
    tables = {m: [] for m in (0.0, *STEPS)}
    for i in range(images):
        n = int(rng.integers(1, 8))
        level = rng.normal(size=n)
        for m, parts in tables.items():
            # At m = 0 regions are numbered 1..n; elsewhere the same objects come in another order.
            order = rng.permutation(n)
            numbers = np.arange(1, n + 1)
            table = pd.DataFrame(
                {
                    "image": f"im{i:02d}",
                    "region": numbers,
                    "instance_id": numbers,
                    "qualifies": rng.random(n) < 0.9,
                    "border_distance_px": rng.integers(20, 90, n),
                    "q": level + slope * m + noise * np.round(rng.normal(size=n), 1) * (m != 0),
                }
            )
            if m:
                table = table.iloc[order].assign(region=numbers)
            parts.append(table)
    return tables.pop(0.0), tables


def by_loops(base, resized, m):
    """Per image: changes of the objects that are there, qualify and lie inside, at both sizes."""
    changes = {}
    for before, after in zip(base, resized[m], strict=True):
        for x in before.to_dict("records"):
            for y in after.to_dict("records"):
                good = all(r["qualifies"] and r["border_distance_px"] > 32 for r in (x, y))
                if good and x["region"] == y["instance_id"]:
                    changes.setdefault(x["image"], {})[x["region"]] = y["q"] - x["q"]
    return changes


@pytest.mark.parametrize("m", STEPS)
def test_stp_is_a_loop_over_objects(m):
    base, resized = planted(16, 0.1, 0.2)
    counts = transfer_counts(transfer_rows(base, resized, 32))
    changes = by_loops(base, resized, m)
    shares = [
        np.mean([1.0 if c > 1e-9 else 0.5 if c > -1e-9 else 0.0 for c in image.values()])
        for image in changes.values()
    ]
    estimate = scale_transfer(counts, m)
    assert estimate.value == pytest.approx(np.mean(shares), abs=1e-14)
    assert estimate.n_images == len(changes)
    assert estimate.n_pairs == sum(map(len, changes.values()))
    chosen = counts[counts["m"] == m]
    assert chosen["change"].sum() == pytest.approx(sum(sum(c.values()) for c in changes.values()))


def test_the_slope_is_a_fit_through_the_unresized_object():
    base, resized = planted(14, 0.1, 0.2, seed=1)
    every = {m: by_loops(base, resized, m) for m in STEPS}
    means = []
    for image in {name for changes in every.values() for name in changes}:
        slopes = []
        for region in range(1, 9):
            points = [
                (m, every[m][image][region]) for m in STEPS if region in every[m].get(image, {})
            ]
            if points:
                m, change = np.array(points).T
                slopes.append(np.linalg.lstsq(m[:, None], change, rcond=None)[0][0])
        means.append(np.mean(slopes))
    estimate = transfer_slope(transfer_rows(base, resized, 32))
    assert estimate.value == pytest.approx(np.mean(means))
    assert estimate.n_images == len(means)


@pytest.mark.parametrize(("slope", "stp"), [(0.3, 1.0), (0.0, 0.5), (-0.3, 0.0)])
def test_aware_blind_and_reversed(slope, stp):
    base, resized = planted(12, slope, 0)
    rows = transfer_rows(base, resized, 32)
    counts = transfer_counts(rows)
    assert scale_transfer(counts, 1.0).value == stp
    assert scale_transfer(counts, -1.0).value == 1 - stp
    assert transfer_slope(rows).value == pytest.approx(slope, abs=1e-12)


def test_offsets_of_objects_and_order_of_shards_change_nothing():
    base, resized = planted(11, 0.1, 0.2)
    rows = transfer_rows(base, resized, 32)
    counts = transfer_counts(rows)
    shards = [
        transfer_counts(transfer_rows(base[part], {m: t[part] for m, t in resized.items()}, 32))
        for part in (slice(5, None), slice(0, 5))
    ]
    merged = pd.concat(shards).sort_values(["image", "m"], ignore_index=True)
    pd.testing.assert_frame_equal(merged, counts)
    doubled = transfer_rows([*base, *base[:3]], {m: t[::-1] for m, t in resized.items()}, 32)
    pd.testing.assert_frame_equal(transfer_counts(doubled), counts)


def test_blur_is_taken_off_image_by_image():
    base, resized = planted(13, 0.3, 0.1)
    _, blurred = planted(13, 0.05, 0.3)
    counts = transfer_counts(transfer_rows(base, resized, 32))
    control = transfer_counts(transfer_rows(base, blurred, 32))
    beyond = transfer_beyond_blur(counts, control, 1.0)
    images, other = by_loops(base, resized, 1.0), by_loops(base, blurred, 1.0)
    differences = []
    for name in images.keys() & other.keys():
        shares = [
            np.mean([(c > 1e-9) + 0.5 * (abs(c) <= 1e-9) for c in part[name].values()])
            for part in (images, other)
        ]
        differences.append(shares[0] - shares[1])
    assert beyond.value == pytest.approx(np.mean(differences))
    assert transfer_beyond_blur(counts, counts, 1.0).value == 0


def test_regions_of_a_resized_image_keep_their_identity():
    rng = np.random.default_rng(5)
    labels = np.zeros((256, 256), np.uint8)
    labels[64:128, 64:160], labels[160:200, 100:190] = 1, 2
    regions = find_regions(labels)
    maps = [rng.random((256 // s, 256 // s)) for s in (4, 8)]
    base = region_table(labels, maps, (4, 8), image="a")
    base["border_distance_px"] = border_distance(regions.ids)

    def grow(x):
        return np.kron(x, np.ones((2, 2), x.dtype))

    bigger = region_table(
        grow(labels), [grow(m) for m in maps], (4, 8), instances=grow(regions.ids), image="a"
    )
    bigger["border_distance_px"] = border_distance(grow(regions.ids))[bigger["instance_id"] - 1]
    rows = transfer_rows(base, {1.0: bigger}, 32)
    assert rows["region"].tolist() == [2, 3]  # the background touches the border
    assert (bigger["area_px"].to_numpy() == 4 * base["area_px"].to_numpy()).all()


def test_tables_that_do_not_belong_together_are_refused():
    base, resized = planted(2, 0.1, 0.1)
    with pytest.raises(GstoVizError, match="m = 0 is the unresized"):
        transfer_rows(base, {0.0: base}, 32)
    strange = [t.assign(instance_id=t["instance_id"] + 50) for t in resized[1.0]]
    with pytest.raises(GstoVizError, match=r"at m = 1\.0 is not in the table"):
        transfer_rows(base, {1.0: strange}, 32)
    with pytest.raises(GstoVizError, match="lacks border_distance_px"):
        transfer_rows([t.drop(columns="border_distance_px") for t in base], resized, 32)
    rows = transfer_rows(base, {}, 32)
    assert rows.empty
    assert scale_transfer(transfer_counts(rows), 1.0).value is None
