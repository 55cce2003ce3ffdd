"""Drops against literal subtraction; the matrix of planted drops has a known SIC."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import drops, mean_drops, tuning

NAMES = [f"branch{r}" for r in range(4)]


def study(images=12, regions=10, seed=0, planted=None):
    """Counts and region tables; removal r takes ``planted[r, octave - 3]`` of the hits."""
    rng = np.random.default_rng(seed)
    counts, tables = [], []
    for i in range(images):
        octave = rng.integers(3, 8, regions)
        area = 4**octave
        hits = area // 2 + 8
        tables.append(
            pd.DataFrame(
                {
                    "image": f"i{i}",
                    "region": np.arange(1, regions + 1),
                    "area_px": area,
                    "size_octave": octave + 0.5,
                    "coco_bin": np.where(area < 1024, "small", "large"),
                    "class_id": rng.integers(0, 2, regions),
                    "qualifies": True,
                }
            )
        )
        for k, name in enumerate(["none", *NAMES]):
            kept = hits.astype(float)
            if name != "none":
                share = rng.random(regions) if planted is None else planted[k - 1, octave - 3]
                kept = hits * (1 - share)
            frame = tables[-1][["image", "region", "area_px"]].copy()
            frame["hits"] = kept
            frame["false_positives"] = rng.integers(0, 5, regions) if name != "none" else 3
            for extra in ("boundary_px", "boundary_hits", "boundary_false_positives"):
                frame[extra] = 0
            frame.insert(0, "intervention", name)
            counts.append(frame)
    return pd.concat(counts, ignore_index=True), tables


def test_drops_are_differences_of_shares():
    counts, _ = study()
    found = drops(counts).set_index(["intervention", "image", "region"])
    rows = counts.set_index(["intervention", "image", "region"])
    for key in (("branch2", "i3", 4), ("branch0", "i11", 10)):
        before, after = rows.loc[("none", *key[1:])], rows.loc[key]
        recall = before["hits"] / before["area_px"] - after["hits"] / after["area_px"]
        iou = [r["hits"] / (r["area_px"] + r["false_positives"]) for r in (before, after)]
        assert found.loc[key, "recall"] == pytest.approx(recall)
        assert found.loc[key, "iou"] == pytest.approx(iou[0] - iou[1])
    assert len(found) == 4 * 12 * 10
    pd.testing.assert_frame_equal(drops(pd.concat([counts, counts])), drops(counts))
    parts = [rows.reset_index(drop=True) for _, rows in counts.groupby("image", sort=False)]
    pd.testing.assert_frame_equal(drops(pd.concat(parts)), drops(counts))  # row numbers repeat


@pytest.mark.parametrize("by", ["octave", "class_id", "coco_bin"])
def test_means_over_regions_and_then_images(by):
    counts, tables = study()
    dropped = drops(counts)
    found = mean_drops(dropped, tables, by=by)
    table = pd.concat(tables)
    table["octave"] = np.floor(table["size_octave"]).astype(int)
    joined = dropped.merge(table, on=["image", "region"])
    row = found.iloc[5]
    part = joined[(joined["intervention"] == row["intervention"]) & (joined[by] == row[by])]
    per_image = [g[row["measure"]].mean() for _, g in part.groupby("image")]
    assert row["mean"] == pytest.approx(np.mean(per_image))
    assert (row["n_regions"], row["n_images"]) == (len(part), len(per_image))
    assert found["intervention"].drop_duplicates().tolist() == NAMES
    enough = found["n_images"] >= 10
    assert found.loc[enough, "low"].notna().all()
    assert found.loc[~enough, "reason"].notna().all()


@pytest.mark.parametrize("sign", [1, -1])
def test_planted_interaction_has_sic_one(sign):
    lam, nu = np.array([-1.5, -0.5, 0.5, 1.5]), np.arange(5) - 2
    planted = 0.4 + sign * 0.1 * np.outer(lam, nu)
    counts, tables = study(images=60, planted=planted)
    counts["false_positives"] = 0
    # Recall without change is 1/2 + 8 / area; the drop is planted times that. Divide it out.
    counts["hits"] = counts["hits"] / (0.5 + 8 / counts["area_px"])
    by_region = drops(counts).pivot(
        index=["image", "region"], columns="intervention", values="recall"
    )
    columns = {name: f"drop_{k}" for k, name in enumerate(NAMES)}
    table = pd.concat(tables).merge(by_region.rename(columns=columns), on=["image", "region"])
    found = tuning(table, response="drop")
    np.testing.assert_allclose(found.matrix, planted, atol=1e-12)
    assert found.sic.value == pytest.approx(sign)


def test_errors():
    counts, tables = study(images=2)
    dropped = drops(counts)
    with pytest.raises(GstoVizError, match="cannot be grouped by 'colour'"):
        mean_drops(dropped, tables, by="colour")
    partial = counts[(counts["intervention"] != "none") | (counts["region"] != 2)]
    with pytest.raises(GstoVizError, match="region 2 of image 'i0' has no counts without"):
        drops(partial)
