"""Sanity checks on explanations: what is random, what is exact, what is restored."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from gsto_viz.attribution import Target, exact_shapley, resolve_batch
from gsto_viz.attribution.areas import RankedRegion
from gsto_viz.attribution.gradients import Explainer
from gsto_viz.attribution.sanity import (
    cascade,
    coalition_infidelity,
    gradient_infidelity,
    sensitivity,
)
from gsto_viz.errors import GstoVizError

PARTS = (
    "head", "stage4", "transition3", "stage3", "transition2", "stage2", "transition1", "stage1",
    "stem",
)  # fmt: skip
"""Of our networks, from the output to the input."""


def maps_of(toy):
    def explain(model):
        with torch.no_grad():
            branches, _ = model.branches(toy.picture())
        return {"fine": branches[0][0].mean(0).numpy(), "image": toy.picture()[0, 0].numpy()}

    return explain


def test_parts_become_random_from_the_output_on(toy):
    model = toy.network()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    frame = cascade(model, maps_of(toy))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert frame["part"].drop_duplicates().tolist() == list(PARTS)
    fine = frame[frame["map"] == "fine"].set_index("part")["spearman"]
    assert set(frame.loc[frame["map"] == "image", "cells"]) == {toy.picture()[0, 0].numel()}
    assert fine["head"] == pytest.approx(1)  # the branches do not depend on the head
    assert abs(fine["stage4"]) < 0.95
    assert frame.loc[frame["map"] == "image", "spearman"].tolist() == pytest.approx([1] * 9)
    first = frame[frame["part"].isin(PARTS[:2])].reset_index(drop=True)
    pd.testing.assert_frame_equal(cascade(model, maps_of(toy), parts=PARTS[:2]), first)


def test_every_weight_is_in_some_part(toy):
    model = toy.network()
    named = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert named == set(PARTS)


def test_constant_maps_have_no_rank(toy):
    for flat in (np.ones((3, 3)), np.zeros((3, 3)), np.eye(1, 9)):
        frame = cascade(toy.network(), lambda m, flat=flat: {"flat": flat}, parts=["head"])
        assert frame["spearman"].isna().all()


def test_the_place_of_the_target_is_no_merit_of_the_map(toy):
    """Two unrelated maps that are 0 outside one place: the many zeros in common do not count."""
    rng = np.random.default_rng(3)
    maps = iter([np.zeros((30, 30)), np.zeros((30, 30))])

    def explain(model):
        one = next(maps)
        one[5:10, 5:10] = 1 + rng.random((5, 5))
        return {"place": one}

    frame = cascade(toy.network(), explain, parts=["head"])
    (found,) = frame["spearman"]
    assert frame["cells"].tolist() == [25]
    rng = np.random.default_rng(3)
    first, second = (rng.random(25) for _ in range(2))
    order = [np.argsort(np.argsort(values)) for values in (first, second)]
    assert found == pytest.approx(1 - 6 * ((order[0] - order[1]) ** 2).sum() / (25 * (25**2 - 1)))
    assert abs(found) < 0.6


def test_coalition_infidelity_against_a_loop():
    rng = np.random.default_rng(0)
    values, totals = rng.normal(size=16), rng.normal(size=4)
    top = bottom = 0.0
    for count in range(1, 5):
        for removed in itertools.combinations(range(4), count):
            left = 15 - sum(1 << r for r in removed)
            drop = values[15] - values[left]
            top += (sum(totals[r] for r in removed) - drop) ** 2
            bottom += drop**2
    assert coalition_infidelity(values, totals) == pytest.approx(top / bottom)
    additive = np.array([sum(totals[r] for r in range(4) if s >> r & 1) for s in range(16)])
    assert coalition_infidelity(additive, totals) == pytest.approx(0, abs=1e-20)
    assert coalition_infidelity(additive, np.zeros(4)) == pytest.approx(1)
    np.testing.assert_allclose(exact_shapley(additive), totals)
    assert np.isnan(coalition_infidelity(np.ones(4), np.zeros(2)))
    with pytest.raises(GstoVizError, match="8 coalitions do not fit 4 branches"):
        coalition_infidelity(np.ones(8), totals)


def test_infidelity_is_zero_where_the_score_is_linear(toy, view):
    """A 1x1 convolution is linear: its gradient predicts every change exactly."""
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 4, 1, stride=4).double()
    entries = resolve_batch(Target(RankedRegion("car"), "mean"), view, (1, 4, 18, 26))
    found = gradient_infidelity(Explainer(model, toy.picture(), entries))
    assert found[0] == pytest.approx(0, abs=1e-15)
    curved = gradient_infidelity(Explainer(toy.network(), toy.picture(), entries))
    assert curved[0] > 1e-8


def test_sensitivity_of_known_maps(toy):
    image = toy.picture()
    assert sensitivity(lambda x: torch.ones_like(x), image)[0] == 0
    torch.manual_seed(2)
    before = torch.get_rng_state()
    linear = sensitivity(lambda x: 3 * x, image, radius=0.1)[0]
    assert torch.equal(torch.get_rng_state(), before)
    # Changes are uniform in [-0.1, 0.1]: a norm of 0.1 / sqrt(3) per value, beside the image's.
    expected = 0.1 / np.sqrt(3) / float(image.square().mean().sqrt())
    assert linear == pytest.approx(expected, rel=0.05)
