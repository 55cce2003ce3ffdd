"""Maps at any tap and on the image: by hand with autograd, by removal, and what is refused."""

import importlib
import pkgutil
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gsto_viz import attribution
from gsto_viz.attribution import Target, resolve, resolve_batch, zero_baseline
from gsto_viz.attribution.areas import RankedRegion
from gsto_viz.attribution.explain import explain_target
from gsto_viz.attribution.gradients import Explainer, find_taps
from gsto_viz.attribution.sanity import (
    cell_rectangles,
    removal_infidelity,
    sensitivities,
    sensitivity,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.words import find_method

PARTS = (
    "head", "stage4", "transition3", "stage3", "transition2", "stage2", "transition1", "stage1",
    "stem",
)  # fmt: skip
"""Of our networks, from the output to the input."""

SHAPE = (1, 4, 18, 26)
GATE = "stage3.m0.gate[2->0]"
TAPS = ["stage2.branch*", "stem", "stage3.m0.gate.2to0", "transition2.gate", "stage4.branch3"]
NAMES = ["stage2.branch0", "stage2.branch1", "stem", GATE, "transition2.gate", "stage4.branch3"]
METHODS = ["gradient_x_activation", "integrated_gradients", "saliency", "grad_cam"]


@pytest.fixture(name="found", scope="module")
def _found(toy):
    from gsto_viz.attribution import View

    labels = toy.annotation()
    view = View(np.where(labels == 255, 0, labels), ("road", "car", "pole", "sky"), labels)
    model = toy.network()
    target = Target(RankedRegion("car"))
    entries = resolve(target, view, SHAPE)
    baselines = [zero_baseline(model)]
    options = {"methods": METHODS, "taps": TAPS, "steps": 3}
    found = explain_target(model, toy.picture(), view, target, baselines, **options)
    return model, entries, found


def recorded(model, image, entries, modules):
    """The outputs of modules, and the gradients of the score with respect to them, by autograd."""
    seen = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: seen.__setitem__(name, o)
        )
        for name in modules
    ]
    try:
        with torch.enable_grad():
            score = entries.scores(model(image).logits[0].flatten(1))[0]
            gradients = torch.autograd.grad(score, [seen[name] for name in modules])
    finally:
        for handle in handles:
            handle.remove()
    return {n: seen[n].detach() for n in modules}, dict(zip(modules, gradients, strict=True)), score


