"""The head split by branch, shares and Shapley values, each by a slower road."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import FeatureAblation, ShapleyValues
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gsto_viz.attribution import (
    Baseline,
    Target,
    branch_shapley,
    exact_shapley,
    head_pass,
    image_baseline,
    mean_baseline,
    region_entries,
    region_shapley,
    resolve,
    shapley_maps,
    zero_baseline,
)
from gsto_viz.attribution.areas import RankedRegion
from gsto_viz.attribution.gradients import Explainer
from gsto_viz.attribution.head import coalition_logits, find_head, split_head
from gsto_viz.errors import GstoVizError
from gsto_viz.models import build_model, initialize
from gsto_viz.regions import find_regions, prepare_regions

HEADS = [
    ("hrnetv2-tiny", "main", {}),
    ("hrnetv2-tiny", "main", {"align_corners": True}),
    ("gsto-hrnet-tiny", "main", {}),
    ("gsto-hrnet-tiny", "stage3", {}),
    ("gsto-hrnet-tiny", "stage2", {"align_corners": True}),
]


def brute_force(players, value):
    """Shapley values as the mean gain over all orders in which the players can arrive."""
    total = np.zeros(players)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        present = set()
        for player in order:
            before = value(frozenset(present))
            present.add(player)
            total[player] += value(frozenset(present)) - before
    return total / len(orders)


def test_shapley_values_of_a_random_game():
    values = np.random.default_rng(0).normal(size=16)
    expected = brute_force(4, lambda s: values[sum(1 << r for r in s)])
    np.testing.assert_allclose(exact_shapley(values), expected, atol=1e-13)
    assert exact_shapley(values).sum() == pytest.approx(values[15] - values[0])


def test_shapley_values_of_known_games():
    # Glove game: player 0 has a left glove, 1 and 2 a right one: 2/3, 1/6, 1/6.
    pair = np.array([bool(s & 1) and bool(s & 6) for s in range(8)], float)
    np.testing.assert_allclose(exact_shapley(pair), [2 / 3, 1 / 6, 1 / 6])
    additive = np.array([bool(s & 1) * 3.0 - bool(s & 2) * 5.0 for s in range(4)])
    np.testing.assert_allclose(exact_shapley(additive), [3, -5])
    with pytest.raises(GstoVizError, match="3 coalitions are not a power of two"):
        exact_shapley(np.zeros(3))


@pytest.mark.parametrize(("name", "head", "options"), HEADS)
def test_contributions_sum_to_the_head(toy, name, head, options):
    model, image = toy.network(name, **options), toy.picture()
    seen = head_pass(model, image, head)
    module = model.get_submodule(find_head(model, head).module)
    total = sum(seen.contributions) + seen.head.bias[:, None, None]
    with torch.no_grad():
        expected = module.bn(module.conv(module.gather(seen.branches)))
        logits = module(seen.branches)
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(seen.logits, logits, rtol=0, atol=1e-11)
    found = seen.head.logits(total.flatten(2)).view_as(logits)
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-11)


def test_a_head_with_folded_batch_norm_gives_the_same(toy):
    model, image = toy.network(), toy.picture()
    entries = region_entries(find_regions(toy.annotation()), (1, 4, 18, 26))
    before = branch_shapley(head_pass(model, image), zero_baseline(model), entries)
    model.head.conv = fuse_conv_bn_eval(model.head.conv, model.head.bn)
    model.head.bn = nn.Identity()
    after = branch_shapley(head_pass(model, image), zero_baseline(model), entries)
    np.testing.assert_allclose(after.psi, before.psi, atol=1e-10)
    np.testing.assert_allclose(after.phi, before.phi, atol=1e-10)


def coalition_by_hand(model, head, seen, baseline, present):
    """Logits of the network's own head, absent branches replaced by their baseline."""
    branches = [
        own if r in present else absent.expand(own.shape)
        for r, (own, absent) in enumerate(zip(seen.branches, baseline.features, strict=True))
    ]
    with torch.no_grad():
        return model.get_submodule(find_head(model, head).module)(branches)


