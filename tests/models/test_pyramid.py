"""PPM and ASPP: literal loops, counts of the paper's reference sizes, switches, bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import enliven
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gsto_viz.errors import GstoVizError
from gsto_viz.models import ModelInfo, build_model, count_costs, load_checkpoint, save_checkpoint
from gsto_viz.models.config import PyramidConfig
from gsto_viz.models.costs import cost_row
from gsto_viz.models.losses import segmentation_loss
from gsto_viz.models.registry import ARCHITECTURES, registered
from gsto_viz.models.resnet import imagenet_name, load_imagenet
from gsto_viz.train.build import build_for
from gsto_viz.train.recipe import Recipe
from gsto_viz.types import ClassInfo, ClassList

NAMES = [
    f"{start}{module}-{size}{end}"
    for module in ("ppm", "aspp")
    for start in ("", "gsto-")
    for size in ("r50", "r18-half", "tiny")
    for end in ("", "-sup")
]
TINY = [name for name in NAMES if "tiny" in name]
ALL_TINY = [*TINY, "upernet-tiny", "deeplabv3plus-tiny", "fcn-tiny", "rsp-tiny"]

COSTS = [
    ("ppm-r50", "46.592", "1318.94"),
    ("gsto-ppm-r50", "46.600", "1319.19"),
    ("gsto-ppm-r50-sup", "46.631", "1320.13"),
    ("aspp-r50", "39.638", "1218.74"),
    ("gsto-aspp-r50", "39.649", "1219.06"),
    ("gsto-aspp-r50-sup", "39.677", "1219.93"),
]


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(name)


def drawn(name: str, **options: object) -> nn.Module:
    """Build a network whose batch norms do something, from one seed."""
    torch.manual_seed(3)
    model = build_model(name, **options).eval()
    enliven(model)
    return model


def test_every_row_of_table_6_is_registered() -> None:
    assert set(NAMES) <= set(registered())


@pytest.mark.parametrize(("name", "params", "macs"), COSTS)
def test_costs_at_the_size_of_the_paper(name: str, params: str, macs: str) -> None:
    costs = count_costs(on_meta(name))
    assert f"{costs.params / 1e6:.3f}" == params
    assert f"{costs.macs_gi:.2f}" == macs
    # The head on stage 3 is for training and costs nothing.
    assert all(place.startswith("auxiliary.") for place in costs.unused)


@pytest.mark.parametrize("name", ["gsto-ppm-r18-half-sup", "gsto-aspp-tiny"])
def test_multiply_adds_are_those_that_torch_counts(name: str) -> None:
    model = build_model(name).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, 64, 96))
    assert counter.get_total_flops() == 2 * count_costs(model, 64, 96).macs


@pytest.mark.parametrize("name", [name for name in NAMES if "r18-half" in name])
def test_half_width_twins_fit_into_8_megabytes(name: str) -> None:
    model = build_model(name)
    assert sum(p.numel() for p in model.head.parameters()) <= 900_000
    assert 2 * sum(p.numel() for p in model.parameters()) < 7.5e6


def test_scores_of_table_6_stand_beside_the_costs() -> None:
    printed = {
        "ppm-r50": 76.5,
        "ppm-r50-sup": 76.9,
        "gsto-ppm-r50": 77.3,
        "gsto-ppm-r50-sup": 77.8,
        "aspp-r50": 74.9,
        "aspp-r50-sup": 75.1,
        "gsto-aspp-r50": 76.3,
        "gsto-aspp-r50-sup": 76.9,
    }
    for name, score in printed.items():
        row, size = registered()[name]
        found = cost_row(name, "network", row.sizes[size], None, row.printed[size])
        assert (found["paper_miou"], found["paper_params_m"]) == (score, None)
        assert found["note"] == "GSTO Table 6 prints no costs"
    for name in ("ppm", "gsto-ppm", "aspp", "gsto-aspp"):
        assert "our reconstruction" in ARCHITECTURES[name].words


def convolved(x: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """Convolve (C, h, w) with zeros around it, one position and one tap of the kernel at a time."""
    weight = conv.weight.detach().double().numpy()
    bias = np.zeros(len(weight)) if conv.bias is None else conv.bias.detach().double().numpy()
    (height, width), gap, half = x.shape[1:], conv.dilation[0], weight.shape[-1] // 2
    out = np.zeros((len(weight), height, width))
    for row in range(height):
        for column in range(width):
            value = bias.copy()
            for i in range(weight.shape[-1]):
                for j in range(weight.shape[-1]):
                    y, z = row + (i - half) * gap, column + (j - half) * gap
                    if 0 <= y < height and 0 <= z < width:
                        value += weight[:, :, i, j] @ x[:, y, z]
            out[:, row, column] = value
    return out


def unit(x: np.ndarray, module: nn.Module) -> np.ndarray:
    """Convolution, batch norm with its running statistics, ReLU."""
    bn, out = module.bn, convolved(x, module.conv)
    mean, var, weight, bias = (
        one.detach().double().numpy()[:, None, None]
        for one in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
    )
    return np.maximum((out - mean) / np.sqrt(var + bn.eps) * weight + bias, 0.0)


def gate_of(x: np.ndarray, gate: nn.Module) -> np.ndarray:
    score = unit(x, gate.score) if gate.form == "released" else convolved(x, gate.score)
    return 1.0 / (1.0 + np.exp(-score))


def pooled(x: np.ndarray, cells: int) -> np.ndarray:
    """Cell k averages positions floor(k n / cells) up to, but not at, ceil((k + 1) n / cells)."""
    (height, width) = x.shape[1:]
    out = np.zeros((len(x), cells, cells))
    for row in range(cells):
        for column in range(cells):
            rows = range(row * height // cells, -(-(row + 1) * height // cells))
            columns = range(column * width // cells, -(-(column + 1) * width // cells))
            values = [x[:, y, z] for y in rows for z in columns]
            out[:, row, column] = sum(values) / len(values)
    return out


def resized(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize bilinearly; pixel centres lie at half numbers, and borders repeat."""
    out = np.zeros((len(x), *size))
    for row in range(size[0]):
        for column in range(size[1]):
            places = []
            for at, full, have in ((row, size[0], x.shape[1]), (column, size[1], x.shape[2])):
                where = max((at + 0.5) * have / full - 0.5, 0.0)
                low = min(int(where), have - 1)
                places.append((low, min(low + 1, have - 1), where - low))
            (a, b, s), (c, d, t) = places
            top = (1 - t) * x[:, a, c] + t * x[:, a, d]
            low_row = (1 - t) * x[:, b, c] + t * x[:, b, d]
            out[:, row, column] = (1 - s) * top + s * low_row
    return out


