"""Costs: the figures that the papers print, and an independent counter."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gsto_viz.errors import GstoVizError
from gsto_viz.models import (
    ARCHITECTURES,
    Costs,
    build_model,
    count_costs,
    model_config,
    registered,
)
from gsto_viz.models import costs as cost_table
from gsto_viz.models.checkpoint import write_tensors
from gsto_viz.models.costs import Printed, verdict

SMALL = "gsto-hrnet-w18-small-v2"
EXACT = [
    ("hrnetv2-w18-small-v1", {}, "1.5336", "31.098"),
    ("hrnetv2-w18-small-v2", {}, "3.9231", "71.579"),
    ("hrnetv2-w18", {}, "9.6066", "137.278"),
    ("hrnetv2-w32", {}, "29.4882", "336.418"),
    ("hrnetv2-w48", {}, "65.7738", "696.176"),
    (SMALL, {}, "3.9493", "74.407"),
    ("gsto-hrnet-w48", {}, "65.9304", "713.916"),
    (SMALL, {"gate_supervised": ()}, "3.9265", "71.653"),
    (SMALL, {"gate_supervised": (3,)}, "3.9451", "73.904"),
    (SMALL, {"gate_supervised": (1, 2, 3)}, "4.0201", "83.021"),
    (SMALL, {"gate_supervised": (), "gate_diagonal": False}, None, "71.630"),
    ("gsto-hrnet-w48", {"gate_supervised": ()}, "65.7868", "696.448"),
    ("gsto-hrnet-w48", {"gate_supervised": (3,)}, "65.9066", "711.030"),
    ("gsto-hrnet-w48", {"gate_supervised": (1, 2, 3)}, "66.0013", "722.531"),
    ("hrnetv2-channel-block-w18-small-v2", {}, "3.9322", "71.579"),
    ("hrnetv2-spatial-block-w18-small-v2", {}, "3.9250", "71.672"),
    ("hrnetv2-channel-layer-w18-small-v2", {}, "3.9414", "71.579"),
    ("hrnetv2-spatial-layer-w18-small-v2", {}, "3.9268", "71.766"),
    ("hrnetv2-channel-transfer-w18-small-v2", {}, "3.9393", "71.579"),
    ("hrnetv2-channel-transfer-w18-small-v2", {"attention_reduction": 16}, "3.9570", None),
]


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, **options)


@pytest.mark.parametrize(("name", "options", "params", "macs"), EXACT, ids=str)
def test_figures_of_the_papers(name, options, params, macs) -> None:
    costs = count_costs(on_meta(name, **options))
    if params is not None:
        assert f"{costs.conv_params / 1e6:.4f}" == params
    if macs is not None:
        assert f"{costs.macs_gi:.3f}" == macs
    assert costs.unused == ()
    assert (costs.height, costs.width) == (1024, 2048)


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("hrnetv2-w18-small-v1", 1_540_819, 33.391),
        ("hrnetv2-w18-small-v2", 3_939_579, 76.857),
        ("hrnetv2-w48", 65_859_379, 747.513),
        # The released code allocates 9 K + 2 values more, which its forward never reads.
        ("gsto-hrnet-w18-small-v2", 3_966_449 - 173, 79.893),
        ("gsto-hrnet-w48", 66_017_297 - 173, 766.562),
    ],
)
def test_all_parameters_and_plain_multiply_adds(name: str, params: int, macs: float) -> None:
    model = on_meta(name)
    costs = count_costs(model)
    assert costs.params == params == sum(p.numel() for p in model.parameters())
    assert costs.macs / 1e9 == pytest.approx(macs, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("hrnet-pose-w32", "28.5361", "16.0199"),
        ("hrnet-pose-w48", "63.5957", "32.8818"),
        # Without the 155 values that the released code for segmentation allocates and never reads.
        ("gsto-hrnet-pose-w32", "29.6205", "18.1635"),
        ("gsto-hrnet-pose-w48", "66.0147", "37.6323"),
    ],
)
def test_figures_of_pose(name: str, params: str, macs: str) -> None:
    """Papers count batch norm here, and a person's crop of 384x288."""
    architecture, size = registered()[name]
    row = cost_table.cost_row(name, "network", model_config(name), None, architecture.printed[size])
    assert (f"{row['params'] / 1e6:.4f}", f"{row['macs_gi']:.4f}") == (params, macs)
    assert (row["task"], row["height"], row["width"], row["num_classes"]) == ("pose", 384, 288, 17)
    assert row["note"] == "equals GSTO Table 10"
    assert f"{row['paper_params_m']:.1f}" == f"{row['params'] / 1e6:.1f}"
    other = cost_table.cost_row(
        name, "network", model_config(name), (256, 192), architecture.printed[size]
    )
    assert (other["paper_gflops"], other["note"]) == (None, "")
    assert other["macs"] * 9 == pytest.approx(row["macs"] * 4)