def test_the_table_has_a_row_for_every_map(found):
    taps = found[2].taps
    rows = taps.table
    assert rows.columns.tolist() == ["method", "tap", "stride", "total", "delta", "infidelity"]
    assert rows["tap"].tolist() == [*NAMES * 2, *NAMES, "input"]
    assert rows["method"].drop_duplicates().tolist() == [
        "gradient_x_activation", "integrated_gradients", "grad_cam", "saliency",
    ]  # fmt: skip
    assert (rows["method"] + "/" + rows["tap"]).tolist() == list(taps.maps)
    assert rows["stride"].tolist() == [*[4, 8, 4, 16, 8, 32] * 3, 1]
    for row in rows.itertuples():
        one = taps.maps[f"{row.method}/{row.tap}"]
        assert one.shape == (-(-70 // row.stride), -(-101 // row.stride))
        assert row.total == pytest.approx(float(one.sum(dtype=np.float64)), rel=1e-4, abs=1e-4)
    integrated = rows["method"] == "integrated_gradients"
    alone = integrated & (rows["tap"] != "stage4.branch3")
    assert (rows["delta"].notna() == alone).all()
    adds_up = integrated | (rows["method"] == "gradient_x_activation")
    assert (rows["infidelity"].notna() == adds_up).all()


def test_maps_are_gradients_times_features_by_hand(found, toy):
    model, entries, explained = found
    modules = {
        "stem": "stem",
        "stage2.branch1": "stage2.m0.fusion.targets.1",
        GATE: "stage3.m0.fusion.transfers.2to0.gate",
        "transition2.gate": "transition2.gate",
        "stage4.branch3": "stage4.m0.fusion.targets.3",
    }
    features, gradients, _ = recorded(model, toy.picture(), entries, list(modules.values()))
    for tap, module in modules.items():
        feature, gradient = features[module], gradients[module]
        product = (feature * gradient).sum(dim=1)[0]
        given = explained.taps.maps[f"gradient_x_activation/{tap}"]
        np.testing.assert_allclose(given, product, rtol=1e-5, atol=1e-7)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        cam = explained.taps.maps[f"grad_cam/{tap}"]
        np.testing.assert_allclose(cam, (weights * feature).sum(dim=1)[0], rtol=1e-5, atol=1e-7)


def test_saliency_is_the_size_of_the_gradient(found, toy):
    model, entries, explained = found
    leaf = toy.picture().requires_grad_()
    score = entries.scores(model(leaf).logits[0].flatten(1))[0]
    (gradient,) = torch.autograd.grad(score, leaf)
    expected = gradient.abs().sum(dim=1)[0]
    np.testing.assert_allclose(explained.taps.maps["saliency/input"], expected, rtol=1e-5)
    assert explained.taps.strides["saliency/input"] == 1


def test_integrated_gradients_of_a_tap_are_what_exchanging_it_does(toy, view):
    """The change of the score when a hook of our own puts the features of no image in."""
    model = toy.network()
    (entries,) = resolve_batch(Target(RankedRegion("car")), view, SHAPE)
    image, module = toy.picture(), "stage3.m1.fusion.targets.1"
    features, _, score = recorded(model, torch.zeros_like(image), entries, [module])
    handle = model.get_submodule(module).register_forward_hook(lambda m, i, o: features[module])
    with torch.no_grad():
        without = float(entries.scores(model(image).logits[0].flatten(1))[0])
    handle.remove()
    with torch.no_grad():
        score = float(entries.scores(model(image).logits[0].flatten(1))[0])
    explained = explain_target(
        model, image, view, Target(RankedRegion("car")), [zero_baseline(model)],
        methods=["integrated_gradients"], taps=["stage3.m1.branch1"], steps=32,
    )  # fmt: skip
    (row,) = explained.taps.table.to_dict("records")
    change = score - without
    assert row["total"] == pytest.approx(change, rel=0.1)
    assert row["delta"] == pytest.approx(row["total"] - change, abs=1e-9)


def test_taps_of_the_head_keep_their_common_map(found):
    explained = found[2]
    for method in ("gradient_x_activation", "integrated_gradients", "grad_cam"):
        name = f"{method}/stage4.branch3"
        np.testing.assert_array_equal(explained.taps.maps[name], explained.maps[name])
    assert not set(explained.taps.maps) & (set(explained.maps) - {
        f"{m}/stage4.branch3" for m in METHODS
    })  # fmt: skip
    assert "saliency" not in explained.branches["method"].tolist()


def test_infidelity_by_a_loop_over_rectangles(toy, view):
    model, image = toy.network(), toy.picture()
    (entries,) = resolve_batch(Target(RankedRegion("car")), view, SHAPE)
    explainer = Explainer(model, image, [entries])
    values = explainer.run("gradient_x_activation", "stage2.branch1").maps["stage2.branch1"][0]
    found = removal_infidelity(explainer, samples=5, seed=7)
    module = model.get_submodule("stage2.m0.fusion.targets.1")
    top = bottom = 0.0
    with torch.no_grad():
        score = float(entries.scores(model(image).logits[0].flatten(1))[0])
        for mask in cell_rectangles(values.shape, 5, np.random.default_rng(7)):
            foretold = 0.0
            for y, x in np.argwhere(mask):
                foretold += values[y, x]

            def cut(m, i, o, mask=mask):
                o = o.clone()
                o[:, :, torch.from_numpy(mask)] = 0
                return o

            handle = module.register_forward_hook(cut)
            drop = score - float(entries.scores(model(image).logits[0].flatten(1))[0])
            handle.remove()
            top += (foretold - drop) ** 2
            bottom += drop**2
    given = found("gradient_x_activation", "stage2.branch1", values)
    assert given == pytest.approx(top / bottom)
    assert found("gradient_x_activation", "stage2.branch1", 0 * values) == pytest.approx(1)
    assert found("grad_cam", "stage2.branch1", values) is None
    assert not any(m._forward_hooks for m in model.modules())


class Linear(nn.Module):
    """One map, then a linear head without bias: every method that adds up is right."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 5, 1, stride=4, bias=False).double()
        self.head = nn.Conv2d(5, 4, 1, bias=False).double()

    def forward(self, x):
        return self.head(self.first(x))


def test_infidelity_is_zero_where_the_score_is_linear(toy, view):
    torch.manual_seed(0)
    entries = resolve_batch(Target(RankedRegion("car"), "mean"), view, SHAPE)
    explainer = Explainer(Linear(), toy.picture(), entries)
    found = removal_infidelity(explainer)
    for method in ("gradient_x_activation", "integrated_gradients"):
        values = explainer.run(method, "first", steps=2).maps["first"][0]
        assert found(method, "first", values) == pytest.approx(0, abs=1e-20)


def test_rectangles_lie_anywhere_and_the_first_is_everything():
    masks = cell_rectangles((5, 7), 400, np.random.default_rng(0))
    assert masks[0].all()
    for mask in masks[1:]:
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        assert mask.sum() == len(rows) * len(columns) > 0
        assert (np.diff(rows) == 1).all()
        assert (np.diff(columns) == 1).all()
    assert np.any(masks[1:], axis=0).all()
    assert not np.all(masks[1:], axis=0).any()


def test_sensitivity_of_many_maps_beside_captums_of_one(toy):
    image = toy.picture()[..., :24, :24]
    maps = {
        "square": lambda x: x.square(),
        "pool": lambda x: F.avg_pool2d(x, 8),
        "one": lambda x: 0 * x + 1,
    }
    found = sensitivities(
        lambda x: {k: m(x)[0].numpy() for k, m in maps.items()}, image, radius=0.1, samples=40
    )
    assert found["one"] == 0
    for name in ("square", "pool"):
        expected = sensitivity(maps[name], image, radius=0.1, samples=40)[0]
        assert found[name] == pytest.approx(expected, rel=0.15)
    with np.errstate(all="raise"):
        nothing = sensitivities(lambda x: {"zero": np.zeros(3)}, image)
    assert np.isnan(nothing["zero"])


def test_checks_for_every_map_that_is_drawn(toy, view):
    model = toy.network("hrnetv2-tiny")
    explained = explain_target(
        model, toy.picture(), view, Target(RankedRegion("car")), [zero_baseline(model)],
        methods=["gradient_x_activation", "saliency"], taps=["stage2.branch1"], sanity=True,
    )  # fmt: skip
    rows = explained.sanity
    drawn = [f"shapley/branch{r}" for r in range(4)]
    drawn += [name for name in explained.maps if not name.startswith("shapley")]
    drawn += list(explained.taps.maps)
    assert len(set(drawn)) == 4 + 4 + 2
    for name in drawn:
        own = rows[rows["subject"] == name]
        assert own["check"].tolist()[: len(PARTS)] == [
            f"rank correlation, random from {part} on" for part in PARTS
        ]
        assert own["check"].value_counts()["sensitivity (max)"] == 1
        removal = own.loc[own["check"] == "infidelity, cells removed", "value"]
        assert len(removal) == name.startswith("gradient_x_activation")
    table = explained.taps.table.set_index("tap")["infidelity"]
    row = rows[(rows["check"] == "infidelity, cells removed")].set_index("subject")["value"]
    assert row["gradient_x_activation/stage2.branch1"] == pytest.approx(table["stage2.branch1"])


class Odd(nn.Module):
    """Called twice, never called, no map, no way to the logits."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 1)
        self.never = nn.Conv2d(3, 3, 1)
        self.flat = nn.Flatten()
        self.aside = nn.Conv2d(3, 3, 1)
        self.last = nn.Conv2d(3, 4, 1, stride=4)

    def forward(self, x):
        self.aside(x)
        self.flat(x)
        return self.last(self.twice(self.twice(x)))


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("twice", "twice is called 2 times in a forward pass"),
        ("never", "never is called 0 times in a forward pass"),
        ("flat", r"flat gives a tensor of shape \(1, 49152\) and no map"),
        ("aside", "the logits of head main do not depend on aside"),
        ("last#0", "'last#0' is one part of what a module gives"),
        ("lost", "no module of Odd is called 'lost'"),
    ],
)
def test_places_that_cannot_be_explained(tap, message):
    model = Odd()
    with pytest.raises(GstoVizError, match=message):
        find_taps(model, torch.zeros(1, 3, 8, 8), [tap])
    assert not any(m._forward_hooks for m in model.modules())


