"""UPerNet, DeepLabV3+ and FCN: a functional forward, costs by hand, places, bad input."""

import pytest
import torch
from networks import enliven
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gsto_viz.attribution.interventions import captured, constant, intervene, replaced
from gsto_viz.errors import GstoVizError
from gsto_viz.models import build_model, count_costs, load_official, to_official_keys
from gsto_viz.models.config import HEADS
from gsto_viz.models.costs import cost_row
from gsto_viz.models.equalizer import sites
from gsto_viz.models.heads import DECODERS
from gsto_viz.models.official import load_official_model
from gsto_viz.models.registry import ARCHITECTURES, model_config, registered
from gsto_viz.models.relation import Relation

MODULES = ("upernet", "deeplabv3plus", "fcn", "rsp")
State = dict[str, Tensor]


def drawn(name: str, **options: object) -> nn.Module:
    """Build a network of float64 whose batch norms and equalizers do something, from one seed."""
    torch.manual_seed(7)
    model = build_model(name, num_classes=3, **options).double().eval()
    enliven(model)
    for one in sites(model).values():
        one.mean.fill_(float(torch.randn(())))
        one.deviation.fill_(float(torch.rand(())) + 0.5)
    return model


def normed(x: Tensor, state: State, name: str) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)


def unit(x: Tensor, state: State, name: str, *, rate: int = 1, step: int = 1) -> Tensor:
    """Convolution, batch norm, ReLU; a kernel of one input channel reads each channel alone."""
    weight = state[f"{name}.conv.weight"]
    groups = x.shape[1] // weight.shape[1]
    pad = rate * (weight.shape[-1] // 2)
    x = F.conv2d(x, weight, stride=step, padding=pad, dilation=rate, groups=groups)
    return F.relu(normed(x, state, f"{name}.bn"))


def separable(x: Tensor, state: State, name: str, rate: int = 1) -> Tensor:
    assert state[f"{name}.depthwise.conv.weight"].shape[1:] == (1, 3, 3)
    x = unit(x, state, f"{name}.depthwise", rate=rate)
    return unit(x, state, f"{name}.pointwise")


def up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def joined(maps: list[Tensor], state: State, place: str) -> Tensor:
    """Concatenate, with (x - mean) / deviation of each map where the network has equalizers."""
    if f"{place}.equalizers.0.mean" in state:
        maps = [
            (x - state[f"{place}.equalizers.{r}.mean"]) / state[f"{place}.equalizers.{r}.deviation"]
            for r, x in enumerate(maps)
        ]
    return torch.cat(maps, dim=1)


def block(x: Tensor, state: State, name: str, step: int, rate: int) -> Tensor:
    out = F.conv2d(x, state[f"{name}.conv1.weight"], stride=step, padding=rate, dilation=rate)
    out = F.relu(normed(out, state, f"{name}.bn1"))
    out = F.conv2d(out, state[f"{name}.conv2.weight"], padding=rate, dilation=rate)
    out = normed(out, state, f"{name}.bn2")
    if f"{name}.shortcut.conv.weight" in state:
        x = F.conv2d(x, state[f"{name}.shortcut.conv.weight"], stride=step)
        x = normed(x, state, f"{name}.shortcut.bn")
    return F.relu(out + x)


def stages(image: Tensor, state: State, *, dilated: bool) -> list[Tensor]:
    """C2 to C5 of a ResNet of one basic block a stage."""
    weight = state["backbone.stem.conv.weight"]
    x = F.conv2d(image, weight, stride=2, padding=3)
    x = F.max_pool2d(F.relu(normed(x, state, "backbone.stem.bn")), 3, stride=2, padding=1)
    found = []
    steps, rates = ((1, 2, 1, 1), (1, 1, 2, 4)) if dilated else ((1, 2, 2, 2), (1, 1, 1, 1))
    for number, (step, rate) in enumerate(zip(steps, rates, strict=True), 1):
        x = block(x, state, f"backbone.layer{number}.0", step, rate)
        found.append(x)
    return found


def upernet(image: Tensor, state: State, lifted: tuple[int, ...] = (0, 1, 2)) -> dict[str, Tensor]:
    """UPerNet; a sum that is not in ``lifted`` gets nothing from the next coarser one."""
    c2, c3, c4, c5 = stages(image, state, dilated=False)
    pooled = {
        cells: unit(F.adaptive_avg_pool2d(c5, cells), state, f"head.context.scales.{k}.unit")
        for k, cells in ((1, 2), (2, 1))
    }
    inner = joined([c5, *(up(x, c5) for x in pooled.values())], state, "head.context")
    p5 = unit(inner, state, "head.context.fuse")
    l4, l3, l2 = (unit(x, state, f"head.laterals.{k}") for k, x in ((2, c4), (1, c3), (0, c2)))
    s4 = l4 + up(p5, c4) if 2 in lifted else l4
    s3 = l3 + up(s4, c3) if 1 in lifted else l3
    s2 = l2 + up(s3, c2) if 0 in lifted else l2
    maps = [unit(x, state, f"head.smooth.{k}") for k, x in enumerate((s2, s3, s4))] + [p5]
    places = {f"pyramid.branch{k}": x for k, x in enumerate(maps)}
    places |= {f"head.pooled.{cells}x{cells}": x for cells, x in pooled.items()}
    places |= {f"pyramid.branch{k}.pre": x for k, x in enumerate((l2, l3, l4, p5))}
    hidden = unit(joined([up(x, c2) for x in maps], state, "head"), state, "head.fuse")
    return places | classified(hidden, state)


def deeplabv3plus(image: Tensor, state: State) -> dict[str, Tensor]:
    c2, _, _, c5 = stages(image, state, dilated=True)
    low = unit(c2, state, "head.low")
    scales = [unit(c5, state, "head.context.scales.1")]
    scales += [
        separable(c5, state, f"head.context.scales.{k}", rate)
        for k, rate in ((2, 2), (3, 4), (4, 6))
    ]
    mean = c5.mean(dim=(2, 3), keepdim=True)
    scales.append(unit(mean, state, "head.context.scales.5.unit"))
    inner = joined([up(x, c5) for x in scales], state, "head.context")
    wide = up(unit(inner, state, "head.context.fuse"), c2)
    hidden = separable(joined([low, wide], state, "head"), state, "head.fuse.0")
    hidden = separable(hidden, state, "head.fuse.1")
    places = {f"pyramid.branch{k}": x for k, x in enumerate((low, *scales))}
    return places | classified(hidden, state)


def fcn(image: Tensor, state: State) -> dict[str, Tensor]:
    maps = stages(image, state, dilated=False)
    hidden = unit(joined([up(x, maps[0]) for x in maps], state, "head"), state, "head.fuse")
    return {f"pyramid.branch{k}": x for k, x in enumerate(maps)} | classified(hidden, state)


def listened(
    fine: Tensor, coarse: Tensor, state: State, name: str, heads: int
) -> tuple[Tensor, Tensor]:
    """Bring the coarse map to every fine pixel and shift it, one cell of the window at a time."""
    q, k, v = (
        F.conv2d(x, state[f"{name}.{part}.weight"])
        for part, x in (("query", fine), ("key", coarse), ("value", coarse))
    )
    rows, columns = state[f"{name}.rows"], state[f"{name}.columns"]
    side, depth = rows.shape[-1], 2 * rows.shape[1]
    scores, taken = [], []
    for dy in range(side):
        for dx in range(side):
            y = torch.arange(fine.shape[-2]) // 2 + dy - side // 2
            x = torch.arange(fine.shape[-1]) // 2 + dx - side // 2
            outside = ((y < 0) | (y >= k.shape[-2]))[:, None] | (x < 0) | (x >= k.shape[-1])
            y, x = y.clamp(0, k.shape[-2] - 1), x.clamp(0, k.shape[-1] - 1)
            place = torch.cat([rows[..., dy], columns[..., dx]], 1).flatten()
            dot = q * (k[:, :, y][..., x] + place[:, None, None])
            score = dot.unflatten(1, (heads, depth)).sum(2) / depth**0.5
            scores.append(score.masked_fill(outside, -torch.inf))
            taken.append(v[:, :, y][..., x].unflatten(1, (heads, depth)))
    weights = torch.stack(scores, 2).softmax(2)
    out = sum(weights[:, :, j, None] * one for j, one in enumerate(taken))
    return out.flatten(1, 2), weights


def rsp(image: Tensor, state: State, **changed: Tensor) -> dict[str, Tensor]:
    return rsp_of(stages(image, state, dilated=False), state, **changed)


def rsp_of(entering: list[Tensor], state: State, **changed: Tensor) -> dict[str, Tensor]:
    """RSP on four maps; map l takes ``to{l}`` instead of what it chooses."""
    own = [unit(x, state, f"head.laterals.{k}") for k, x in enumerate(entering)]
    places = {f"pyramid.branch{k}.pre": x for k, x in enumerate(own)}
    maps = {3: own[3]}
    for k in (2, 1, 0):
        taken, weights = listened(own[k], maps[k + 1], state, f"head.relations.{k}", heads=4)
        places[f"pyramid.relation[{k + 1}->{k}]"] = weights
        taken = changed.get(f"to{k}", taken)
        maps[k] = unit(torch.cat([own[k], taken], 1), state, f"head.smooth.{k}")
    places |= {f"pyramid.branch{k}": x for k, x in maps.items()}
    grown = [up(maps[k], maps[0]) for k in range(4)]
    return places | classified(unit(joined(grown, state, "head"), state, "head.fuse"), state)


def classified(hidden: Tensor, state: State) -> dict[str, Tensor]:
    weight, bias = state["head.classifier.weight"], state["head.classifier.bias"]
    return {"head.logits": F.conv2d(hidden, weight, bias)}


BY_HAND = {"upernet": upernet, "deeplabv3plus": deeplabv3plus, "fcn": fcn, "rsp": rsp}


@pytest.mark.parametrize("equalized", [False, True])
@pytest.mark.parametrize("module", MODULES)
def test_forward_is_that_of_functions(module: str, equalized: bool) -> None:
    model = drawn(f"{module}-tiny", equalized=equalized)
    assert bool(sites(model)) == equalized
    image = torch.randn(2, 3, 61, 90, dtype=torch.float64)
    seen: dict[str, Tensor] = {}
    for tap in model.taps().values():
        model.get_submodule(tap.module).register_forward_hook(
            lambda _m, _i, output, key=tap.name: seen.update({key: output})
        )
    with torch.no_grad():
        logits = model(image).logits
        expected = BY_HAND[module](image, model.state_dict())
    assert logits.shape == (2, 3, 16, 23)
    assert {f"backbone.layer{k}" for k in range(1, 5)} | set(expected) == set(seen)
    for key, value in expected.items():
        torch.testing.assert_close(seen[key], value, rtol=1e-9, atol=1e-12, msg=key)
    torch.testing.assert_close(logits, expected["head.logits"], rtol=1e-9, atol=1e-12)


def test_closing_a_lift_takes_the_coarser_stages_away_from_the_finer_ones_alone() -> None:
    model, image = drawn("upernet-tiny"), torch.randn(1, 3, 64, 96, dtype=torch.float64)
    assert [edge.name for edge in model.anatomy().transfers] == [
        "pyramid.transfer[3->2]",
        "pyramid.transfer[2->1]",
        "pyramid.transfer[1->0]",
    ]
    state = model.state_dict()
    with torch.no_grad(), intervene(model, constant("pyramid.transfer[2->1]", 0.0)):
        closed = model(image).logits
    torch.testing.assert_close(
        closed, upernet(image, state, lifted=(0, 2))["head.logits"], rtol=1e-9, atol=1e-12
    )
    seen: list[Tensor] = []
    model.head.fuse.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    with torch.no_grad():
        model(image)
        with intervene(model, constant("pyramid.branch3", 0.0)):
            model(image)
        with intervene(model, constant("pyramid.branch3.pre", 0.0)):
            model(image)
    whole, after, before = (x.split(8, dim=1) for x in seen)
    # Behind the sums the coarsest map is one of four; in front of them it is in all.
    assert [torch.equal(a, b) for a, b in zip(whole, after, strict=True)] == [True] * 3 + [False]
    assert not any(torch.equal(a, b) for a, b in zip(whole, before, strict=True))
    assert not after[3].any()
    assert not before[3].any()


def test_what_pixels_choose_is_closed_held_and_replaced() -> None:
    model = drawn("rsp-tiny")
    state, edges = model.state_dict(), [one.name for one in model.anatomy().transfers]
    assert edges == [f"pyramid.transfer[{k + 1}->{k}]" for k in (2, 1, 0)]
    image, other = torch.randn(2, 1, 3, 64, 96, dtype=torch.float64).unbind()
    taken = captured(model, image, edges)
    chosen = captured(model, other, edges)["pyramid.transfer[2->1]"]
    assert chosen.abs().max() > 1e-3
    for change, given in (
        (constant(edges[0], 0.0), {"to2": 0 * taken[edges[0]]}),
        (constant(edges[2], 0.5), {"to0": 0 * taken[edges[2]] + 0.5}),
        (replaced(edges[1], chosen, "other"), {"to1": chosen}),
        (replaced(edges[1], taken[edges[1]], "own"), {}),
    ):
        with torch.no_grad(), intervene(model, change):
            found = model(image).logits
        expected = rsp(image, state, **given)["head.logits"]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("equalized", [False, True])
def test_an_hrnet_in_front_of_relations_is_hrnetv2(equalized: bool) -> None:
    """Its branches are those of HRNetV2 under the same weights, and its head that of a ResNet."""
    model, plain = drawn("rsp-hrnet-tiny", equalized=equalized), build_model("hrnetv2-tiny")
    trunk = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    plain = plain.double().eval()
    missing = plain.load_state_dict(trunk, strict=False)
    assert not missing.unexpected_keys
    assert all(key.startswith("head.") for key in missing.missing_keys)
    seen: dict[str, Tensor] = {}
    taps, image = model.taps(), torch.randn(1, 3, 61, 90, dtype=torch.float64)
    for tap in taps.values():
        model.get_submodule(tap.module).register_forward_hook(
            lambda _m, _i, output, key=tap.name: seen.update({key: output})
        )
    with torch.no_grad():
        logits = model(image).logits
        branches, _ = plain.branches(image)
        expected = rsp_of(branches, model.state_dict())
    expected |= {f"stage4.branch{r}": x for r, x in enumerate(branches)}
    assert set(taps) == set(seen)
    for key, value in expected.items():
        torch.testing.assert_close(seen[key], value, rtol=1e-9, atol=1e-12, msg=key)
    torch.testing.assert_close(logits, expected["head.logits"], rtol=1e-9, atol=1e-12)


def test_the_anatomy_of_an_hrnet_with_relations_is_that_of_both() -> None:
    with torch.device("meta"):
        trunk, model = build_model("gsto-hrnet-tiny"), build_model("rsp-hrnet-tiny")
        gated = build_model("rsp-hrnet-tiny", gating={}).anatomy()
    anatomy, before = model.anatomy(), build_model("hrnetv2-tiny").anatomy()
    assert anatomy.branch_taps == tuple(f"pyramid.branch{r}" for r in range(4))
    assert [*anatomy.taps][: len(before.taps) - 1] == [*before.taps][:-1]
    assert list(anatomy.taps)[-1] == "head.logits"
    relations = [f"pyramid.transfer[{r + 1}->{r}]" for r in (2, 1, 0)]
    assert [e.name for e in anatomy.transfers] == [e.name for e in before.transfers] + relations
    (head,) = anatomy.heads
    assert head.sites == (*before.heads[0].sites, "pyramid")
    assert head.inputs == tuple(f"pyramid.branch{r}.pre" for r in range(4))
    assert gated.gates == trunk.anatomy().gates
    assert list(gated.outputs) == ["main", "stage3", "stage2"]


def test_official_weights_fit_the_trunk_alone(caplog, tmp_path) -> None:
    """Whole files of segmentation, too: their head is left out, and said to be."""
    torch.manual_seed(1)
    source, model = build_model("hrnetv2-tiny"), build_model("rsp-hrnet-tiny")
    enliven(source)
    head = {k: v.clone() for k, v in model.head.state_dict().items()}
    report = load_official(model, to_official_keys(source))
    assert report.kind == "backbone"
    assert {key.partition(".")[0] for key in report.ignored} == {"last_layer"}
    assert {key.partition(".")[0] for key in report.missing} == {"head"}
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found, expected = (one.eval().branches(image)[0] for one in (model, source))
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one, two)
    assert all(torch.equal(v, head[k]) for k, v in model.head.state_dict().items())
    with pytest.raises(GstoVizError, match="the official layout has no head of relations"):
        to_official_keys(model)
    torch.save(to_official_keys(source), tmp_path / "whole.pth")
    with caplog.at_level("WARNING", logger="gsto_viz"):
        load_official_model(tmp_path / "whole.pth", arch="rsp-hrnet-tiny")
    assert "that of rsp-hrnet-tiny has no official name; ours is drawn at random" in caplog.text


