"""What the doctor says of networks with planted faults, and that it leaves nothing behind."""

import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gsto_viz import GstoVizError
from gsto_viz.doctor import Examination, examine, report_text, stride_of
from gsto_viz.models import build_model
from gsto_viz.types import Tap

IMAGE = torch.linspace(-1, 1, 3 * 64 * 96).reshape(1, 3, 64, 96)


class Block(nn.Module):
    """A residual block as in many networks: in-place ReLU, and a sum in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out += x
        return self.relu(out)


class Planted(nn.Module):
    """Every fault once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.block = Block(8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.also_twice = self.twice
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.valid = nn.Conv2d(8, 8, 5, stride=2)
        self.dead = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
        self.direct = nn.Conv2d(8, 8, 1)
        self.score = nn.Conv2d(8, 1, 1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.parts = nn.ModuleList([nn.Identity()])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.block(self.stem(x))
        fine = self.twice(self.twice(fine))
        coarse = self.direct.forward(self.down(fine))
        coarse = coarse * torch.sigmoid(self.score(coarse))
        odd = self.valid(fine)
        logits = self.up(coarse) + fine
        logits = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        return {"logits": self.parts[0](logits), "odd": odd}


@pytest.fixture(scope="module")
def seen() -> Examination:
    torch.manual_seed(0)
    return examine(Planted().eval(), IMAGE)


def test_calls_are_counted(seen) -> None:
    assert [(m.name, m.calls) for m in seen.called_more] == [("twice", 2)]
    assert [m.name for m in seen.never_called] == ["dead", "direct"]
    assert seen.shared == (("twice", "also_twice"),)
    assert [m.parameters for m in seen.never_called] == [72, 72]
    once = {m.name for m in seen.modules if m.calls == 1}
    assert once == {
        "stem", "block", "block.conv", "block.bn", "block.relu", "down", "valid", "score", "up",
        "parts.0",
    }  # fmt: skip


def test_in_place_changes_are_put_down_to_whose_code_made_them(seen) -> None:
    assert seen.in_place == ("block.relu",)
    assert [(c.output, c.by) for c in seen.changes] == [("block.bn", "block")]


def test_strides_are_those_of_the_grids(seen) -> None:
    strides = {m.name: m.stride for m in seen.modules}
    assert strides["stem"] == strides["block"] == strides["up"] == 4
    assert strides["down"] == strides["score"] == 8
    assert strides["parts.0"] == 1
    assert strides["valid"] is None
    assert strides["dead"] is None
    assert [(m.name, m.stride) for m in seen.candidates] == [("up", 4), ("score", 8)]


def test_resizing_is_seen_in_modules_and_in_functions(seen) -> None:
    facts = {(r.mode, r.align_corners): (r.count, r.modules) for r in seen.resizings}
    assert facts == {
        ("bilinear", True): (1, ("up",)),
        ("bilinear", False): (1, ("(the network)",)),
    }
    assert seen.align_corners is None


def test_a_sigmoid_over_a_map_looks_like_a_gate(seen) -> None:
    (gate,) = seen.gates
    assert (gate.name, gate.declared, gate.channels, gate.stride) == ("(the network)", False, 1, 8)
    model = planted_again()
    with torch.no_grad():
        fine = model.twice(model.twice(model.block(model.stem(IMAGE))))
        expected = torch.sigmoid(model.score(model.direct(model.down(fine))))
    assert gate.low == pytest.approx(expected.min().item(), rel=1e-5)
    assert gate.mean == pytest.approx(expected.mean().item(), rel=1e-5)
    assert gate.high == pytest.approx(expected.max().item(), rel=1e-5)


def planted_again() -> Planted:
    torch.manual_seed(0)
    model = Planted()
    return model.eval()


def test_every_fault_is_said(seen) -> None:
    said = " ".join(seen.problems)
    assert "twice: called more than once" in said
    assert "dead, direct: never called" in said
    assert "block.bn: changed in place by other code" in said
    assert "with and without aligned corners" in said
    assert len(seen.problems) == 4
    text = report_text(seen)
    for words in (
        "logits 1x8x64x96, odd 1x8x6x10",
        "twice (2x)",
        "dead (Sequential, 72 weights)",
        "twice = also_twice",
        "block.bn by block",
        "branches: [up, score]",
        "strides: [4, 8]",
        "bilinear, align_corners=True: 1 call in up",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


class Claims(nn.Module):
    """Declares a tap whose stride it does not have."""

    def __init__(self, stride: int = 8, channels: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.idle = nn.Conv2d(3, 4, 4)
        self.claims = (stride, channels)

    def taps(self) -> dict[str, Tap]:
        return {
            "fine": Tap("fine", "stem", *self.claims, kind="feature"),
            "never": Tap("never", "idle", 4, 4, kind="feature"),
        }

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x)


def test_taps_that_are_not_as_declared_are_named() -> None:
    assert [tap.agrees for tap in examine(Claims(4), IMAGE).taps] == [True, False]
    assert [tap.agrees for tap in examine(Claims(4, 5), IMAGE).taps] == [False, False]
    found = examine(Claims(8), IMAGE)
    assert [tap.agrees for tap in found.taps] == [False, False]
    assert found.taps[0].shape == (1, 4, 16, 24)
    assert found.taps[1].shape is None
    assert "fine, never: grid or channels are not as declared" in found.problems[0]
    assert "NOT AS DECLARED" in report_text(found)


@pytest.mark.parametrize("form", ["released", "paper"])
def test_our_networks_are_healthy(form) -> None:
    torch.manual_seed(1)
    model = build_model("gsto-hrnet-tiny", num_classes=5, gate_form=form).eval()
    found = examine(model, torch.randn(1, 3, 40, 72))
    assert found.problems == ()
    assert all(tap.agrees for tap in found.taps)
    assert {tap.name for tap in found.taps} == set(model.taps())
    declared = [tap.name for tap in found.taps if tap.kind == "gate"]
    assert [gate.name for gate in found.gates] == declared
    low = 0.5 if form == "released" else 0.0
    for gate in found.gates:
        assert gate.allowed == (low, 1.0)
        assert low <= gate.low <= gate.mean + 1e-6 <= gate.high + 2e-6
        assert gate.high <= 1
        assert 0 <= gate.closed_share <= 1
    assert (found.in_place, found.changes, found.called_more) == ((), (), ())
    assert {r.align_corners for r in found.resizings} == {False}
    assert found.align_corners is False
    assert "every module is called once" in report_text(found)


class Fails(Planted):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        super().forward(x)
        raise RuntimeError("no\nmore")


@pytest.mark.parametrize("kind", [Planted, Fails])
def test_nothing_is_left_behind(kind) -> None:
    model = kind().train()
    model.block.eval()
    flags = [module.training for module in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    if kind is Fails:
        with pytest.raises(GstoVizError, match=r"refuses an image of 1x3x64x96 \(RuntimeError: no"):
            examine(model, IMAGE)
    else:
        examine(model, IMAGE)
    assert [module.training for module in model.modules()] == flags
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_outputs_are_let_go_with_the_module_that_asked_for_them() -> None:
    alive: list[bool] = []
    seen: list[weakref.ref[Tensor]] = []

    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out = x + 1
            seen.append(weakref.ref(out))
            return out

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * 2

    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            alive.extend(one() is not None for one in seen)
            return x

    examine(nn.Sequential(Outer(), Outer(), Outer(), Last()), IMAGE)
    assert alive
    assert not any(alive)


def test_a_change_is_found_long_after_its_module_returned() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.first(x), self.second(x)]

    class Late(nn.Module):
        def forward(self, parts: list[Tensor]) -> Tensor:
            parts[0][:, :1].mul_(2)
            return F.relu_(parts[1])

    found = examine(nn.Sequential(Pair(), Late()), IMAGE)
    assert [(c.output, c.by) for c in found.changes] == [("0", "1")]
    plain = examine(nn.Sequential(Pair()), IMAGE)
    assert plain.changes == ()


def test_not_a_number_is_found_where_it_begins() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 2, stride=2), nn.Conv2d(2, 2, 2, stride=2), nn.ReLU())
    with torch.no_grad():
        model[1].weight[0] = float("nan")
    assert "1 gives NaN or infinity" in examine(model, IMAGE).problems[0]


def test_candidates_are_no_output_layers_where_there_are_others() -> None:
    def net() -> nn.Sequential:
        head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
        return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(inplace=True), head)

    assert [m.name for m in examine(net(), IMAGE).candidates] == ["1"]
    wrapped = nn.Sequential(net(), nn.Identity())
    assert [m.name for m in examine(wrapped, IMAGE).candidates] == ["0.2.1"]
    only = nn.Sequential(nn.Conv2d(3, 4, 2, 2))
    assert [m.name for m in examine(only, IMAGE).candidates] == ["0"]


