"""The attention of GSTO's Table 3 in HRNetV2: where it stands, what it leaves, every command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from gsto_viz.attribution import constant, intervene, list_places, parse_intervention
from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.models import (
    ARCHITECTURES,
    AttentionConfig,
    HRNetConfig,
    build_model,
    initialize,
    load_checkpoint,
    load_official,
    model_config,
    network_of,
    save_checkpoint,
    to_official_keys,
)
from gsto_viz.models.hrnet import HRModule
from gsto_viz.models.registry import network_name
from gsto_viz.train import add_gains

NAMES = ("channel-block", "spatial-block", "channel-layer", "spatial-layer", "channel-transfer")
DATA = "scenes:count=3,size=64x96,seed=3"
RUN = ("channel-transfer", "spatial-layer")
PLAIN = HRNetConfig(2, stage1_blocks=1, stage1_planes=2, modules=(1, 1, 1), blocks=2, num_classes=3)


def small(name: str, reduction: int = 16, **options: object) -> HRNetConfig:
    """Two residual blocks in each branch, which tell a block from a layer."""
    form, place = name.split("-")
    return PLAIN.with_options(attention=AttentionConfig(form, place, reduction), **options)


def drawn(config: HRNetConfig, seed: int = 0) -> torch.nn.Module:
    """A network in float64 whose batch norms do something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network_of(config).double().eval().requires_grad_(False)
        initialize(model, "kaiming")
        for key, tensor in model.state_dict().items():
            if ".bn" in key and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def multiplied(feature: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Multiply one value at a time by the gate of its channel or of its position."""
    out = torch.empty_like(feature)
    for c in range(feature.shape[1]):
        for y in range(feature.shape[2]):
            for x in range(feature.shape[3]):
                value = gate[0, c, 0, 0] if gate.shape[1] > 1 else gate[0, 0, y, x]
                out[0, c, y, x] = feature[0, c, y, x] * value
    return out


def gates_of_loops(gate: torch.nn.Module, feature: torch.Tensor) -> torch.Tensor:
    """Squeeze and excitation, or the spatial half of CBAM, on one image."""
    _, channels, height, width = feature.shape
    if hasattr(gate, "squeeze"):
        means = [
            sum(map(float, feature[0, c].flatten())) / (height * width) for c in range(channels)
        ]
        squeeze, excite = gate.squeeze.weight[:, :, 0, 0], gate.excite.weight[:, :, 0, 0]
        hidden = [
            max(0.0, sum(float(w) * m for w, m in zip(row, means, strict=True))) for row in squeeze
        ]
        scores = [sum(float(w) * h for w, h in zip(row, hidden, strict=True)) for row in excite]
        return torch.tensor(scores, dtype=torch.float64).sigmoid()[None, :, None, None]
    weight, out = gate.score.weight[0], torch.zeros(1, 1, height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            for dy in range(-3, 4):
                for dx in range(-3, 4):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        cell = feature[0, :, y + dy, x + dx]
                        out[0, 0, y, x] += weight[0, dy + 3, dx + 3] * max(cell)
                        out[0, 0, y, x] += weight[1, dy + 3, dx + 3] * sum(cell) / channels
    return out.sigmoid()


def by_loops(module: HRModule, branches: list[torch.Tensor], place: str) -> list[torch.Tensor]:
    """A module of HRNet with its gates in literal loops; blocks and transfers are trusted."""
    before = []
    for blocks, feature in zip(module.branches, branches, strict=True):
        parts = dict(blocks.named_children())
        for k in (0, 1):
            feature = parts[str(k)](feature)
            gate = {"layer": f"gate{k}", "block": "gate" if k == 1 else ""}.get(place)
            if gate:
                feature = multiplied(feature, gates_of_loops(parts[gate].gate, feature))
        before.append(feature)
    after = []
    for i in range(len(before)):
        total = torch.zeros_like(before[i])
        for j, feature in enumerate(before):
            transfer = module.fusion.transfers[f"{j}to{i}"]
            if place == "transfer":
                feature = multiplied(feature, gates_of_loops(transfer.gate, feature))
                transfer = transfer.transfer
            total += transfer(feature, before[i].shape[-2:])
        after.append(total.clamp(min=0))
    return after


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_its_definition(name: str) -> None:
    config = small(name, 2, width=4)
    module = drawn(config).stage3.m0
    generator = torch.Generator().manual_seed(1)
    sizes = ((4, 7, 9), (8, 4, 5), (16, 2, 3))
    branches = [torch.rand(1, *s, generator=generator, dtype=torch.float64) for s in sizes]
    expected = by_loops(module, branches, config.attention.place)
    for found, one in zip(module(branches), expected, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_with_its_gates_at_one_it_is_hrnetv2_under_the_same_weights(name: str) -> None:
    plain, model = drawn(PLAIN, 3), drawn(small(name))
    own, given = model.state_dict(), plain.state_dict()
    gates = {key for key in own if "gate" in key}
    assert {key.replace(".transfer.", ".") for key in set(own) - gates} == set(given)
    for key in set(own) - gates:
        own[key].copy_(given[key.replace(".transfer.", ".")])
    taps = [tap for tap in model.taps().values() if tap.kind == "gate"]
    # Branches of modules: 2 + 3 + 4; transfers: 4 + 9 + 16.
    assert len(taps) == {"block": 9, "layer": 18, "transfer": 29}[name.split("-")[1]]
    assert {tap.stride for tap in taps} == ({"1x1"} if "channel" in name else {4, 8, 16, 32})
    image = torch.rand(1, 3, 35, 64, generator=torch.Generator().manual_seed(2)).double()
    with intervene(model, *(constant(tap.name, 1.0) for tap in taps)):
        opened = model(image).logits
    torch.testing.assert_close(opened, plain(image).logits, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(model(image).logits, opened)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_taps_and_places_and_no_gate_maps_of_transfers(name: str) -> None:
    model = drawn(small(name))
    anatomy = model.anatomy()
    assert anatomy.gates == ()
    assert anatomy.gate_range is None
    assert not model.config.gated
    assert anatomy.branches == drawn(PLAIN).anatomy().branches
    gates = [place for place in list_places(model) if place.kind == "gate"]
    assert [g.name for g in gates] == [n for n, tap in anatomy.taps.items() if tap.kind == "gate"]
    assert {(gate.source, gate.target) for gate in gates} == {(None, None)}
    first = {
        "block": "stage2.m0.branch0.gate",
        "layer": "stage2.m0.branch0.gate0",
        "transfer": "stage2.m0.gate[0->0]",
    }[name.split("-")[1]]
    assert gates[0].name == first
    assert changed(model, f"{first}=closed") == 0


def changed(model: torch.nn.Module, text: str) -> float:
    """What an intervention puts where there was 1."""
    return float(parse_intervention(model, text).change(torch.ones(1, 1, 1, 1)))


def test_attention_stands_beside_gates_of_transfers() -> None:
    """Each keeps its own range, and the gates of transfers stay what they are."""
    config = small("channel-layer", gating={"supervised": ()})
    model = drawn(config)
    alone = drawn(PLAIN.with_options(gating={"supervised": ()}))
    assert model.anatomy().gates == alone.anatomy().gates
    assert changed(model, "stage2.m0.gate[1->0]=closed") == 0.5
    assert changed(model, "stage2.m0.branch0.gate1=closed") == 0
    assert network_name(config) == "gsto-hrnet (width 2)"


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(f"hrnetv2-{name}-tiny", num_classes=3, bn_momentum=0.1)
        initialize(model, "kaiming")
        images, labels = torch.randn(2, 3, 32, 64), torch.randint(3, (2, 8, 16))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images).logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": 5}, "attention is 5; give a mapping of its options, or null for none"),
        ({"attention": {}}, "AttentionConfig has no form and no place; give it"),
        ({"attention": {"form": "channel"}}, "AttentionConfig has no place; give it"),
        ({"attention": {"kind": "channel"}}, "unknown key kind in AttentionConfig"),
        ({"attention_form": "spatial"}, "attention_form: this network has no attention"),
        (
            {"attention": {"form": "se", "place": "block"}},
            "attention.form is 'se'; choose channel or spatial",
        ),
        (
            {"attention": {"form": "channel", "place": "stage"}},
            "attention.place is 'stage'; choose block, layer or transfer",
        ),
        (
            {"attention": {"form": "spatial", "place": "transfer"}},
            "attention.place is 'transfer'; spatial gates in front of transfers are those of",
        ),
        (
            {"attention": {"form": "channel", "place": "block", "reduction": 0}},
            "attention.reduction is 0; it goes from 1 to 1024",
        ),
        (
            {"attention": {"form": "channel", "place": "transfer"}, "gating": {}},
            "attention.place is 'transfer', where the gates of gating.fusion stand; choose one",
        ),
    ],
)
def test_what_makes_no_network_is_one_line(options: dict, message: str) -> None:
    with pytest.raises(GstoVizError) as caught:
        PLAIN.with_options(**options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_configurations() -> None:
    for name in NAMES:
        config = model_config(f"hrnetv2-{name}-tiny", num_classes=7)
        assert HRNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert network_name(config) == f"hrnetv2-{name}-tiny"
        assert "our reconstruction" in ARCHITECTURES[f"hrnetv2-{name}"].words
        other = config.with_options(attention_reduction=3)
        assert other.attention.reduction == 3
        assert network_name(other) == f"hrnetv2-{name} (width 4)"
    assert hash(AttentionConfig("channel", "block")) == hash(AttentionConfig("channel", "block"))


def test_other_networks_have_the_text_that_they_had() -> None:
    keys = ["width", "stage1_blocks", "stage1_planes", "modules", "blocks", "num_classes"]
    keys += ["align_corners", "resize_mode", "bn_momentum", "head_dropout", "gating", "equalized"]
    for name in ("hrnetv2-tiny", "gsto-hrnet-tiny"):
        text = model_config(name).to_dict()
        assert list(text) == keys
        assert HRNetConfig.from_dict(text) == model_config(name)


def test_official_files_fill_all_but_the_attention() -> None:
    official = to_official_keys(drawn(PLAIN, 5))
    backbone = {key: one for key, one in official.items() if not key.startswith("last_layer")}
    for name in NAMES:
        model = drawn(small(name))
        report = load_official(model, backbone)
        assert report.unexpected == ()
        assert set(report.loaded) == set(backbone)
        assert not [key for key in report.missing if "gate" not in key and "last_layer" not in key]
        key = "stage4.m0.branches.3.1.conv2.weight"
        assert torch.equal(model.state_dict()[key], official["stage4.0.branches.3.1.conv2.weight"])
        for refused in (lambda one: load_official(one, official), to_official_keys):
            with pytest.raises(
                GstoVizError, match="the official layout has no names for attention"
            ):
                refused(model)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A checkpoint of each form, with gains."""
    place, data = tmp_path_factory.mktemp("attention"), load_data(DATA)
    found = {}
    for name in RUN:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_model(f"hrnetv2-{name}-tiny", num_classes=len(data.classes))
            initialize(model, "kaiming")
        found[name] = place / f"{name}.safetensors"
        save_checkpoint(model, found[name], classes=data.classes)
        add_gains(found[name], data, images=2)
    return found


def test_they_are_analysed_in_one_command(files, tmp_path: Path) -> None:
    models = [f"--model={name.replace('-', '')}={path}" for name, path in files.items()]
    out = tmp_path / "run"
    assert main(["analyze", *models, "--data", DATA, "--quiet", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())["models"]
    assert len(summary) == 2
    for one in summary.values():
        assert one["gates"] is None
        assert one["indices"]["sci"]["value"] is not None


@pytest.mark.parametrize("name", RUN)
def test_one_image(name: str, files, tmp_path: Path, capsys) -> None:
    image, maps = tmp_path / "x.png", tmp_path / "m.npz"
    Image.fromarray(load_data(DATA)[0].image).save(image)
    given = [str(files[name]), str(image)]
    words = ["capture", *given, "--taps", "*gate*", "--out", str(maps)]
    figure = ["--figure", str(tmp_path / "m.png")]
    assert load_checkpoint(files[name]).info.network == f"hrnetv2-{name}-tiny"
    if name == "channel-transfer":
        assert main([*words, *figure]) == 2
        assert "--figure: no map is (h, w)" in capsys.readouterr().err
        assert main(words) == 0
        key, shape = "stage2.m0.gate.0to1", (4, 1, 1)
    else:
        assert main([*words, *figure]) == 0
        key, shape = "stage2.m0.branch0.gate0", (16, 24)
    with np.load(maps) as found:
        one = found[next(k for k in found.files if k.endswith(key))]
    assert one.shape == shape
    assert 0 < one.min() <= one.max() < 1
    capsys.readouterr()
    assert main(["doctor", str(files[name]), "--size", "64x96"]) == 0
    printed = capsys.readouterr().out
    gates = {"channel-transfer": 38, "spatial-layer": 12}[name]
    assert f"{gates} of them gates (below)" in printed
    assert f"gates: {gates}, their form allows 0 to 1" in printed
    assert "NOT AS DECLARED" not in printed
    assert "none declared" not in printed