def test_strides_are_counted_where_no_network_says_them():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True))
    net.append(nn.Conv2d(4, 4, 3, stride=2, padding=1))
    found = find_taps(net, torch.zeros(1, 3, 30, 50), ["0", "1", "2"])
    assert found == {"0": 2, "1": 2, "2": 4}


def test_heads_that_a_tap_does_not_reach(toy):
    with pytest.raises(GstoVizError, match=r"head stage2 do not depend on stage4\.branch0"):
        find_taps(toy.network(), toy.picture(), ["stage4.branch*"], head="stage2")


def test_methods_are_told_apart():
    assert find_method("saliency", "taps", "image").at == "image"
    assert find_method("grad_cam", "taps", "image").at == "taps"
    with pytest.raises(GstoVizError, match="unknown method 'lime'; choose activation"):
        find_method("lime", "taps", "image")
    with pytest.raises(GstoVizError, match="unknown method 'shapley'; choose activation"):
        find_method("shapley", "taps", "image")


def test_no_module_hides_a_public_name():
    for module in pkgutil.iter_modules(attribution.__path__):
        importlib.import_module(f"{attribution.__name__}.{module.name}")
    hidden = [n for n in attribution.__all__ if isinstance(getattr(attribution, n), ModuleType)]
    assert hidden == []