@pytest.mark.parametrize("name", ["rsp-tiny", "rsp-hrnet-tiny"])
def test_steps_of_training_lower_the_loss(name: str) -> None:
    torch.manual_seed(3)
    model = build_model(name, num_classes=3).train()
    image, labels = torch.randn(2, 3, 64, 96), torch.randint(3, (2, 16, 24))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(model(image).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    for relation in (one for one in model.modules() if isinstance(one, Relation)):
        assert all(bool(p.grad.any()) for p in relation.parameters())


# Cells of strides 2 to 32 in an image of 1024x2048.
S2, S4, S8, S16, S32 = 512 * 1024, 256 * 512, 128 * 256, 64 * 128, 32 * 64
Conv = tuple[int, int]
"""Weights of a convolution, and the cells that it is computed at."""


def resnet50(third: int, fourth: int) -> list[Conv]:
    """Convolutions of ResNet-50 whose stages 3 and 4 have so many cells."""
    convs = [(7 * 7 * 3 * 64, S2)]
    convs += [(64 * 64, S4), (9 * 64 * 64, S4), (64 * 256, S4), (64 * 256, S4)]
    convs += 2 * [(256 * 64, S4), (9 * 64 * 64, S4), (64 * 256, S4)]
    convs += [(256 * 128, S4), (9 * 128 * 128, S8), (128 * 512, S8), (256 * 512, S8)]
    convs += 3 * [(512 * 128, S8), (9 * 128 * 128, S8), (128 * 512, S8)]
    convs += [(512 * 256, S8), (9 * 256 * 256, third), (256 * 1024, third), (512 * 1024, third)]
    convs += 5 * [(1024 * 256, third), (9 * 256 * 256, third), (256 * 1024, third)]
    convs += [(1024 * 512, third), (9 * 512 * 512, fourth), (512 * 2048, fourth)]
    convs += [(1024 * 2048, fourth)]
    convs += 2 * [(2048 * 512, fourth), (9 * 512 * 512, fourth), (512 * 2048, fourth)]
    return convs


BY_ARITHMETIC = {
    "upernet-r50": (
        [
            *resnet50(S16, S32),
            *((2048 * 512, cells) for cells in (36, 9, 4, 1)),
            (9 * (2048 + 4 * 512) * 512, S32),
            *((256 * 512, S4), (512 * 512, S8), (1024 * 512, S16)),
            *((9 * 512 * 512, S4), (9 * 512 * 512, S8), (9 * 512 * 512, S16)),
            (9 * 4 * 512 * 512, S4),
            (512 * 19, S4),
        ],
        ("64.031", "1754.33"),
    ),
    "deeplabv3plus-r50": (
        [
            *resnet50(S8, S8),
            (256 * 48, S4),
            (2048 * 512, S8),
            *(3 * [(9 * 2048, S8), (2048 * 512, S8)]),
            (2048 * 512, 1),
            (9 * 5 * 512 * 512, S8),
            *((9 * 560, S4), (560 * 512, S4), (9 * 512, S4), (512 * 512, S4)),
            (512 * 19, S4),
        ],
        ("41.206", "1303.15"),
    ),
    "fcn-r50": (
        [*resnet50(S16, S32), ((256 + 512 + 1024 + 2048) * 512, S4), (512 * 19, S4)],
        ("25.485", "400.28"),
    ),
    "rsp-r50": (
        [
            *resnet50(S16, S32),
            *((256 * 128, S4), (512 * 128, S8), (1024 * 128, S16), (2048 * 128, S32)),
            *((128 * 128, S4), (128 * 128, S8), (128 * 128, S16)),
            *(2 * [(128 * 128, S8), (128 * 128, S16), (128 * 128, S32)]),
            *((9 * 256 * 128, S4), (9 * 256 * 128, S8), (9 * 256 * 128, S16)),
            *((4 * 128 * 128, S4), (128 * 19, S4)),
        ],
        ("25.103", "226.08"),
    ),
}


@pytest.mark.parametrize("name", BY_ARITHMETIC)
def test_costs_are_those_of_arithmetic(name: str) -> None:
    convs, (params, macs) = BY_ARITHMETIC[name]
    with torch.device("meta"):
        costs = count_costs(build_model(name))
    assert costs.conv_params == sum(weights for weights, _ in convs) + 19
    assert costs.macs == sum(weights * cells for weights, cells in convs)
    assert (f"{costs.params / 1e6:.3f}", f"{costs.macs_gi:.2f}") == (params, macs)
    assert all(place.startswith("auxiliary.") for place in costs.unused)


@pytest.mark.parametrize("size", ["r50", "r18-half"])
def test_relations_cost_less_than_a_third_of_aspp(size: str) -> None:
    """The paper: 75 % fewer than DeepLabV3. Products of attention are added to convolutions."""
    with torch.device("meta"):
        rsp, aspp = (count_costs(build_model(f"{module}-{size}")) for module in ("rsp", "aspp"))
    products = 2 * 9 * {"r50": 128, "r18-half": 64}[size] * (S4 + S8 + S16)
    assert (rsp.attention, aspp.attention) == (products, 0)
    assert rsp.macs + rsp.attention <= 0.3 * aspp.macs
    row = cost_row("rsp", "network", model_config(f"rsp-{size}"), (1024, 2048))
    assert row["note"] == f"attention: {products / 2**30:.3f} Gi multiply-adds more"


def test_torch_counts_the_same_multiply_adds() -> None:
    model, counter = build_model("rsp-tiny").eval(), FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, 64, 96))
    costs = count_costs(model, 64, 96)
    assert counter.get_total_flops() == 2 * (costs.macs + costs.attention)


