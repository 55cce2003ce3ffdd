"""What pixels listen to, planted in a network and found by an analysis."""

import numpy as np
import pandas as pd
import pytest
import torch

from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.models import ModelInfo, build_model, initialize
from gsto_viz.network import open_network
from gsto_viz.regions.pooling import prepare_regions
from gsto_viz.report import analyze
from gsto_viz.report.catalogue import KINDS, write_figures
from gsto_viz.report.tables import TABLES, read_table
from gsto_viz.stats import listen, listening_columns
from gsto_viz.stats.listening import BESIDE, MEASURES

SPEC = "scenes:count=4,seed=1000003,size=64x96"
TAPS = {f"pyramid.relation[{level + 1}->{level}]": 4 * 2**level for level in (2, 1, 0)}


def prepared(sample):
    return prepare_regions(sample.labels, (4, 8, 16, 32), sample.instances)


def keeps_to_its_object(sample, stride: int) -> np.ndarray:
    """Weights by how much of each cell the object has in which most of a pixel lies, (1, 9, h, w).

    Nine in ten parts of them; the rest is shared alike.
    """
    ids = prepared(sample).regions.ids
    height, width = (-(-side // stride) for side in ids.shape)
    weights = np.zeros((1, 9, height, width))
    for y in range(height):
        for x in range(width):
            here = ids[y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
            own, inside = np.bincount(here.ravel()).argmax(), []
            for place in range(9):
                v, u = y // 2 + place // 3 - 1, x // 2 + place % 3 - 1
                cell = ids[2 * stride * v : 2 * stride * (v + 1), 2 * stride * u :][:, : 2 * stride]
                if min(v, u) >= 0 and cell.size:
                    inside.append(place)
                    weights[0, place, y, x] = (cell == own).mean()
            total = weights[0, :, y, x].sum()
            weights[0, inside, y, x] = (
                0.9 * weights[0, inside, y, x] / total + 0.1 / len(inside)
                if total
                else 1 / len(inside)
            )
    return weights


@pytest.fixture(scope="module")
def data():
    return load_data(SPEC)


@pytest.fixture(scope="module")
def planted(data):
    """By index and stride, the weights that the network shows for an image of the data."""
    return {
        (index, stride): keeps_to_its_object(data[index], stride)
        for index in range(len(data))
        for stride in TAPS.values()
    }


@pytest.fixture(scope="module")
def network(data, planted):
    """A network whose weights are the planted ones, for images that it knows."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build_model("rsp-tiny", num_classes=len(data.classes))
        initialize(model, "kaiming")
    model.info = ModelInfo("planted", "rsp-tiny", data.classes)
    known = [input_batch(model, data[index].image) for index in range(len(data))]
    seen: list[int] = []

    def look(_module, inputs):
        image = inputs[0]
        if image.device.type == "cpu" and type(image) is torch.Tensor:
            seen[:] = [k for k, one in enumerate(known) if torch.equal(one, image)]

    def replace(stride):
        def weights(_module, _inputs, out):
            if not seen:
                return None
            return torch.from_numpy(planted[seen[0], stride]).to(out).expand(1, *out.shape[1:])

        return weights

    model.register_forward_pre_hook(look)
    for level, relation in enumerate(model.head.relations):
        relation.weights.register_forward_hook(replace(4 * 2**level))
    return model.eval()


@pytest.fixture(scope="module")
def report(network, networks, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("listening") / "run"
    models = {"rsp": network, "plain": networks["A"]}
    return analyze(models, data, out, nulls=["N1", "N2"])


def test_rows_are_what_the_weights_give(report, data, planted):
    rows = read_table(report.folder, "listening")
    assert set(rows["model"]) == {"rsp"}
    assert set(rows["null"]) == {"none", "N1", "N2"}
    assert not rows.duplicated(list(TABLES["listening"].key)).any()
    own = rows[rows["null"] == "none"]
    table = report.table("rsp").set_index(["image", "region"])
    for index in range(len(data)):
        sample = data[index]
        heard = {tap: listen(planted[index, stride], stride) for tap, stride in TAPS.items()}
        expected = pd.DataFrame(listening_columns(heard, prepared(sample)))
        found = own[own["image"] == sample.id].reset_index(drop=True)
        assert len(found) == len(expected) > 0
        for name in ("region", "tap", "stride", "part", "pixels"):
            assert (found[name] == expected[name]).all()
        for name in MEASURES:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
        regions = table.loc[[(sample.id, region) for region in found["region"]]]
        for name in ("class_id", "size_octave", "qualifies"):
            assert (found[name].to_numpy() == regions[name].to_numpy()).all()


def test_weights_that_keep_to_their_object_leave_it_less_than_by_chance(report):
    found = pd.DataFrame(report.model("rsp")["listening"]["overall"])
    columns = ["tap", "part", "measure", "null"]
    means = found.set_index(columns)["mean"].to_dict()
    for tap in TAPS:
        for part in ("core", "band"):
            of = {key[2:]: mean for key, mean in means.items() if key[:2] == (tap, part)}
            assert of["outside", "none"] < of["outside_uniform", "none"]
            excess = of["outside_excess", "none"]
            difference = of["outside", "none"] - of["outside_uniform", "none"]
            assert excess == pytest.approx(difference)
            # Where its objects are not, the same weights know nothing of objects.
            assert excess < of["outside_excess", "N1"] - 0.02
            assert excess < of["outside_excess", "N2"]
            # There is one distribution, the same in every head.
            assert of["head_entropy", "none"] == pytest.approx(of["entropy", "none"])


def test_means_by_size_and_class_are_those_of_the_rows(report):
    rows = read_table(report.folder, "listening", null="none")
    rows = rows[rows["qualifies"]].assign(octave=np.floor(rows["size_octave"]).astype(int))
    summary = report.model("rsp")["listening"]
    for name, column in (("by_octave", "octave"), ("by_class", "class_id")):
        found = pd.DataFrame(summary[name])
        found = found[found["null"] == "none"]
        checked = 0
        for row in found[found["measure"].isin(["entropy", *BESIDE])].to_dict("records"):
            own = rows[
                (rows["tap"] == row["tap"])
                & (rows["part"] == row["part"])
                & (rows[column] == row[column])
            ]
            per_image = own.groupby("image")[row["measure"]].mean()
            assert row["mean"] == pytest.approx(per_image.mean())
            assert (row["n_regions"], row["n_images"]) == (len(own), len(per_image))
            checked += 1
        assert checked > 20
    assert "N1" in set(pd.DataFrame(summary["by_octave"])["null"])


def test_networks_without_relations_have_no_rows(report, analysis):
    assert "listening" not in report.model("plain")
    assert report.rows("listening", "plain").empty
    assert not (analysis.folder / "listening.parquet").exists()
    assert all("listening" not in analysis.model(key) for key in analysis.keys)


def test_relations_between_grids_that_are_not_compared_are_left_out(network, data):
    whole = open_network(network)
    assert whole.anatomy.relations == TAPS
    fine = whole.read_at(["pyramid.branch0", "pyramid.branch1", "pyramid.branch3"])
    assert list(fine.anatomy.relations) == ["pyramid.relation[1->0]"]
    calibrated = fine.calibrated([data[0].image])
    assert calibrated.look(data[0].image).relations == {}
    (weights,) = calibrated.look(data[0].image, relations=True).relations.values()
    assert weights.shape == (4, 9, 16, 24)
    apart = whole.read_at(["pyramid.branch0", "pyramid.branch2"])
    assert apart.anatomy.relations == {}
    assert apart.calibrated([data[0].image]).look(data[0].image, relations=True).relations == {}


def test_the_figure_shows_the_network_that_has_relations(report, tmp_path):
    (one,) = write_figures(report, formats=("png",), only=["listening"])
    assert one.reason is None
    drawn = pd.read_csv(one.files[-1])
    assert set(drawn["model"]) == {"rsp"}
    own = pd.DataFrame(report.model("rsp")["listening"]["by_octave"])
    np.testing.assert_allclose(drawn["mean"], own["mean"])
    for text in ("stride 8 -> 4", "16 -> 8", "32 -> 16", "core", "band"):
        assert text in one.alt
    figure = KINDS["listening"].draw(report).figure
    axes = {ax.get_label(): ax for ax in figure.axes}
    assert len(axes) == 3 * 4
    for stride in TAPS.values():
        rows = own[(own["stride"] == stride) & (own["null"] == "none")]
        for measure in ("outside", "outside_excess", "entropy", "offset_px"):
            lines = {line.get_label(): line for line in axes[f"{measure} {stride}"].lines}
            for part in ("core", "band"):
                of = rows[(rows["part"] == part) & (rows["measure"] == measure)]
                np.testing.assert_allclose(lines[part].get_xdata(), of["octave"] + 0.5)
                np.testing.assert_allclose(lines[part].get_ydata(), of["mean"])


def test_the_figure_is_left_out_without_relations(analysis):
    with pytest.raises(GstoVizError, match="no model has relations"):
        KINDS["listening"].draw(analysis)
