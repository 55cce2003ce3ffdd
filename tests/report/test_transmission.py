"""Effective transmission against the transfer itself, run by hand with and without its gate."""

import pytest
import torch
from torch import nn

from gsto_viz.capture import Capture
from gsto_viz.errors import GstoVizError
from gsto_viz.network import watch_transmission


def by_hand(model: nn.Module, images: torch.Tensor, source: int, target: int) -> float:
    """||W(gF)|| / ||WF|| of one fusion transfer of stage 3, from captured features and gates."""
    taps = [f"stage3.m0.branch{source}.pre", f"stage3.m0.gate[{source}->{target}]"]
    with Capture(model, taps, reduce="none") as maps, torch.no_grad():
        model(images)
    feature, gate = (maps[tap].double() for tap in taps)
    transfer = model.get_submodule(f"stage3.m0.fusion.transfers.{source}to{target}").transfer
    weights = [m for m in transfer.modules() if isinstance(m, nn.Conv2d)]
    if not weights:
        return float((feature * gate).norm() / feature.norm())
    first = weights[0]
    assert first.bias is None
    options = {"stride": first.stride, "padding": first.padding}
    outputs = [
        nn.functional.conv2d(one, first.weight.double(), **options)
        for one in (feature * gate, feature)
    ]
    return float(outputs[0].norm() / outputs[1].norm())


@pytest.mark.parametrize(("source", "target"), [(0, 2), (2, 0), (1, 1)])
def test_a_gate_lets_through_what_the_norms_say(networks, source, target) -> None:
    model = networks["B"]
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with watch_transmission(model) as seen, torch.no_grad():
        for one in images:
            model(one[None])
    found = seen.shares()[f"stage3.m0.gate[{source}->{target}]"]
    with torch.no_grad():
        assert found == pytest.approx(by_hand(model, images, source, target), rel=1e-5)
    assert 0.5 <= found <= 1  # released gates cannot close
    gates = [name for name, tap in model.taps().items() if tap.kind == "gate"]
    assert set(seen.shares()) == set(gates)


def test_the_gate_of_a_transition_is_watched(networks) -> None:
    model = networks["B"]
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    taps = ["stage2.branch1", "transition2.gate"]
    with (
        watch_transmission(model) as seen,
        Capture(model, taps, reduce="none") as maps,
        torch.no_grad(),
    ):
        model(image)
    feature, gate = (maps[tap] for tap in taps)
    first = next(m for m in model.transition2.new_branch.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        expected = float(first(feature * gate).norm() / first(feature).norm())
    assert seen.shares()["transition2.gate"] == pytest.approx(expected, rel=1e-5)


def test_hooks_are_gone_also_after_an_exception(networks) -> None:
    model = networks["B"]

    def hooks() -> int:
        return sum(len(module._forward_hooks) for module in model.modules())

    before = hooks()
    with watch_transmission(model):
        assert hooks() > before
    assert hooks() == before
    with pytest.raises(GstoVizError, match="at least 32x32"), watch_transmission(model):
        model(torch.zeros(1, 3, 8, 8))
    assert hooks() == before


def test_networks_without_gates_have_no_sums(networks) -> None:
    with watch_transmission(networks["A"]) as seen, torch.no_grad():
        networks["A"](torch.zeros(1, 3, 64, 64))
    assert seen.shares() == {}
    with watch_transmission(nn.Conv2d(3, 1, 1)) as seen:
        pass
    assert seen.shares() == {}