def test_a_size_that_a_network_does_not_take_has_no_costs_and_says_why() -> None:
    row = cost_row("upernet-r18-half", "network", model_config("upernet-r18-half"), (160, 256))
    assert (row["params"], row["conv_params"], row["macs"], row["macs_gi"]) == (None,) * 4
    assert "5x8 cells of stride 32, and this network needs at least 6x6" in row["note"]


@pytest.mark.parametrize("module", MODULES)
def test_half_width_twins_are_small(module: str) -> None:
    with torch.device("meta"):
        model = build_model(f"{module}-r18-half")
    assert sum(p.numel() for p in model.head.parameters()) <= 900_000
    assert 2 * sum(p.numel() for p in model.parameters()) < 7.5e6


def test_every_row_is_built_and_registered_without_gates() -> None:
    assert set(HEADS) == set(DECODERS)
    for module in MODULES:
        assert list(ARCHITECTURES[module].sizes) == ["r50", "r18-half", "tiny"]
        assert ARCHITECTURES[module].imagenet == {"r50": "torchvision's resnet50"}
        assert f"gsto-{module}-tiny" not in registered()


ANATOMIES = {
    "upernet": (4, 8, 16, 32),
    "deeplabv3plus": (4, 8, "8r12", "8r24", "8r36", "1x1"),
    "fcn": (4, 8, 16, 32),
    "rsp": (4, 8, 16, 32),
}