def test_outputs_in_tuples_are_taps_with_an_element() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            return self.pair(x)[1]

    found = examine(Outer(), IMAGE)
    assert [(m.tap, m.stride) for m in found.candidates] == [("pair#0", 2)]
    assert "fewer than two strides" in found.problems[0]


@given(st.integers(32, 300), st.integers(32, 300), st.sampled_from([1, 2, 3, 4, 8, 16]))
def test_the_stride_of_a_grid_is_found_again(height, width, stride) -> None:
    h, w = -(-height // stride), -(-width // stride)
    found = stride_of((1, 7, h, w), (height, width))
    fitting = [s for s in range(1, 400) if (-(-height // s), -(-width // s)) == (h, w)]
    powers = [s for s in fitting if s in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    assert found == min(powers or fitting)


def test_grids_that_are_no_stride_have_none() -> None:
    size = (64, 96)
    for shape in (
        (1, 1, 1, 1),
        (1, 4, 15, 23),
        (1, 4, 32, 24),
        (1, 8),
        (1, 4, 0, 3),
        (1, 2, 128, 192),
    ):
        assert stride_of(shape, size) is None


def test_what_was_observed_says_where_to_compare() -> None:
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine = nn.Conv2d(3, 4, 4, stride=4)
            self.coarse = nn.Conv2d(4, 6, 3, stride=2, padding=1)
            self.score = nn.Conv2d(6, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.score(self.coarse(self.fine(x)))

    seen = examine(Pyramid(), IMAGE)
    assert seen.anatomy.branch_taps == ("fine", "coarse")
    assert seen.anatomy.strides == (4, 8)
    with pytest.raises(GstoVizError, match="all branches have one stride"):
        _ = examine(nn.Conv2d(3, 4, 4, stride=4), IMAGE).anatomy
