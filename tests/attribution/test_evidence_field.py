"""The kept field of evidence against the functions that walk over the cells, and by loops."""

import itertools

import numpy as np
import pytest
import torch

from gsto_viz.attribution import (
    Target,
    branch_shapley,
    evidence_field,
    head_pass,
    image_baseline,
    mean_baseline,
    own_mean_baseline,
    resolve,
    shapley_maps,
    zero_baseline,
)
from gsto_viz.attribution.areas import Box, Pixel, RankedRegion
from gsto_viz.errors import GstoVizError

PLACES = [Pixel(33, 41), Pixel(100, 69, "sky"), Box(5, 7, 60, 50, "car"), RankedRegion("pole")]


@pytest.fixture(name="case", params=["hrnetv2-tiny", "gsto-hrnet-tiny"])
def _case(request, toy):
    model = toy.network(request.param)
    seen = head_pass(model, toy.picture())
    return model, seen, image_baseline(model, toy.picture(7))


@pytest.mark.parametrize("score", ["margin", "mean", "sum"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_any_target_is_answered_as_by_the_walk_over_all_cells(case, view, place, score):
    _, seen, baseline = case
    entries = resolve(Target(place, score), view, tuple(seen.logits.shape))
    kept = evidence_field(seen, baseline).explain(entries)
    walked = branch_shapley(seen, baseline, entries)
    for name in ("values", "psi", "phi", "present", "absent", "ablation"):
        np.testing.assert_allclose(getattr(kept, name), getattr(walked, name), atol=1e-9)
    assert kept.baseline == walked.baseline
    assert kept.sum_error == walked.sum_error < 1e-12


def test_a_pixel_over_all_orders_of_the_branches(case, view):
    """Walk all 24 orders at one cell, with the network's own head."""
    model, seen, baseline = case
    x, y, class_id = 33, 41, 1
    entries = resolve(Target(Pixel(x, y, "car"), "mean"), view, tuple(seen.logits.shape))
    kept = evidence_field(seen, baseline).explain(entries)

    def logit(present):
        pairs = enumerate(zip(seen.branches, baseline.features, strict=True))
        parts = [own if r in present else absent for r, (own, absent) in pairs]
        with torch.no_grad():
            return float(model.head(parts)[0, class_id, y // 4, x // 4])

    gains = np.zeros(4)
    for order in itertools.permutations(range(4)):
        present: set[int] = set()
        for r in order:
            before = logit(present)
            present.add(r)
            gains[r] += (logit(present) - before) / 24
    np.testing.assert_allclose(kept.psi[:, 0], gains, atol=1e-9)
    assert gains.sum() == pytest.approx(logit({0, 1, 2, 3}) - logit(set()), abs=1e-9)


def test_maps_are_what_the_targets_say_cell_by_cell(case, view):
    _, seen, baseline = case
    field = evidence_field(seen, baseline)
    margins, logits, shares = (
        field.shapley_maps(2),
        field.shapley_maps(2, margin=False),
        field.share_maps(),
    )
    np.testing.assert_allclose(margins, shapley_maps(seen, baseline, 2), atol=1e-9)
    for x, y in ((0, 0), (100, 69), (50, 33)):
        cell = slice(None), y // 4, x // 4
        for score, maps in (("margin", margins), ("mean", logits)):
            entries = resolve(Target(Pixel(x, y, "pole"), score), view, tuple(seen.logits.shape))
            found = branch_shapley(seen, baseline, entries)
            np.testing.assert_allclose(maps[cell], found.psi[:, 0], atol=1e-9)
            np.testing.assert_allclose(shares[cell], found.phi[:, 0], atol=1e-9)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-9)


def test_where_nothing_differs_from_absence_there_is_no_share(toy):
    model = toy.network()
    seen = head_pass(model, toy.picture())
    field = evidence_field(seen, image_baseline(model, toy.picture()))
    assert np.isnan(field.share_maps()).all()
    np.testing.assert_allclose(field.shapley_maps(0), 0, atol=1e-12)


def test_the_mean_of_an_image_is_that_of_a_set_of_one(toy):
    model, image = toy.network().float(), toy.picture().float()
    own = own_mean_baseline(head_pass(model, image))
    asked = mean_baseline(model, [image])
    assert own.name == "mean of this image"
    for one, other in zip(own.features, asked.features, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_targets_of_another_grid_are_refused(toy, view):
    model = toy.network()
    field = evidence_field(head_pass(model, toy.picture(size=(64, 64))), zero_baseline(model))
    entries = resolve(Target(Pixel(3, 4, "sky")), view, (1, 4, 18, 26))
    with pytest.raises(GstoVizError, match=r"grid \(18, 26\) and the logits on \(16, 16\)"):
        field.explain(entries)