def test_checkpoints_are_listed_from_their_metadata_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {
        "network": "gsto-hrnet-tiny",
        "classes": {"name": "planted"},
        "config": model_config("gsto-hrnet-tiny", num_classes=7).to_dict(),
    }
    path = tmp_path / "a.safetensors"
    # No network could be made of this tensor, so a row shows that none was read.
    write_tensors(path, {"x": torch.zeros(1)}, {"gsto_viz": json.dumps(about)})
    monkeypatch.setattr(cost_table, "shipped_checkpoints", lambda: {"a": path})
    monkeypatch.setattr(cost_table, "registered", dict)
    monkeypatch.setattr(cost_table, "ABLATIONS", ())
    (row,) = cost_table.cost_table((64, 64))
    assert (row["name"], row["kind"], row["num_classes"]) == ("a", "checkpoint", 7)
    assert row["note"] == "gsto-hrnet-tiny with the classes of planted"
    assert row["macs"] == count_costs(on_meta("gsto-hrnet-tiny", num_classes=7), 64, 64).macs


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"config": 3}'])
def test_damaged_metadata_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.zeros(1)}, {} if text is None else {"gsto_viz": text})
    with pytest.raises(GstoVizError, match=r"a\.safetensors has no or damaged gsto_viz metadata"):
        cost_table.describe_checkpoint(path)


def test_other_class_count_and_size() -> None:
    costs = count_costs(on_meta("gsto-hrnet-w18-small-v1", num_classes=11), 360, 480)
    assert costs.params == 1_557_787 - (9 * 11 + 2)
    assert costs.macs / 1e9 == pytest.approx(2.9298, abs=5e-5)
    assert costs.macs_gi == pytest.approx(2.7285, abs=5e-5)


@pytest.mark.parametrize("name", ["hrnetv2-tiny", "gsto-hrnet-tiny", "gsto-hrnet-w18-small-v1"])
def test_torchs_own_counter_agrees(name: str) -> None:
    """It sees the operations and not the modules, and counts two per multiply-add."""
    model = build_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 67, 101))
    assert count_costs(model, 67, 101).macs * 2 == counter.get_total_flops()


class Partial(nn.Module):
    """A network with a shared, a repeated, a grouped and a never called part."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 1, bias=False)
        self.grouped = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(8)
        self.dead = nn.Conv2d(3, 100, 3)
        self.scale = nn.Parameter(torch.ones(5))
        self.fail = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.twice(self.twice(self.first(x)))
        if self.fail:
            raise GstoVizError("no")
        return self.norm(self.grouped(x)) * self.scale.sum()


def test_only_what_the_forward_uses_counts() -> None:
    costs = count_costs(Partial(), 6, 10)
    conv_params = (4 * 27 + 4) + 16 + (8 * 9 + 8)
    assert costs.conv_params == conv_params
    assert costs.params == conv_params + 16 + 5
    assert costs.macs == 60 * 4 * 27 + 2 * 60 * 16 + 15 * 8 * 9
    assert costs.unused == ("dead",)


@pytest.mark.parametrize("fail", [False, True])
def test_the_network_is_left_as_it_was(fail: bool) -> None:
    model = Partial()
    model.fail = fail
    model.train()
    model.norm.eval()
    fired = []
    model.first.register_forward_hook(lambda *args: fired.append(args))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    if fail:
        with pytest.raises(GstoVizError):
            count_costs(model, 8, 8)
    else:
        count_costs(model, 8, 8)
    assert not fired
    assert len(model.first._forward_hooks) == 1
    assert not any(len(m._forward_hooks) for m in model.modules() if m is not model.first)
    assert model.training
    assert not model.norm.training
    assert torch.equal(torch.get_rng_state(), state)
    for key, tensor in model.state_dict().items():
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, before[key])


def test_too_small_an_image_is_the_networks_own_error() -> None:
    with pytest.raises(GstoVizError, match="the image is 16x16"):
        count_costs(build_model("hrnetv2-tiny"), 16, 16)


def test_verdict_compares_the_printed_digits() -> None:
    costs = Costs(params=0, conv_params=3_949_292, macs=79_893_372_928, height=1, width=1)
    assert verdict(costs, Printed("3.95", "74.4", "Table 4")) == "equals Table 4"
    assert verdict(costs, Printed("3.94", "74.4", "Table 4")) == (
        "Table 4 prints 3.94 M parameters where we count 3.9493: not reproducible"
    )
    assert "74.40 Gi multiply-adds where we count 74.4065" in verdict(
        costs, Printed("3.95", "74.40", "Table 4")
    )


def test_printed_figures_belong_to_registered_networks() -> None:
    for row in ARCHITECTURES.values():
        assert set(row.printed) | set(row.imagenet) <= set(row.sizes)
