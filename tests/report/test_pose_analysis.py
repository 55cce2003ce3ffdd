"""Networks for pose from analysis to page: persons as regions, skeletons in place of classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import decode, full_logits
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.models import ModelInfo, build_model, save_checkpoint
from gsto_viz.models.base import initialize
from gsto_viz.network import open_network
from gsto_viz.report import load_report
from gsto_viz.report.catalogue import KINDS
from gsto_viz.report.page import page
from gsto_viz.report.run import analyze, open_for
from gsto_viz.stats import sci
from gsto_viz.types import CROWD, ClassInfo, ClassList

pytestmark = pytest.mark.slow

SPEC = "figures:count=3,seed=1,size=128x128"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose")
    paths = {}
    for key, name in (("A", "hrnet-pose-tiny"), ("B", "gsto-hrnet-pose-tiny")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = build_model(name)
            initialize(model, "kaiming")
        paths[key] = folder / f"{name}.safetensors"
        info = ModelInfo(name, name, COCO_JOINTS.classes)
        save_checkpoint(model.eval(), paths[key], info=info)
    return paths


@pytest.fixture(scope="module")
def report(checkpoints, tmp_path_factory):
    out = tmp_path_factory.mktemp("analysis") / "run"
    data = load_data(SPEC)
    analyze(checkpoints, data, out, nulls=True, attribution=True, random_draws=1)
    return load_report(out)


def test_regions_are_persons_alone(report):
    data = load_data(SPEC)
    for key in report.keys:
        table = report.table(key)
        assert "hits" not in table
        counted = table[table["qualifies"]]
        expected = {}
        for k in range(len(data)):
            sample = data[k]
            for one in sample.people:
                area = int((sample.instances == one.instance).sum())
                if area >= 64:
                    expected[sample.id, one.instance] = area
        found = zip(counted["image"], counted["instance_id"], strict=True)
        assert dict(zip(found, counted["area_px"], strict=True)) == expected
        assert (table.loc[~table["qualifies"], "instance_id"] == CROWD).any()


def test_what_needs_no_classes_is_estimated(report, checkpoints):
    for key in report.keys:
        found = report.model(key)
        assert found["task"] == "pose"
        assert found["scores"] is None
        assert found["outcome"] is None
        assert set(report.nulls(key)["sci"]) >= {"N1", "N2", "N3", "N4", "N5"}
        causal = report.causal(key)
        pairs = sci(report.table(key)).n_pairs  # persons alone, as those of SCI
        assert causal["sci_c"].estimate.n_pairs == pairs > 0
        assert 0 <= causal["sci_c"].estimate.value <= 1
        assert set(causal["sci_c"].nulls) >= {"N1", "N3", "N4"}
        assert set(causal["stp"]["+1"].nulls) >= {"N1", "N3"}
    assert report.model("A")["gates"] is None
    gates = {gate.name for gate in open_network(checkpoints["B"]).anatomy.gates}
    assert {one["tap"] for one in report.model("B")["gates"]["gates"]} == gates
    (pair,) = report.comparisons()
    rows = {one.index: one for one in pair.comparisons}
    assert rows["sci_c"].difference.value is not None
    assert rows["stp"].difference.value is not None


def test_examples_keep_persons_and_the_skeletons_of_their_boxes(report, checkpoints):
    data = load_data(SPEC)
    example = report.examples[0]
    sample = data[data.ids.index(example.sample.id)]
    for kept, one in zip(example.sample.people, sample.people, strict=True):
        np.testing.assert_array_equal(kept.joints, one.joints)
        assert (kept.box, kept.area, kept.instance) == (one.box, one.area, one.instance)
    for key, look in example.looks.items():
        assert not look.predicts
        assert look.joints is COCO_JOINTS
        network = open_network(checkpoints[key])
        with torch.inference_mode():
            heat = network(network.tensor(sample.image)[None]).logits[0].numpy()
        for person, found in zip(sample.people, look.skeletons, strict=True):
            left, top, width, height = person.box
            rows, columns = np.indices(heat.shape[1:]) * 4
            inside = (columns >= left) & (columns <= left + width)
            inside &= (rows >= top) & (rows <= top + height)
            alone = np.where(inside, heat, heat.min() - 1)
            np.testing.assert_allclose(found[:, 2], decode(alone[None])[0, :, 2], rtol=1e-5)
            place = decode(alone[None])[0, :, :2] * 4
            assert (np.abs(found[:, :2] - place) <= 2).all()  # a quarter of a cell, either way


def test_figures_and_page_show_skeletons_and_name_what_is_left_out(report):
    reasons = {}
    for name in ("figure1_percentile", "skeletons", "segmentations", "branch_by_size"):
        try:
            reasons[name] = KINDS[name].draw(report)
        except GstoVizError as error:
            reasons[name] = str(error)
    assert reasons["segmentations"] == "no model gives class predictions"
    assert "no size octave is found in" in reasons["branch_by_size"]
    shown = [ax.get_title() for ax in reasons["figure1_percentile"].figure.axes]
    assert shown.count("skeletons") == 2
    assert "prediction" not in shown
    people = sum(len(one.sample.people) for one in report.examples if one.role != "worst")
    assert len(reasons["skeletons"].data) == 2 * 17 * people
    text = page(report, ())
    assert "hrnet-pose-tiny" in text


def test_a_network_for_pose_says_in_its_own_words_that_it_is_not_scored(checkpoints, caplog):
    network = open_network(checkpoints["A"])
    assert (network.task, network.predicts) == ("pose", 0)
    network.check(np.zeros((64, 96, 3), dtype=np.uint8), "an image")
    said = "predictions are not scored: its output is heat maps of joints, not classes"
    assert [one.message for one in caplog.records] == [f"{network.name}: {said}"]
    assert full_logits(network.module, np.zeros((64, 96, 3), np.uint8)).shape == (17, 64, 96)


def test_only_data_of_other_joints_are_refused(checkpoints):
    figures = load_data(SPEC)
    assert open_for(figures, "A", checkpoints["A"]).predicts == 0
    assert open_for(load_data("scenes:count=1"), "A", checkpoints["A"]).predicts == 0
    two = ClassList("two", tuple(ClassInfo(k, f"j{k}", (k, 0, 0), False) for k in range(2)))
    figures.joints = replace(COCO_JOINTS, classes=two)
    with pytest.raises(GstoVizError, match=r"has 17 joints and figures\S* has 2; take"):
        open_for(figures, "A", checkpoints["A"])