@pytest.mark.parametrize("module", MODULES)
def test_branches_are_ordered_by_scale(module: str) -> None:
    with torch.device("meta"):
        anatomy = build_model(f"{module}-r50").anatomy()
    assert anatomy.strides == ANATOMIES[module]
    scales = [branch.scale for branch in anatomy.branches]
    assert scales == sorted(set(scales))
    assert anatomy.gates == ()
    assert anatomy.outputs == {"main": "head.logits"}
    # Between the branches of DeepLabV3+ and its classifier stand several ReLUs.
    assert (anatomy.head is None) == (module == "deeplabv3plus")


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("upernet-r18-half", (160, 256), "5x8 cells of stride 32.* at least 6x6 \\(PPM pools to"),
        ("upernet-tiny", (32, 96), "1x3 cells of stride 32.* at least 2x2 \\(PPM pools to"),
        ("deeplabv3plus-tiny", (8, 64), "1x8 cells of stride 8.* at least 2x2 \\(maps of one"),
        ("fcn-tiny", (64, 32), "2x1 cells of stride 32.* at least 2x2 \\(maps of one cell"),
        ("rsp-tiny", (32, 64), "1x2 cells of stride 32.* at least 2x2 \\(maps of one cell"),
        ("rsp-hrnet-tiny", (32, 64), "1x2 cells of .* at least 2x2 \\(pixels choose from 3x3"),
    ],
)
def test_images_below_the_pyramid_are_refused(name, size, message) -> None:
    with torch.device("meta"):
        model = build_model(name).eval()
        with pytest.raises(GstoVizError, match=message):
            model(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("name", ["upernet-tiny", "deeplabv3plus-tiny"])
def test_training_on_one_image_is_refused(name: str) -> None:
    with pytest.raises(GstoVizError, match="two images or more"):
        build_model(name).train()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("upernet-tiny", {"bins": (1,)}, "bins is .1.; a pyramid whose pooled maps all have one"),
        ("upernet-tiny", {"gates": "supervised"}, "gates is 'supervised'; upernet has no gates"),
        ("fcn-tiny", {"gates": "unsupervised"}, "fcn has no gates; choose none"),
        ("deeplabv3plus-tiny", {"deep_supervision": True}, "deeplabv3plus has no predictor"),
        ("deeplabv3plus-tiny", {"low_channels": 0}, "low_channels is 0; it goes from 1 to 4096"),
        ("deeplabv3plus-tiny", {"rates": (1, 4)}, "from 2 to 256"),
    ],
)
def test_configurations_that_make_no_network(name, options, message) -> None:
    with pytest.raises(GstoVizError, match=message):
        model_config(name, **options)