def by_hand(model: nn.Module, feature: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what the head makes of its feature (C, h, w)."""
    config, head = model.config, model.head
    size = feature.shape[1:]
    predicted = None if head.predictor is None else convolved(feature, head.predictor)
    found = {} if predicted is None else {"head.predictor": predicted}
    kinds: list[tuple[str, int]] = []
    if config.module == "aspp":
        kinds = [("conv", 1), *(("conv", rate) for rate in sorted(config.rates)), ("pool", 1)]
    else:
        kinds = [("pool", cells) for cells in sorted(config.bins, reverse=True)]
    first = 0 if config.module == "aspp" else 1
    joined = [] if config.module == "aspp" else [feature]
    for number, (kind, amount) in enumerate(kinds, first):
        scale, x = head.scales[str(number)], feature
        if config.gates != "none":
            gate = gate_of(predicted if config.gates == "supervised" else feature, scale.gate)
            found[f"pyramid.gate[0->{number}]"] = gate
            x, scale = feature * gate, scale.transfer
        if kind == "conv":
            assert scale.conv.dilation == (amount, amount)
            moved = unit(x, scale)
        else:
            moved = unit(pooled(x, amount), scale.unit)
        found[f"pyramid.branch{number}"] = moved
        joined.append(resized(moved, size) if kind == "pool" else moved)
    hidden = np.concatenate(joined)
    fuses = [head.fuse] if config.module == "ppm" else list(head.fuse)
    for fuse in fuses:
        hidden = unit(hidden, fuse)
    return {**found, "head.logits": convolved(hidden, head.classifier)}


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize("name", TINY)
def test_forward_is_that_of_literal_loops(name: str, form: str) -> None:
    model = drawn(name, num_classes=3, gate_form=form).double()
    image = torch.randn(1, 3, 60, 84, dtype=torch.float64)
    with torch.no_grad():
        seen = {}
        for tap in model.taps().values():
            model.get_submodule(tap.module).register_forward_hook(
                lambda _m, _i, output, key=tap.name: seen.update({key: output[0].numpy()})
            )
        logits = model(image).logits[0].numpy()
    expected = by_hand(model, seen["backbone.layer4"])
    assert logits.shape == (3, 8, 11)
    assert set(expected) <= set(seen)
    for key, value in expected.items():
        np.testing.assert_allclose(seen[key], value, rtol=1e-9, atol=1e-12, err_msg=key)
    np.testing.assert_allclose(logits, expected["head.logits"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TINY)
def test_anatomy_orders_scales_and_names_gates(name: str) -> None:
    anatomy = build_model(name).anatomy()
    scales = [branch.scale for branch in anatomy.branches]
    assert scales == sorted(set(scales))
    grids = [branch.grid for branch in anatomy.branches]
    if "ppm" in name:
        assert grids == [None, (6, 6), (3, 3), (2, 2), (1, 1)]
        assert [branch.stride for branch in anatomy.branches] == [8, None, None, None, None]
    else:
        assert grids == [None, None, None, None, (1, 1)]
        assert [branch.stride for branch in anatomy.branches] == [8, 8, 8, 8, None]
    targets = [edge.target for edge in anatomy.transfers]
    assert targets == (list(range(1, 5)) if "ppm" in name else list(range(5)))
    assert [gate.target for gate in anatomy.gates] == (targets if "gsto" in name else [])
    # Between ASPP's branches and its classifier stand two ReLUs, so that nothing splits exactly.
    assert (anatomy.head is None) == ("aspp" in name)


@pytest.mark.parametrize("name", ALL_TINY)
def test_one_step_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=4).train()
    image, labels = torch.randn(4, 3, 64, 96), torch.randint(0, 4, (4, 64, 96))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02)

    def loss() -> torch.Tensor:
        output = model(image)
        assert set(output.auxiliary) == set(model.auxiliary_heads)
        return segmentation_loss(output, labels, auxiliary_weights={"layer3": 1, "predictor": 1})

    before = loss()
    before.backward()
    assert all(p.grad is not None for p in model.parameters())
    optimiser.step()
    assert loss() < before


@pytest.mark.parametrize("size", [(48, 48), (61, 173)])
@pytest.mark.parametrize("name", ["gsto-ppm-tiny-sup", "gsto-aspp-tiny"])
def test_logits_have_stride_8(name: str, size: tuple[int, int]) -> None:
    model = build_model(name, num_classes=5).eval()
    with torch.no_grad():
        out = model(torch.randn(2, 3, *size))
    assert out.logits.shape == (2, 5, *(math.ceil(side / 8) for side in size))
    assert set(out.auxiliary) == set(model.anatomy().outputs) - {"main"}


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("ppm-tiny", (40, 64), "the image is 40x64 .* 5x8 cells of stride 8.* at least 6x6"),
        ("aspp-tiny", (8, 64), "1x8 cells of stride 8.* at least 2x2 \\(maps of one cell"),
    ],
)
def test_images_below_the_pyramid_are_refused(name, size, message) -> None:
    with pytest.raises(GstoVizError, match=message):
        build_model(name).eval()(torch.zeros(1, 3, *size))


def test_training_on_one_image_is_refused() -> None:
    with pytest.raises(GstoVizError, match="two images or more"):
        build_model("ppm-tiny").train()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": (1,)}, "all have one cell"),
        ({"bins": (2, 2)}, "different whole numbers"),
        ({"bins": ()}, "different whole numbers"),
        ({"rates": (1, 4)}, "from 2 to 256"),
        ({"gates": "some"}, "choose none, unsupervised or supervised"),
        ({"module": "fpn"}, "choose ppm, aspp, upernet, deeplabv3plus, fcn or rsp"),
        ({"blocks": (1, 1, 1)}, "four counts"),
        ({"width": 0}, "goes from 1"),
    ],
)
def test_configurations_that_make_no_network(options, message) -> None:
    with pytest.raises(GstoVizError, match=message):
        PyramidConfig(**{"module": "ppm", **options})


def test_checkpoint_gives_the_same_network(tmp_path) -> None:
    model = drawn("gsto-aspp-tiny-sup", num_classes=2, gate_form="paper")
    classes = ClassList("two", tuple(ClassInfo(k, f"c{k}", (k, k, k), False) for k in range(2)))
    info = ModelInfo("x", "gsto-aspp-tiny-sup", classes)
    save_checkpoint(model, tmp_path / "x.safetensors", info=info)
    again = load_checkpoint(tmp_path / "x.safetensors")
    assert again.config == model.config
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(image).logits, model(image).logits)


def test_imagenet_weights_are_found_by_name(tmp_path) -> None:
    source, target = drawn("ppm-tiny"), build_model("gsto-aspp-tiny")
    state = {imagenet_name(key): one for key, one in source.backbone.state_dict().items()}
    assert "layer2.0.downsample.1.running_var" in state
    torch.save(
        {**state, "fc.weight": torch.zeros(9, 32), "fc.bias": torch.zeros(9)}, tmp_path / "x"
    )
    head = {key: one.clone() for key, one in target.head.state_dict().items()}
    load_imagenet(target.backbone, tmp_path / "x")
    for key, one in source.backbone.state_dict().items():
        assert torch.equal(target.backbone.state_dict()[key], one)
    for key, one in target.head.state_dict().items():
        assert torch.equal(head[key], one)


def test_a_recipe_starts_from_them_and_knows_no_inplace_abn_there(tmp_path) -> None:
    source = drawn("ppm-tiny").backbone.state_dict()
    torch.save({imagenet_name(key): one for key, one in source.items()}, tmp_path / "x")
    recipe = Recipe(model="gsto-ppm-tiny", initialization=str(tmp_path / "x"))
    for key, one in build_for(recipe, 3).backbone.state_dict().items():
        assert torch.equal(source[key], one)
    with pytest.raises(GstoVizError, match="gsto-ppm-tiny starts from a ResNet; leave it out"):
        build_for(replace(recipe, inplace_abn=True), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer3.0.bn2.weight"), "1 missing"),
        (lambda s: s.update({"conv1.weight": torch.zeros(8, 3, 7, 7)}), "of another shape"),
        (lambda s: s.update({"layer5.0.conv1.weight": torch.zeros(1)}), "1 left over"),
    ],
)
def test_other_imagenet_files_are_refused_and_change_nothing(change, message) -> None:
    model = build_model("ppm-tiny")
    state = {imagenet_name(k): one + 1 for k, one in model.backbone.state_dict().items()}
    before = {key: one.clone() for key, one in model.state_dict().items()}
    change(state)
    with pytest.raises(GstoVizError, match=message):
        load_imagenet(model.backbone, state)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
