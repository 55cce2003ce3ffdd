"""An analysis against the same numbers made by hand, image by image."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gsto_viz as gv
from gsto_viz import stats
from gsto_viz.calibrate import calibrate
from gsto_viz.capture import Capture
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import evaluate
from gsto_viz.regions import region_columns, region_table
from gsto_viz.report import Site, analyze, load_report
from gsto_viz.report import run as run_module
from gsto_viz.report.measure import reservoir
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.types import ClassList, Sample


def tables_by_hand(model, data, *, taps="stage4.branch*") -> list[pd.DataFrame]:
    """Calibrate, capture and measure with the public pieces."""
    tensors = [image_to_tensor(data[i].image) for i in range(len(data))]
    gains = calibrate(model, tensors, taps)
    tables = []
    for i, tensor in enumerate(tensors):
        sample = data[i]
        with Capture(model, taps, reduce="gain_fixed", gains=gains) as maps:
            model(tensor[None])
        activity = [maps[name][0].detach().numpy() for name in maps]
        tables.append(
            region_table(sample.labels, activity, instances=sample.instances, image=sample.id)
        )
    return tables


def test_rows_and_indices_are_those_made_by_hand(networks, scenes, analysis):
    for key, model in networks.items():
        tables = tables_by_hand(model, scenes)
        expected = pd.concat(tables, ignore_index=True)
        rows = analysis.table(key)
        assert (rows["model"] == key).all()
        for column in region_columns(4):
            left, right = rows[column.name].to_numpy(), expected[column.name].to_numpy()
            if left.dtype.kind == "f":
                np.testing.assert_allclose(left, right, atol=1e-12)
            else:
                assert (left == right).all()
        assert analysis.headline(key) == stats.headline(tables)
        assert analysis.index(key, "sci") == stats.sci(tables)
        curves = stats.response_by_octave(tables)
        assert np.allclose(
            analysis.frame(key, "response_by_octave")["mean"], curves["mean"], atol=1e-12
        )


def test_scores_are_those_of_evaluate(networks, scenes, analysis):
    for key, model in networks.items():
        scores = evaluate(model, scenes).scores
        assert analysis.model(key)["scores"]["miou"] == pytest.approx(scores.miou, abs=1e-9)


def test_gate_columns_are_means_over_the_part(networks, scenes, analysis):
    model = networks["B"]
    table = analysis.table("B")
    tap = "stage3.m0.gate[2->0]"
    sample = scenes[4]
    with Capture(model, [tap]) as maps:
        model(image_to_tensor(sample.image)[None])
    share = (maps[tap][0].detach().numpy().astype(np.float64) - 0.5) / 0.5
    rows = table[table["image"] == sample.id].set_index("region")
    regions = gv.regions.find_regions(sample.labels, sample.instances)
    for region in rows.index[:12]:
        inside = regions.ids == region
        if rows.loc[region, "part"] == "core":
            inside &= regions.core
        total = weight = 0.0
        for y, x in np.argwhere(inside):
            total += share[y // 16, x // 16]
            weight += 1
        assert rows.loc[region, f"g/{tap}"] == pytest.approx(total / weight, abs=1e-6)
    assert analysis.table("A")[f"g/{tap}"].isna().all()
    gates = analysis.model("B")["gates"]
    assert {g["tap"] for g in gates["gates"]} == {n for n in model.taps() if ".gate" in n}
    assert analysis.model("A")["gates"] is None


def test_null_models_stand_beside_every_index(analysis):
    for key in ("A", "B"):
        nulls = analysis.nulls(key)["sci"]
        assert set(nulls) == {"N1", "N2", "N3", "N4", "N4c", "N5"}
        assert nulls["N5"].values == (0.5,)
        assert analysis.nulls(key)["sci_edge"]["N5"].estimate.value in (0.5, None)
        assert len(nulls["N1"].values) == 10
        assert len(nulls["N3"].values) == 2
        assert abs(nulls["N4"].estimate.value - 0.5) < 0.1
        draws = analysis.random_tables(key)
        assert len(draws) == 2
        assert nulls["N3"].values[1] == pytest.approx(stats.sci(draws[1]).value, abs=1e-12)
    # Two draws say nothing on a range: the verdict must not lean on them.
    assert analysis.verdict("A").below_random.state == "not judged"


def test_comparison_is_paired_and_b_minus_a(networks, scenes, analysis):
    a, b = (tables_by_hand(networks[key], scenes) for key in "AB")
    expected = stats.compare_tables(a, b)
    found = analysis.compare("A", "B")
    assert [one.index for one in found.comparisons] == [one.index for one in expected]
    for one, two in zip(found.comparisons, expected, strict=True):
        assert one.difference.value == pytest.approx(two.difference.value, abs=1e-12)
    sci = analysis.headline("B").sci.value - analysis.headline("A").sci.value
    assert found.sci.value == pytest.approx(sci, abs=1e-12)
    with pytest.raises(AttributeError, match="no index 'scii'"):
        found.scii  # noqa: B018


class StopError(Exception):
    pass


def test_a_stopped_analysis_goes_on_to_the_same_tables(
    networks, scenes, analysis, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    calls = []
    whole = run_module.run_chunk

    def stop_at_second(*args):
        calls.append(args[3])
        if len(calls) == 2:
            raise StopError
        return whole(*args)

    monkeypatch.setattr(run_module, "run_chunk", stop_at_second)
    settings = {"nulls": True, "random_draws": 2}
    with pytest.raises(StopError):
        analyze(networks, scenes, out, **settings)
    assert not (out / "manifest.json").exists()
    assert not (out / "summary.json").exists()
    with pytest.raises(GstoVizError, match="no finished analysis; resume it"):
        load_report(out)
    with pytest.raises(GstoVizError, match="is not empty"):
        analyze(networks, scenes, out, **settings)
    with pytest.raises(GstoVizError, match="begun with seed=0 and now seed is 1"):
        analyze(networks, scenes, out, seed=1, resume=True, **settings)
    report = analyze(networks, scenes, out, resume=True, **settings)
    assert [list(indices) for indices in calls] == [
        list(range(8)),
        list(range(8, 12)),
        list(range(8, 12)),
    ]
    for name in ("regions", "values", "random", "images", "profile", "confusion", "gates"):
        one = pd.read_parquet(out / f"{name}.parquet")
        two = pd.read_parquet(analysis.folder / f"{name}.parquet")
        pd.testing.assert_frame_equal(one, two)
    assert report.summary == analysis.summary
    assert not (out / "parts").exists()


def test_a_finished_analysis_is_left_as_it_is(networks, scenes, tmp_path, monkeypatch):
    out = tmp_path / "run"
    first = analyze(networks, scenes, out, limit=3)
    assert first.summary["images"] == 3
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    monkeypatch.setattr(run_module, "run_chunk", None)
    again = analyze(networks, scenes, out, limit=3, resume=True)
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == before
    assert again.summary == first.summary


def test_overwrite_replaces_and_foreign_files_stay(networks, scenes, tmp_path):
    out = tmp_path / "run"
    analyze(networks, scenes, out, limit=2)
    report = analyze({"A": networks["A"]}, scenes, out, limit=1, overwrite=True)
    assert report.keys == ("A",)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(GstoVizError, match=r"holds 'notes.txt', which this command never writes"):
        analyze(networks, scenes, out, limit=1, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


class Damaged:
    """A data set in which some images cannot be read."""

    def __init__(self, base, broken):
        self.base, self.broken = base, broken
        self.name, self.classes, self.ids = base.name, base.classes, base.ids

    def __len__(self):
        return len(self.base)

    def __getitem__(self, index):
        if index in self.broken:
            raise GstoVizError(f"{self.ids[index]}.png is\ntruncated; take another copy")
        return self.base[index]


def test_images_that_cannot_be_read_are_named_and_the_rest_goes_on(networks, scenes, tmp_path):
    data = Damaged(scenes, {0, 2})
    report = analyze({"A": networks["A"]}, data, tmp_path / "run", limit=4, nulls=True,
                     random_draws=1)  # fmt: skip
    assert [one["image"] for one in report.skipped] == [scenes.ids[0], scenes.ids[2]]
    assert report.skipped[0]["reason"].endswith(".png is truncated; take another copy")
    assert report.summary["images"] == 2
    assert set(report.table("A")["image"]) == {scenes.ids[1], scenes.ids[3]}
    with pytest.raises(GstoVizError, match="none of 2 images can be analyzed"):
        analyze(
            {"A": networks["A"]},
            Damaged(scenes, {0, 1}),
            tmp_path / "none",
            limit=2,
            calibration=scenes,
        )


class Plain:
    """A data set of given samples."""

    def __init__(self, samples, classes: ClassList):
        self.samples, self.classes, self.name = samples, classes, "plain"
        self.ids = tuple(sample.id for sample in samples)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index) -> Sample:
        return self.samples[index]


def test_what_does_not_fit_is_refused_before_anything_is_written(networks, scenes, tmp_path):
    out = tmp_path / "run"
    bare = Plain([replace(scenes[0], labels=None, instances=None)], scenes.classes)
    with pytest.raises(GstoVizError, match="has no labels"):
        analyze(networks, bare, out)
    assert not out.exists()
    fewer = ClassList("two", scenes.classes.classes[:2])
    with pytest.raises(GstoVizError, match=r"A \(hrnetv2-tiny-test\) knows Sky.* and plain has"):
        analyze(networks, Plain([scenes[0]], fewer), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(GstoVizError, match="all branches have one stride"):
        analyze(networks, scenes, out, sites={"A": Site(("a", "b"), (8, 8))})
    for models, message in (
        ({}, "0 networks were given; give 1 to 8"),
        ({f"n{k}": networks["A"] for k in range(9)}, "9 networks were given"),
        ({"a b": networks["A"]}, "'a b' is not a name for a network"),
    ):
        with pytest.raises(GstoVizError, match=message):
            analyze(models, scenes, out)
    with pytest.raises(GstoVizError, match="the reference 'C' is not among A, B"):
        analyze(networks, scenes, out, reference="C")
    with pytest.raises(GstoVizError, match="no images to analyze"):
        analyze(networks, scenes, out, limit=0)


def test_a_folder_of_another_version_is_refused(analysis, tmp_path):
    out = tmp_path / "old"
    out.mkdir()
    manifest = json.loads((analysis.folder / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(GstoVizError, match="schema version 99, this is version 1"):
        load_report(out)
    with pytest.raises(GstoVizError, match="no folder"):
        load_report(tmp_path / "nowhere")


def test_images_without_a_pair_are_listed(networks, scenes, tmp_path):
    labels = np.zeros((96, 160), np.uint8)
    flat = replace(scenes[1], id="flat", labels=labels, instances=None)
    report = analyze({"A": networks["A"]}, Plain([scenes[0], flat], scenes.classes), tmp_path / "r")
    assert report.model("A")["no_pairs"] == ["flat"]
    assert report.headline("A").sci.n_images == 1


def test_a_report_without_a_folder_lives_as_long_as_it_is_used(networks, scenes):
    report = gv.analyze({"A": networks["A"]}, scenes, limit=2)
    folder = Path(report.folder)
    assert folder.is_dir()
    assert len(report.table("A")) > 0
    del report
    assert not folder.exists()


@pytest.mark.parametrize("limit", [3, 10])
def test_the_reservoir_takes_qualifying_regions_first(limit):
    qualifies = np.array([True, False, True, True, False, True, True])
    kept = reservoir(qualifies, "image", seed=0, limit=limit)
    assert kept.sum() == min(limit, 7)
    if limit == 3:
        assert qualifies[kept].all()
        shares = np.mean(
            [reservoir(qualifies, f"{k}", seed=0, limit=3)[qualifies] for k in range(600)], axis=0
        )
        # Each of five regions stays in three of five draws; 4.5 standard errors.
        assert np.allclose(shares, 0.6, atol=4.5 * np.sqrt(0.24 / 600))
    again = reservoir(qualifies, "image", seed=0, limit=limit)
    assert (again == kept).all()


def test_tables_are_capped(networks, scenes, tmp_path):
    report = analyze(networks, scenes, tmp_path / "r", limit=2, max_regions=5)
    sizes = report.table("A").groupby("image").size()
    assert (sizes == 5).all()
    same = report.table("B")[["image", "region"]]
    pd.testing.assert_frame_equal(report.table("A")[["image", "region"]], same)


def test_the_layout_adjusted_variant_subtracts_the_mean_map(networks, scenes, analysis):
    model = networks["A"]
    tensors = [image_to_tensor(scenes[i].image) for i in range(len(scenes))]
    gains = calibrate(model, tensors)
    maps = []
    for tensor in tensors:
        with Capture(model, reduce="gain_fixed", gains=gains) as seen:
            model(tensor[None])
        maps.append([one[0].detach().numpy().astype(np.float64) for one in seen.values()])
    tables = []
    for i, each in enumerate(maps):
        mean = [np.mean([other[r] for other in maps], axis=0) for r in range(4)]
        adjusted = [one - two for one, two in zip(each, mean, strict=True)]
        sample = scenes[i]
        tables.append(
            region_table(sample.labels, adjusted, instances=sample.instances, image=sample.id)
        )
    found = analysis.layout_adjusted("A", "sci")
    assert found.value == pytest.approx(stats.sci(tables).value, abs=1e-9)
    assert found.n_pairs == analysis.headline("A").sci.n_pairs
