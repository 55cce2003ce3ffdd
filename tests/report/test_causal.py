"""SCI_C and scale transfer in an analysis, against the same made by hand; what is said of them."""

from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from gsto_viz import stats
from gsto_viz.attribution import mean_baseline, region_shapley
from gsto_viz.attribution.receptive import sized_maps, sized_tables
from gsto_viz.calibrate import calibrate
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.values.sizes import index_table
from gsto_viz.models import build_model
from gsto_viz.network import open_network
from gsto_viz.nulls import random_draws
from gsto_viz.regions import find_regions, prepare_regions, region_table, table_of_prepared
from gsto_viz.report import Null, Site, analyze
from gsto_viz.report.catalogue import KINDS
from gsto_viz.report.folder import WithNulls
from gsto_viz.report.page import page
from gsto_viz.report.summary import agreement, sides
from gsto_viz.report.text import headline_text, transfer_caution
from gsto_viz.stats import Estimate, toroidal_shift
from gsto_viz.torch_utils import image_to_tensor

COUNT = 3


@pytest.fixture(scope="module")
def explained(networks, scenes, tmp_path_factory):
    out: Path = tmp_path_factory.mktemp("causal") / "run"
    given = {"nulls": True, "random_draws": 1, "attribution": True, "limit": COUNT}
    return analyze(networks, scenes, out, **given)


def test_shapley_columns_are_those_of_each_region(networks, scenes, explained):
    for key, model in networks.items():
        tensors = [image_to_tensor(scenes[i].image) for i in range(COUNT)]
        baseline = mean_baseline(model, tensors)
        table = explained.table(key)
        for i, tensor in enumerate(tensors):
            sample = scenes[i]
            regions = find_regions(sample.labels, sample.instances)
            expected = region_shapley(model, tensor[None], regions, baseline).table
            rows = table[table["image"] == sample.id].reset_index(drop=True)
            for name in ("margin", *(f"{what}_{r}" for what in ("phi", "psi") for r in range(4))):
                np.testing.assert_allclose(rows[name], expected[name], atol=1e-6)
            total = rows[[f"psi_{r}" for r in range(4)]].sum(axis=1, skipna=False)
            np.testing.assert_allclose(total, rows["margin"] - rows["margin_base"], atol=1e-5)


def test_sci_c_and_its_nulls_are_those_of_the_tables(explained):
    for key in "AB":
        found = explained.causal(key)
        table = explained.response_table(key)
        assert found["sci_c"].estimate == stats.sci_c(table)
        assert found["sci_c_shares"] == stats.sci_c(table, response="phi")
        (random,) = explained.random_tables(key)
        draws = found["sci_c"].nulls["N3"].values
        assert draws == (pytest.approx(stats.sci_c(random).value),)
        assert len(found["sci_c"].nulls["N4"].values) == 10
    difference = (
        explained.causal("B")["sci_c"].estimate.value
        - explained.causal("A")["sci_c"].estimate.value
    )
    assert explained.compare().sci_c.value == pytest.approx(difference, abs=1e-12)
    assert explained.compare().comparisons[4].family == "confirmatory"


def test_random_weights_can_be_left_out_of_the_null_models(networks, scenes, explained, tmp_path):
    given = {"nulls": True, "attribution": True, "limit": COUNT}
    report = analyze({"A": networks["A"]}, scenes, tmp_path / "r", random_draws=0, **given)
    assert report.random_tables("A") == ()
    for index, nulls in explained.nulls("A").items():
        assert report.nulls("A")[index] == {k: v for k, v in nulls.items() if k != "N3"}
    own, other = (one.causal("A")["sci_c"].nulls for one in (report, explained))
    assert own == {name: value for name, value in other.items() if name != "N3"}
    with pytest.raises(GstoVizError, match=r"random_draws -1: give 0 \(no N3\) or more"):
        analyze(networks, scenes, tmp_path / "x", random_draws=-1, **given)


