"""Captum's methods through our targets, against gradients taken by hand."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.attribution import Target, resolve_batch
from gsto_viz.attribution.areas import Pixel, RankedRegion
from gsto_viz.attribution.gradients import (
    Explainer,
    estimate_memory,
    saved_bytes,
)
from gsto_viz.attribution.interventions import frozen_twin, tap_output
from gsto_viz.errors import GstoVizError
from gsto_viz.words import methods_at

SHAPE = (1, 4, 18, 26)
TAPS = [f"stage4.branch{r}" for r in range(4)]


@pytest.fixture(name="case")
def _case(toy, view):
    model = toy.network()
    entries = resolve_batch(Target(RankedRegion("car")), view, SHAPE)
    return model, toy.picture(), entries


def by_hand(model, image, entries):
    """The four branches as leaves, and the gradients of the score with respect to them."""
    with torch.no_grad():
        branches = [b.requires_grad_() for b in model.branches(image)[0]]
    with torch.enable_grad():
        score = entries[0].scores(model.head(branches)[0].flatten(1))[0]
        return branches, torch.autograd.grad(score, branches)


def test_gradient_times_activation_and_grad_cam(case):
    branches, gradients = by_hand(*case)
    explainer = Explainer(*case)
    found = explainer.run("gradient_x_activation").maps
    cams = explainer.run("grad_cam").maps
    shown = explainer.run("activation").maps
    for tap, feature, gradient in zip(TAPS, branches, gradients, strict=True):
        product = (feature * gradient).sum(dim=1).detach()
        np.testing.assert_allclose(found[tap], product, atol=1e-12)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        np.testing.assert_allclose(cams[tap], (weights * feature).sum(dim=1).detach(), atol=1e-12)
        np.testing.assert_allclose(shown[tap], feature.sum(dim=1).detach(), atol=1e-10)


def test_integrated_gradients_against_gauss_legendre(case):
    model, image, entries = case
    steps = 6
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    with torch.no_grad():
        end = model.branches(image)[0]
        start = model.branches(torch.zeros_like(image))[0]
    totals = [torch.zeros_like(b) for b in end]
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = [(s + node * (e - s)).requires_grad_() for s, e in zip(start, end, strict=True)]
        score = entries[0].scores(model.head(point)[0].flatten(1))[0]
        for k, gradient in enumerate(torch.autograd.grad(score, point)):
            totals[k] += weight * gradient
    found = Explainer(model, image, entries).run("integrated_gradients", steps=steps)
    for k, tap in enumerate(TAPS):
        expected = (totals[k] * (end[k] - start[k])).sum(dim=1)
        np.testing.assert_allclose(found.maps[tap], expected, atol=1e-9)
    many = Explainer(model, image, entries).run("integrated_gradients", steps=100)
    change = sum(t[0] for t in many.totals.values())
    with torch.no_grad():
        scores = [entries[0].scores(model.head(b)[0].flatten(1))[0] for b in (end, start)]
    assert change == pytest.approx(float(scores[0] - scores[1]), rel=2e-2)
    assert abs(many.delta[0]) < 0.02 * abs(change)


def test_a_single_tap_has_a_delta_of_its_own(case):
    found = Explainer(*case).run("integrated_gradients", "stage2.m0.branch1.pre", steps=40)
    assert abs(found.delta[0]) < 0.05 * abs(found.totals["stage2.m0.branch1.pre"][0]) + 1e-3


def test_conductance_of_all_branches_is_the_change_of_the_score(case):
    model, image, entries = case
    explainer = Explainer(model, image, entries)
    found = explainer.run("conductance", steps=24)
    with torch.no_grad():
        start = entries[0].scores(model(torch.zeros_like(image)).logits[0].flatten(1))[0]
    change = explainer.scores()[0] - float(start)
    assert sum(t[0] for t in found.totals.values()) == pytest.approx(change, rel=0.1)


def test_methods_on_the_image(case):
    model, image, entries = case
    explainer = Explainer(model, image, entries)
    leaf = image.clone().requires_grad_()
    score = entries[0].scores(model(leaf).logits[0].flatten(1))[0]
    (gradient,) = torch.autograd.grad(score, leaf)
    expected = gradient.abs().sum(dim=1)
    np.testing.assert_allclose(explainer.run("saliency").maps["input"], expected, atol=1e-12)
    still = explainer.run("smooth_grad", samples=2, noise=0.0)
    np.testing.assert_allclose(still.maps["input"], expected, atol=1e-12)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, two = (explainer.run("smooth_grad", samples=3, seed=k).maps["input"] for k in (1, 2))
    again = explainer.run("smooth_grad", samples=3, seed=1).maps["input"]
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, two)


def test_each_image_of_a_batch_has_its_own_target(toy, view):
    model, images = toy.network(), toy.picture(count=2)
    targets = [Target(Pixel(60, 33, "car")), Target(Pixel(5, 5, "sky"))]
    both = resolve_batch(targets, view, (2, *SHAPE[1:]))
    explainer = Explainer(model, images, both)
    for method in methods_at("taps"):
        found = explainer.run(method, "stage3.branch1", steps=2)
        for k in range(2):
            alone = Explainer(model, images[k : k + 1], [both[k]])
            expected = alone.run(method, "stage3.branch1", steps=2).maps["stage3.branch1"][0]
            np.testing.assert_allclose(found.maps["stage3.branch1"][k], expected, atol=1e-9)
    saliency = explainer.run("saliency").maps["input"]
    np.testing.assert_allclose(
        saliency[1],
        Explainer(model, images[1:], [both[1]]).run("saliency").maps["input"][0],
        atol=1e-12,
    )
    smooth = explainer.run("smooth_grad", samples=2, noise=0.0).maps["input"]
    np.testing.assert_allclose(smooth, saliency, atol=1e-12)


def test_chunks_do_not_matter(case):
    model, image, entries = case
    explainer = Explainer(model, image, entries)
    estimate = estimate_memory(explainer.model, image, TAPS, 8, 2**40)
    whole = explainer.run("integrated_gradients", steps=8)
    parts = explainer.run("integrated_gradients", steps=8, budget=2 * estimate.per_row + 1)
    assert (whole.memory.rows, parts.memory.rows) == (8, 2)
    for tap in TAPS:
        np.testing.assert_allclose(parts.maps[tap], whole.maps[tap], atol=1e-10)


def test_the_estimate_is_announced_before_and_refused_over_budget(case):
    said = []
    explainer = Explainer(*case, announce=said.append)
    explainer.run("integrated_gradients", steps=3)
    assert len(said) == 1
    assert "of 3 steps at once" in said[0]
    with pytest.raises(GstoVizError, match="one step of 1 images 70x101 takes about"):
        explainer.run("integrated_gradients", budget=1000)


def test_saved_bytes_of_a_known_network():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    twin, image = frozen_twin(net), torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    relu = 4 * 64 * 8  # the ReLU keeps its result, which the last convolution keeps too
    first = 3 * 64 * 8
    assert saved_bytes(twin, image, None) == relu + first + 3 * relu + first
    assert saved_bytes(twin, image, ["1"]) == relu + 3 * relu + first


def test_the_estimate_grows_with_the_area(toy):
    twin = frozen_twin(toy.network())
    small, large = (saved_bytes(twin, toy.picture(size=(n, n)), None) for n in (128, 256))
    assert large == pytest.approx(4 * small, rel=0.02)
    estimate = estimate_memory(twin, toy.picture(size=(256, 256)), None, 4, 2**40)
    assert estimate.per_row == pytest.approx(large, rel=0.02)


def test_nothing_of_the_network_changes(case):
    model, image, entries = case
    model.train()
    model.stem.eval()
    flags = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    explainer = Explainer(model, image, entries)
    for method in methods_at("taps"):
        explainer.run(method, "stage4.branch0", steps=2)
    for method in methods_at("image"):
        explainer.run(method, samples=2)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not image.requires_grad


def test_a_twin_shares_weights_and_no_hooks(toy):
    model = toy.network()
    handle = model.stem.register_forward_hook(lambda *_: None)
    lock = threading.Lock()  # would not survive a deep copy
    held = model.head.register_forward_hook(lambda *_, lock=lock: None)
    twin = frozen_twin(model)
    shared = zip(model.state_dict().values(), twin.state_dict().values(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in shared)
    assert not any(m._forward_hooks for m in twin.modules())
    assert not any(p.requires_grad for p in twin.parameters())
    assert not twin.training
    handle.remove()
    held.remove()
    tap = tap_output(twin.stem)
    assert tap_output(twin.stem) is tap
    with torch.no_grad():
        torch.testing.assert_close(twin(toy.picture()).logits, model(toy.picture()).logits)


def test_wrong_requests(case):
    model, image, entries = case
    explainer = Explainer(model, image, entries)
    with pytest.raises(GstoVizError, match="unknown method 'lime'; choose activation"):
        explainer.run("lime")
    with pytest.raises(GstoVizError, match="unknown method 'shapley'; choose activation"):
        explainer.run("shapley")
    with pytest.raises(GstoVizError, match="did you mean stage4"):
        explainer.run("grad_cam", "stage4.brnch0")
    with pytest.raises(GstoVizError, match="give images of one size"):
        explainer.run("integrated_gradients", baseline=image[..., :5])
    with pytest.raises(GstoVizError, match="2 targets for axis 0 of the images"):
        Explainer(model, image, list(entries) * 2)
