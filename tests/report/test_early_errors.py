"""What networks and data cannot give is said before the first pass, and null models stand alone."""

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.errors import GstoVizError
from gsto_viz.report import Site, analyze, load_report
from gsto_viz.report.catalogue import write_figures
from gsto_viz.report.page import page
from gsto_viz.report.text import headline_text
from gsto_viz.types import Sample

SITE = Site(("fine", "coarse"), (4, 8))


class Foreign(nn.Module):
    """Two branches and 11 classes, with the parts that null models trip over.

    Args:
        pooled: A batch norm behind global pooling.
        scaled: A weight of its own (layer scale).
        bad: Logits are NaN.
    """

    def __init__(self, *, pooled=False, scaled=False, bad=False):
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 7, stride=4, padding=3)
        self.coarse = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6)) if pooled else None
        self.scale = nn.Parameter(torch.ones(1, 11, 1, 1)) if scaled else None
        self.head = nn.Conv2d(6, 11, 1)
        self.bad = bad

    def forward(self, x):
        fine = self.fine(x)
        coarse = self.coarse(fine)
        if self.pool is not None:
            coarse = coarse + self.pool(coarse)
        logits = self.head(nn.functional.interpolate(coarse, size=fine.shape[2:]) + fine)
        logits = logits if self.scale is None else logits * self.scale
        return logits * float("nan") if self.bad else logits


def made(**what):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Foreign(**what).eval()


def options(out, **more):
    return {"out": out, "sites": {"A": SITE}, "limit": 3, "random_draws": 1} | more


@pytest.mark.parametrize(
    ("what", "reason"), [("pooled", "batch-norm statistics"), ("scaled", "holds scale")]
)
def test_a_null_model_that_cannot_be_leaves_the_others(scenes, tmp_path, what, reason):
    with_, without = made(**{what: True}), made()
    models = {"A": with_, "B": without}
    sites = {"A": SITE, "B": SITE}
    report = analyze(models, scenes, **options(tmp_path / "r", nulls=True, sites=sites))
    assert {"N1", "N2", "N4", "N5"} <= set(report.nulls("A")["sci"])
    assert "N3" not in report.nulls("A")["sci"]
    assert "N3" in report.nulls("B")["sci"]
    assert reason in report.missing_nulls("A")["N3"]
    assert report.missing_nulls("B") == {}
    assert f"N3 is missing: {report.missing_nulls('A')['N3']}" in headline_text(report)
    again = load_report(report.folder)
    assert again.missing_nulls("A") == report.missing_nulls("A")


def test_null_models_can_be_chosen(networks, scenes, tmp_path):
    out = tmp_path / "r"
    more = {"limit": 3, "random_draws": 1}
    report = analyze({"A": networks["A"]}, scenes, out, nulls=["N2", "N1"], **more)
    whole = analyze({"A": networks["A"]}, scenes, nulls=True, **more)
    assert set(report.nulls("A")["sci"]) == {"N1", "N2"}
    for null in ("N1", "N2"):
        assert report.nulls("A")["sci"][null] == whole.nulls("A")["sci"][null]
    with pytest.raises(
        GstoVizError, match=r"begun with nulls=\['N1', 'N2'\] and now nulls is True"
    ):
        analyze({"A": networks["A"]}, scenes, out, nulls=True, resume=True, **more)
    with pytest.raises(GstoVizError, match="no null model 'N9'; choose out of N1, N2"):
        analyze({"A": networks["A"]}, scenes, tmp_path / "s", nulls=["N9"], **more)
    assert not (tmp_path / "s").exists()


def test_nan_is_refused_with_the_image_before_anything_is_written(scenes, tmp_path):
    out = tmp_path / "r"
    with pytest.raises(GstoVizError, match=f"{scenes.ids[0]}: A: .*not finite"):
        analyze({"A": made(bad=True)}, scenes, **options(out))
    assert not out.exists()


def test_nan_in_a_later_image_names_it(scenes, tmp_path, networks):
    class Later(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.seen = made(), 0
            self.fine, self.coarse = self.inner.fine, self.inner.coarse

        def forward(self, x):
            self.seen += 1
            return self.inner(x) * (float("nan") if self.seen > 6 else 1.0)

    with pytest.raises(GstoVizError, match=f"{scenes.ids[2]}: A: .*not finite"):
        analyze({"A": Later()}, scenes, **options(tmp_path / "r"))


def test_a_wrong_stride_is_said_at_once(scenes, tmp_path):
    out = tmp_path / "r"
    wrong = Site(("fine", "coarse"), (4, 16))
    with pytest.raises(GstoVizError, match=r"coarse gives .* and stride 16 means a grid of"):
        analyze({"A": made()}, scenes, **options(out, sites={"A": wrong}))
    assert not out.exists()


class Unreadable:
    """A data set of which no label map can be read."""

    name, ids = "rgb", ("one", "two")

    def __init__(self, classes):
        self.classes = classes

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise GstoVizError(f"labels of {self.ids[index]} are RGB")


def test_the_first_real_reason_is_said(scenes, networks, tmp_path):
    out = tmp_path / "r"
    with pytest.raises(GstoVizError, match=r"none of 2 images .*; labels of one are RGB"):
        analyze({"A": networks["A"]}, Unreadable(scenes.classes), out)
    assert not out.exists()


def test_three_and_four_branches_are_compared(networks, scenes, tmp_path):
    site = Site(tuple(f"stage3.m0.branch{r}" for r in range(3)), (4, 8, 16))
    report = analyze(networks, scenes, sites={"A": site}, nulls=True, limit=3, random_draws=1)
    assert report.strides == {"A": (4, 8, 16), "B": (4, 8, 16, 32)}
    found = {one.index: one for one in report.compare().comparisons}
    sci = found["sci"]
    assert sci.difference.value == pytest.approx(sci.b - sci.a)


class Flat:
    """Images of one label everywhere."""

    name, ids = "flat", ("a", "b", "c")

    def __init__(self, classes, label):
        self.classes, self.label = classes, label

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        return Sample(self.ids[index], image, np.full((64, 96), self.label, np.uint8))


def test_without_pairs_the_other_figures_are_drawn(networks, scenes, tmp_path):
    report = analyze(networks, Flat(scenes.classes, 0), tmp_path / "r")
    written = write_figures(report, formats=["png"])
    drawn = {one.kind.name for one in written if one.reason is None}
    assert {"figure1_percentile", "sci_by_gap", "costs"} <= drawn
    assert all(one.files or one.reason for one in written)
    reason = next(one.reason for one in written if one.kind.name == "worst_pairs")
    assert reason == "no image has two regions an octave apart"
    assert "worst_pairs" not in drawn
    assert "<figure>" in page(report, written)


def test_labels_that_are_all_ignored_are_refused(networks, scenes, tmp_path):
    data = Flat(scenes.classes, 255)
    for _ in range(2):
        with pytest.raises(GstoVizError, match="none of 3 images has a labelled region"):
            analyze({"A": networks["A"]}, data, tmp_path / "r", resume=True)