def test_moved_annotation_is_explained_as_if_it_were_the_annotation(networks, scenes, explained):
    """N1 and N2 of SCI_C, with labels rolled and swapped by hand and a pass for each."""
    for key, model in networks.items():
        baseline = mean_baseline(model, [image_to_tensor(scenes[i].image) for i in range(COUNT)])
        shifted, swapped = [], []
        for i in range(COUNT):
            sample, other = scenes[i], scenes[(i + COUNT // 2) % COUNT]
            image = image_to_tensor(sample.image)[None]
            shift = toroidal_shift(sample.labels.shape, 32, image=sample.id, seed=0, draw=4)
            own = find_regions(sample.labels, sample.instances)
            moved = replace(
                own,
                ids=np.roll(own.ids, shift, (0, 1)),
                distance_px=np.roll(own.distance_px, shift, (0, 1)),
            )
            theirs = find_regions(other.labels, other.instances)
            for cut, rows in ((moved, shifted), (theirs, swapped)):
                values = region_shapley(model, image, cut, baseline).table.drop(columns="region")
                sizes = {name: getattr(cut, name) for name in ("area_px", "size_octave")}
                sizes |= {name: getattr(cut, name) for name in ("max_distance_px", "class_id")}
                names = {"image": sample.id, "region": np.arange(1, len(cut) + 1)}
                rows.append(values.assign(**names, **sizes, qualifies=cut.qualifies))
        nulls = explained.causal(key)["sci_c"].nulls
        assert list(nulls) == ["N1", "N2", "N3", "N4"]
        assert len(nulls["N1"].values) == 10
        expected = stats.sci_c(pd.concat(shifted, ignore_index=True)).value
        assert nulls["N1"].values[4] == pytest.approx(expected, abs=1e-9)
        expected = stats.sci_c(pd.concat(swapped, ignore_index=True)).value
        assert nulls["N2"].values == (pytest.approx(expected, abs=1e-9),)


def test_scale_transfer_follows_the_objects_of_every_image(networks, scenes, explained):
    model = networks["A"]
    gains = calibrate(model, [image_to_tensor(scenes[i].image) for i in range(COUNT)])
    parts = []
    for i in range(COUNT):
        maps = sized_maps(open_network(model, gains=gains), scenes[i].image)
        tables = sized_tables(maps, scenes[i])
        parts.append(stats.transfer_rows(tables.base, tables.resized, tables.coarsest))
    counts = stats.transfer_counts(pd.concat(parts, ignore_index=True))
    found = explained.causal("A")["stp"]
    assert set(found) == {f"{m:+g}" for m in counts["m"]} > {"+0.5"}
    assert found["+1"].estimate == stats.scale_transfer(counts, 1.0)
    assert "SCI_C" in headline_text(explained)
    # B - A is the mean over images of differences of shares of objects that grow coarser.
    shares = {}
    for key in "AB":
        rows = pd.read_parquet(explained.folder / "transfer.parquet")
        rows = rows[(rows["model"] == key) & (rows["kind"] == "resized") & (rows["m"] == 1)]
        for image, objects in rows.groupby("image"):
            rises = [1.0 if c > 1e-9 else 0.5 if abs(c) <= 1e-9 else 0.0 for c in objects["change"]]
            shares[key, image] = sum(rises) / len(rises)
    both = [image for key, image in shares if key == "A" and ("B", image) in shares]
    expected = np.mean([shares["B", image] - shares["A", image] for image in both])
    found = {one.index: one for one in explained.compare().comparisons}["stp"]
    assert found.difference.value == pytest.approx(expected, abs=1e-12)
    assert found.family == "confirmatory"


def coarser(before: pd.DataFrame, after: pd.DataFrame, ids: np.ndarray) -> list[float]:
    """Follow regions from one table to the next: 1 coarser, 0.5 as before, 0 finer.

    Those count that qualify in both and keep more than 32 pixels from the border of the smaller
    image (and so from that of the one twice as large).
    """
    found = []
    for row in before.itertuples():
        (match,) = after[after["instance_id"] == row.region].itertuples()
        ys, xs = np.nonzero(ids == row.region)
        height, width = ids.shape
        border = min(ys.min(), xs.min(), height - 1 - ys.max(), width - 1 - xs.max())
        change = match.q - row.q
        if border > 32 and row.qualifies and match.qualifies and not np.isnan(change):
            found.append(1.0 if change > 1e-9 else 0.5 if change >= -1e-9 else 0.0)
    return found


def test_nulls_of_scale_transfer_follow_what_are_no_objects(networks, scenes, explained):
    """N1 to N3 of STP, with labels rolled, swapped and doubled by hand."""
    for key, model in networks.items():
        tensors = [image_to_tensor(scenes[i].image) for i in range(COUNT)]
        (twin,) = random_draws(model, tensors, draws=1, seed=0)
        gains = {model: calibrate(model, tensors), twin: calibrate(twin, tensors)}
        shares: dict[str, dict[int, list[float]]] = {"N1": {}, "N2": {}, "N3": {}}
        for i in range(COUNT):
            sample, other = scenes[i], scenes[(i + COUNT // 2) % COUNT]
            regions = find_regions(sample.labels, sample.instances)
            cases = [
                ("N2", 0, model, find_regions(other.labels, other.instances), other.labels),
                ("N3", 0, twin, regions, sample.labels),
            ]
            for draw in range(10):
                shift = toroidal_shift(sample.labels.shape, 32, image=sample.id, seed=0, draw=draw)
                ids, distance = (
                    np.roll(one, shift, (0, 1)) for one in (regions.ids, regions.distance_px)
                )
                moved = replace(regions, ids=ids, distance_px=distance)
                cases.append(("N1", draw, model, moved, np.roll(sample.labels, shift, (0, 1))))
            double = cv2.resize(sample.image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
            maps = {
                network: [
                    open_network(network, gains=gains[network]).look(image).activity
                    for image in (sample.image, double)
                ]
                for network in (model, twin)
            }
            for null, draw, network, cut, labels in cases:
                grids = prepare_regions(labels, regions=cut)
                before = table_of_prepared(grids, maps[network][0])
                large, ids = (one.repeat(2, 0).repeat(2, 1) for one in (labels, cut.ids))
                after = region_table(large, maps[network][1], instances=ids)
                found = coarser(before, after, cut.ids)
                if found:
                    shares[null].setdefault(draw, []).append(sum(found) / len(found))
        stp = explained.causal(key)["stp"]
        assert {m for m in stp if stp[m].nulls} == {"+1"}
        assert len(shares["N1"]) > 5
        assert shares["N2"]
        assert shares["N3"]
        for name, by_draw in shares.items():
            expected = [np.mean(by_draw[draw]) for draw in sorted(by_draw)]
            found = stp["+1"].nulls[name].values
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    lines = headline_text(explained).splitlines()
    (at, *_) = (k for k, line in enumerate(lines) if "STP, twice as large" in line)
    assert lines[at + 1].split()[0] == "nulls:"


def test_images_that_a_network_takes_only_whole_have_no_scale_transfer(networks, tmp_path):
    """It pools to 3x3 cells of stride 32, so it takes 128 rows, and not 64, as HRNet does."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = build_model("upernet-tiny", num_classes=11, bins=(1, 3))
    both = {"A": networks["A"], "U": model}
    data = load_data("scenes:count=2,seed=5,size=128x256")
    report = analyze(both, data, tmp_path / "r", attribution=True)
    assert report.causal("A")["stp"] != {}
    assert report.causal("U")["stp"] == {}
    assert report.causal("U")["sci_c"].estimate.value is not None


def test_images_too_small_to_be_halved_have_no_scale_transfer(networks, tmp_path):
    data = load_data("scenes:count=2,seed=5,size=64x128", size=(48, 96))
    report = analyze(networks, data, tmp_path / "r", attribution=True)
    assert report.causal("A")["stp"] == {}
    assert report.causal("A")["stp_slope"].value is None
    assert report.agreement("A").startswith("The three indices cannot all be judged")
    assert "STP" not in headline_text(report).split("The three indices")[0]
    assert "stp" not in {one.index for one in report.compare().comparisons}


def test_the_page_shows_what_the_text_shows(explained):
    text = page(explained, ())
    for key in "AB":
        assert f"{explained.causal(key)['sci_c'].estimate.value:.3f}" in text
        assert escape(explained.agreement(key)) in text


def test_the_explorer_lists_both_beside_the_other_indices(explained):
    table = index_table(explained, "A").set_index("index")
    found = explained.causal("A")
    assert table.loc["SCI_C", "value"] == found["sci_c"].estimate.value
    assert table.loc["SCI_C", "N2"] == f"{found['sci_c'].nulls['N2'].mean:.2f}"
    assert table.loc["STP, twice as large", "value"] == found["stp"]["+1"].estimate.value
    nulls = found["stp"]["+1"].nulls
    assert table.loc["STP, twice as large", "N1"] == f"{nulls['N1'].mean:.2f}"
    assert table.loc["STP, twice as large", "N4"] == ""


def test_the_figure_by_size_holds_means_over_regions_and_then_images(explained, monkeypatch):
    draw = KINDS["branch_by_size"].draw
    with pytest.raises(GstoVizError, match="in 30 images or more"):
        draw(explained)
    monkeypatch.setattr("gsto_viz.report.catalogue.tuning", partial(stats.tuning, min_images=1))
    data = draw(explained).data
    assert set(data["model"]) == {"A", "B"}
    table = explained.table("B")
    table = table[table["qualifies"]]
    for row in data[data["model"] == "B"].itertuples():
        r = (4, 8, 16, 32).index(row.stride)
        means = []
        for _, rows in table.groupby("image"):
            inside = [
                psi
                for psi, octave in zip(rows[f"psi_{r}"], rows["size_octave"], strict=True)
                if int(octave) == row.octave
            ]
            if inside:
                means.append(sum(inside) / len(inside))
        assert row.value == pytest.approx(sum(means) / len(means))
        assert row.n_images == len(means)


def test_networks_without_a_head_that_splits_are_refused(networks, scenes, tmp_path):
    site = Site(("stage3.m0.branch0", "stage3.m0.branch1"), (4, 8))
    alone = {"A": networks["A"]}
    with pytest.raises(GstoVizError, match="cannot be analyzed with attribution"):
        analyze(alone, scenes, tmp_path / "x", attribution=True, sites={"A": site}, limit=1)
    assert not (tmp_path / "x").exists()


def test_beside_others_a_network_without_such_a_head_is_not_estimated(networks, scenes, tmp_path):
    site = Site(("stage3.m0.branch0", "stage3.m0.branch1"), (4, 8))
    sites, out = {"A": site}, tmp_path / "x"
    report = analyze(networks, scenes, out, attribution=True, sites=sites, limit=2)
    assert report.causal("A") is None
    assert report.causal("B")["sci_c"].estimate.n_images == 2
    assert not [name for name in report.table("A") if name.endswith(("_2", "_3"))]
    assert "psi_3" in report.table("B")
    found = {one.index: one for one in report.compare().comparisons}
    assert found["sci"].difference.value is not None
    assert found["sci"].a == pytest.approx(report.index("A", "sci").value)
    for name in ("sci_c", "stp"):
        assert found[name].family == "confirmatory"
        assert found[name].difference.value is None
        assert found[name].difference.reason.startswith("not estimated: A has none (")


@pytest.mark.parametrize(
    ("low", "n1", "n3", "words"),
    [
        (0.6, 0.58, (0.5, 0.55), None),
        (0.6, 0.62, (0.5, 0.55), "(N1 0.620)"),
        (0.6, 0.62, (0.5, 0.7), "(N1 0.620, N3 0.700)"),
        (0.5, 0.62, (0.5, 0.7), None),
        (None, 0.62, (0.5, 0.7), None),
        (0.6, None, None, None),
    ],
)
def test_a_caution_stands_where_what_is_no_object_does_as_well(low, n1, n3, words):
    nulls = {
        name: Null(draws, Estimate(sum(draws) / len(draws), None, None, 20, 100))
        for name, draws in (("N1", n1 and (n1,)), ("N3", n3))
        if draws is not None
    }
    found = WithNulls(Estimate(0.7, low, 0.8, 20, 100), nulls)
    report = SimpleNamespace(causal=lambda key: {"stp": {"+1": found}})
    found = transfer_caution(report, "A")
    assert (found is None) if words is None else (words in found)
    assert transfer_caution(SimpleNamespace(causal=lambda key: None), "A") is None


def interval(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 20, 100)


@pytest.mark.parametrize(
    ("sci", "sci_c", "stp", "expected", "words"),
    [
        ((0.2, 0.4), (0.3, 0.45), (0.6, 0.8), ("aware",) * 3, "agree ("),
        ((0.2, 0.4), (0.55, 0.7), (0.6, 0.8), ("aware", "reversed", "aware"), "disagree"),
        ((0.2, 0.4), (0.45, 0.6), (0.2, 0.4), ("aware", "no evidence", "reversed"), "disagree"),
        ((0.45, 0.6),) * 3 + (("no evidence",) * 3, "agree ("),
        ((0.2, 0.4), (0.2, 0.4), None, ("aware", "aware", "not judged"), "cannot all be judged"),
    ],
)
def test_agreement_follows_the_intervals(sci, sci_c, stp, expected, words):
    found = sides(interval(*sci), interval(*sci_c), None if stp is None else interval(*stp))
    assert tuple(found.values()) == expected
    assert words in agreement(found)


def test_intervals_of_figures_are_drawn_with_the_seed_of_the_report(explained, monkeypatch):
    report = replace(explained, manifest={**explained.manifest, "seed": 7})
    seeds = []

    def noting(function):
        def noted(*given, images, **more):
            seeds.append(images.seed)
            return function(*given, images=images, **more)

        return noted

    for name, one in (("tuning", partial(stats.tuning, min_images=1)),
                      ("response_by_octave", stats.response_by_octave)):  # fmt: skip
        monkeypatch.setattr(f"gsto_viz.report.catalogue.{name}", noting(one))
    for name in ("branch_by_size", "tuning_fan"):
        KINDS[name].draw(report)
    assert seeds == [7] * 4