def baselines_of(toy, model, head):
    images = [toy.picture(5, (64, 96))[0].float(), toy.picture(6)[0].float()]
    twin = toy.network("gsto-hrnet-tiny").float() if model.config.gating else None
    mean = mean_baseline(twin, images, head) if twin is not None else zero_baseline(model, head)
    mean = Baseline(mean.name, tuple(f.double() for f in mean.features), head)
    return [zero_baseline(model, head), mean, image_baseline(model, toy.picture(7), head)]


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize(
    ("name", "head"), [("gsto-hrnet-tiny", "main"), ("gsto-hrnet-tiny", "stage3")]
)
def test_region_values_against_all_orders(toy, name, head, kind):
    model, image = toy.network(name), toy.picture()
    baseline = baselines_of(toy, model, head)[kind]
    regions = find_regions(toy.annotation())
    seen = head_pass(model, image, head)
    entries = region_entries(regions, tuple(seen.logits.shape))
    found = branch_shapley(seen, baseline, entries)

    def margin(present, k):
        logits = coalition_by_hand(model, head, seen, baseline, present)[0].numpy()
        total, count = 0.0, 0
        for y, x in np.argwhere(regions.ids == k + 1):
            if regions.part[k] == "core" and regions.distance_px[y, x] <= 8:
                continue
            column = logits[:, y // 4, x // 4]
            own = int(regions.class_id[k])
            total += column[own] - max(np.delete(column, own))
            count += 1
        return total / count

    branches = len(seen.branches)
    for k in (2, 3):
        cache = {}

        def value(present, k=k, cache=cache):
            if present not in cache:
                cache[present] = margin(present, k)
            return cache[present]

        np.testing.assert_allclose(found.psi[:, k], brute_force(branches, value), atol=1e-9)
        full = frozenset(range(branches))
        assert found.present[k] == pytest.approx(value(full), abs=1e-9)
        assert found.absent[k] == pytest.approx(value(frozenset()), abs=1e-9)
        drops = [value(full) - value(full - {r}) for r in range(branches)]
        np.testing.assert_allclose(found.ablation[:, k], drops, atol=1e-9)
    assert found.efficiency_error < 1e-9
    assert found.sum_error < 1e-12


def test_captum_agrees(toy, view):
    model, image = toy.network(), toy.picture()
    seen, baseline = head_pass(model, image), zero_baseline(model)
    target = Target(RankedRegion("car"))
    entries = resolve(target, view, tuple(seen.logits.shape))
    found = branch_shapley(seen, baseline, entries)

    def score(*branches):
        with torch.no_grad():
            return entries.scores(model.head(branches).flatten(2))[:, 0]

    masks = tuple(torch.full_like(f, r, dtype=torch.long) for r, f in enumerate(seen.branches))
    absent = tuple(b.expand(f.shape) for b, f in zip(baseline.features, seen.branches, strict=True))
    for method, ours in ((ShapleyValues, found.psi), (FeatureAblation, found.ablation)):
        theirs = method(score).attribute(seen.branches, baselines=absent, feature_mask=masks)
        values = [float(part.flatten()[0]) for part in theirs]
        np.testing.assert_allclose(ours[:, 0], values, rtol=1e-5)  # Captum adds up in float32


def test_shares_sum_to_one_and_are_shapley_values_of_the_energy(toy):
    model, image = toy.network(), toy.picture()
    seen, baseline = head_pass(model, image), image_baseline(model, toy.picture(7))
    regions = find_regions(toy.annotation())
    entries = region_entries(regions, tuple(seen.logits.shape), part="whole")
    phi = branch_shapley(seen, baseline, entries).phi
    np.testing.assert_allclose(phi.sum(axis=0), 1, atol=1e-12)
    module = model.head
    with torch.no_grad():
        hidden = {}
        for present in itertools.chain.from_iterable(
            itertools.combinations(range(4), n) for n in range(5)
        ):
            branches = [
                own if r in present else absent
                for r, (own, absent) in enumerate(
                    zip(seen.branches, baseline.features, strict=True)
                )
            ]
            hidden[frozenset(present)] = module.bn(module.conv(module.gather(branches)))[0].numpy()
    for k in (0, 2):
        weights = np.zeros(seen.logits.shape[-2:])
        for y, x in np.argwhere(regions.ids == k + 1):
            weights[y // 4, x // 4] += 1

        def energy(present, weights=weights):
            difference = hidden[present] - hidden[frozenset()]
            return float((weights * (difference**2).sum(axis=0)).sum())

        expected = brute_force(4, energy) / energy(frozenset(range(4)))
        np.testing.assert_allclose(phi[:, k], expected, atol=1e-10)


class Mixed(nn.Module):
    """A last fusion whose output goes through an invertible 1x1 mix of its channels."""

    def __init__(self, inner, matrix):
        super().__init__()
        self.inner, self.matrix = inner, matrix

    def forward(self, terms):
        return torch.einsum("dc,nchw->ndhw", self.matrix, self.inner(terms))


@pytest.mark.parametrize("kind", ["gains", "mixes"])
def test_nothing_changes_under_what_the_head_can_undo(toy, kind):
    regions = find_regions(toy.annotation())
    images = [toy.picture(5)[0], toy.picture(6)[0]]

    def explain(model):
        with torch.no_grad():
            branches = [model.branches(image[None])[0] for image in images]
        means = tuple(
            torch.stack([b[r].mean(dim=(0, 2, 3)) for b in branches]).mean(dim=0)[
                None, :, None, None
            ]
            for r in range(4)
        )
        return region_shapley(model, toy.picture(), regions, Baseline("mean", means)).table

    model = toy.network()
    before = explain(model)
    rng = np.random.default_rng(1)
    start, fusion = 0, model.stage4[-1].fusion
    with torch.no_grad():
        for r, channels in enumerate(model.config.widths):
            if kind == "gains":
                matrix = np.diag(np.exp(rng.normal(size=channels)))
            else:
                matrix = rng.normal(size=(channels, channels)) + 2 * np.eye(channels)
            mix = torch.from_numpy(matrix)
            fusion.targets[r] = Mixed(fusion.targets[r], mix)
            columns = model.head.conv.weight[:, start : start + channels, 0, 0]
            model.head.conv.weight[:, start : start + channels, 0, 0] = columns @ mix.inverse()
            start += channels
    after = explain(model)
    np.testing.assert_allclose(after.to_numpy(), before.to_numpy(), atol=1e-10)


def test_the_region_table_and_its_order(toy):
    model, image = toy.network(), toy.picture()
    regions = find_regions(toy.annotation())
    result = region_shapley(model, image, regions, zero_baseline(model))
    columns = ["region", "margin", "margin_base"]
    columns += [f"{kind}_{r}" for kind in ("phi", "psi") for r in range(4)]
    assert list(result.table.columns) == columns
    assert result.table["region"].tolist() == [1, 2, 3, 4, 5]
    total = result.table[[f"psi_{r}" for r in range(4)]].sum(axis=1)
    np.testing.assert_allclose(total, result.table["margin"] - result.table["margin_base"])
    prepared = prepare_regions(toy.annotation())
    again = region_shapley(model, image, prepared, zero_baseline(model)).table
    pd.testing.assert_frame_equal(again, result.table)
    cores = region_shapley(model, image, regions, zero_baseline(model), part="core").table
    pole = [k for k in range(5) if regions.core_area_px[k] == 0]
    assert cores.loc[pole].drop(columns="region").isna().all(axis=None)
    assert cores.drop(index=pole).notna().all(axis=None)
    other = region_shapley(model, image, regions, zero_baseline(model), classes=np.full(5, 2)).table
    assert not np.allclose(other["margin"], result.table["margin"])


def test_maps_add_up_and_average_to_regions(toy):
    model, image = toy.network(), toy.picture()
    seen, baseline = head_pass(model, image), zero_baseline(model)
    maps = shapley_maps(seen, baseline, 1)
    assert maps.shape == (4, 18, 26)
    regions = find_regions(toy.annotation())
    entries = region_entries(regions, (1, 4, 18, 26), part="whole", classes=np.ones(5, int))
    psi = branch_shapley(seen, baseline, entries).psi
    for k in range(5):
        inside = np.argwhere(regions.ids == k + 1)
        mean = np.mean([maps[:, y // 4, x // 4] for y, x in inside], axis=0)
        np.testing.assert_allclose(psi[:, k], mean, atol=1e-10)
    per_cell = shapley_maps(seen, baseline, np.ones((18, 26), dtype=np.int64))
    np.testing.assert_array_equal(per_cell, maps)


def test_chunks_do_not_matter(toy):
    model, image = toy.network(), toy.picture()
    seen = head_pass(model, image)
    deltas = [c[0].flatten(1) for c in seen.contributions]
    base = seen.head.bias[:, None].expand(-1, deltas[0].shape[1])
    whole = [logits for _, logits in coalition_logits(seen.head, base, deltas, chunk=10**6)]
    parts = [logits for _, logits in coalition_logits(seen.head, base, deltas, chunk=7)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole[0], rtol=0, atol=1e-12)


def test_the_network_stays_as_it_is(toy):
    model = toy.network().train()
    model.stem.eval()
    flags = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    region_shapley(model, toy.picture(), find_regions(toy.annotation()), zero_baseline(model))
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_cannot_be_split_says_so(toy):
    model = toy.network("hrnetv2-tiny")
    with pytest.raises(GstoVizError, match="no head 'stage3'; it has main"):
        find_head(model, "stage3")
    with pytest.raises(GstoVizError, match="Sequential declares no head"):
        find_head(nn.Sequential())
    with pytest.raises(GstoVizError, match="Conv2d is not a head of a convolution"):
        split_head(nn.Conv2d(3, 4, 1), [3])
    with pytest.raises(GstoVizError, match="reads 60 channels and its branches have 4"):
        split_head(model.head, [4, 8])
    regions = find_regions(toy.annotation())
    with pytest.raises(GstoVizError, match="explain one image at a time"):
        region_shapley(model, toy.picture(count=2), regions, zero_baseline(model))
    with pytest.raises(GstoVizError, match="give one as a baseline"):
        image_baseline(model, toy.picture(count=2))
    entries = region_entries(regions, (1, 4, 18, 26))
    other = replace(entries, grid=(9, 13))
    with pytest.raises(GstoVizError, match=r"grid of \(9, 13\) cells and axes 2 and 3"):
        branch_shapley(head_pass(model, toy.picture()), zero_baseline(model), other)
    one = replace(entries, count=1, target=np.zeros_like(entries.target), grid=(9, 13))
    with pytest.raises(GstoVizError, match=r"grid of \(9, 13\) cells and axes 2 and 3"):
        Explainer(model, toy.picture(), [one]).scores()
    small = image_baseline(model, toy.picture(size=(64, 64)))
    with pytest.raises(GstoVizError, match="take an image of the same size"):
        region_shapley(model, toy.picture(), regions, small)
    gated = toy.network()
    seen, entries = head_pass(gated, toy.picture()), region_entries(regions, (1, 4, 18, 26))
    with pytest.raises(GstoVizError, match="is of head stage3 and head main is explained"):
        branch_shapley(seen, zero_baseline(gated, "stage3"), entries)


def test_a_head_with_dropout_is_split_exactly_in_evaluation():
    torch.manual_seed(0)
    plain = build_model("gsto-hrnet-tiny", num_classes=3)
    dropping = build_model("gsto-hrnet-tiny", num_classes=3, head_dropout=0.5).train()
    initialize(plain, "kaiming")
    dropping.load_state_dict(plain.state_dict())
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = [head_pass(network, image) for network in (plain, dropping)]
    for seen in found:
        hidden = sum(seen.contributions) + seen.head.bias[:, None, None]
        again = seen.head.logits(hidden[0].flatten(1)).view(seen.logits[0].shape)
        torch.testing.assert_close(again, seen.logits[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(found[0].logits, found[1].logits)
    assert dropping.training
