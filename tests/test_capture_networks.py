"""Every tap of both networks: it fires, on the grid and with the channels it states."""

import math
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from gsto_viz import Capture, GstoVizError
from gsto_viz.capture import canonical_name, safe_name, tap_names
from gsto_viz.models import build_model

BOTH = ("hrnetv2-tiny", "gsto-hrnet-tiny")
STAGE4 = [f"stage4.branch{r}" for r in range(4)]


def network(name: str, **options: object) -> nn.Module:
    torch.manual_seed(1)
    net = build_model(name, **options)
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    return net.eval()


def image(height: int = 67, width: int = 101, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("reduce", ["mean", "gain_fixed", "absmean", "l2", "max"])
def test_weights_of_relations_stay_whole_under_every_name(reduce: str) -> None:
    """They have heads and cells of a window, and no channels."""
    net, taps = network("rsp-tiny"), "pyramid.relation*"
    with Capture(net, taps, reduce="none") as whole:
        net(image())
    with Capture(net, taps, reduce=reduce) as maps:
        net(image())
    assert len(maps) == 3
    assert all(torch.equal(maps[tap], whole[tap]) for tap in maps)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("size", [(67, 101), (64, 96), (33, 32)])
def test_every_tap_fires_once_as_stated(name: str, size: tuple[int, int]) -> None:
    net = network(name)
    with Capture(net, "*", reduce="none") as maps:
        net(image(*size, count=2))
    assert set(maps) == set(tap_names(net))
    for tap, place in maps.taps.items():
        assert place.stride is not None
        grid = tuple(math.ceil(edge / place.stride) for edge in size)
        assert tuple(maps[tap].shape) == (2, place.channels, *grid), tap
        assert len(maps.records(tap)) == 1, tap


def test_names_of_the_contract_are_there() -> None:
    names = set(tap_names(network("gsto-hrnet-tiny")))
    wanted = {"stem", "stage1.branch0", "transition3.gate", "head.logits", "head.stage2"}
    wanted |= {"head.stage3", "stage3.m0.branch1", "stage3.m0.branch1.pre"}
    wanted |= {"stage3.m0.gate[2->0]", "stage2.branch0", "stage2.branch1", *STAGE4}
    assert wanted <= names
    assert not any("gate" in tap for tap in tap_names(network("hrnetv2-tiny")))


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("stage4.branch*", STAGE4),
        ("stage4.branch?", STAGE4),
        ("stage3.m0.gate[2->0]", ["stage3.m0.gate[2->0]"]),
        ("stage3.m0.gate.2to0", ["stage3.m0.gate[2->0]"]),
        ("stage2.*gate[*->1]", ["stage2.m0.gate[0->1]", "stage2.m0.gate[1->1]"]),
        ("stage2.*gate.*to1", ["stage2.m0.gate[0->1]", "stage2.m0.gate[1->1]"]),
        ("*.pre", None),
    ],
)
def test_patterns(pattern: str, matched: list[str] | None) -> None:
    net = network("gsto-hrnet-tiny")
    if matched is None:
        matched = [tap for tap in tap_names(net) if tap.endswith(".pre")]
    assert [place.name for place in Capture(net, pattern).places] == matched


def test_brackets_are_literal_and_never_a_set_of_characters() -> None:
    with pytest.raises(GstoVizError, match=re.escape("called 'stage4.branch[01]'")):
        Capture(network("gsto-hrnet-tiny"), "stage4.branch[01]")


def test_both_spellings_read_the_same_map() -> None:
    net = network("gsto-hrnet-tiny")
    with Capture(net, "stage3.m0.gate.2to0") as maps:
        net(image())
    assert list(maps) == ["stage3.m0.gate[2->0]"]
    assert maps["stage3.m0.gate.2to0"] is maps["stage3.m0.gate[2->0]"]
    assert "stage3.m0.gate.2to0" in maps
    for tap in tap_names(net):
        assert canonical_name(safe_name(tap)) == tap
        assert not set(safe_name(tap)) & set("[]<>*?# ")


def test_default_reductions_by_kind() -> None:
    net = network("gsto-hrnet-tiny")
    with Capture(net, ["stage4.branch0", "transition3.gate", "head.logits"]) as maps:
        out = net(image())
    assert maps["stage4.branch0"].shape == (1, 17, 26)
    assert maps["transition3.gate"].shape == (1, 5, 7)
    torch.testing.assert_close(maps["head.logits"], out.logits)
    with Capture(net, "head.logits", reduce="max") as maps:
        net(image())
    torch.testing.assert_close(maps["head.logits"], out.logits.amax(1))


def test_stage_taps_are_those_of_its_last_module() -> None:
    net = network("gsto-hrnet-tiny")
    with Capture(net, ["stage3.branch1", "stage3.m0.branch1", "stage3.m1.branch1"]) as maps:
        net(image())
    assert torch.equal(maps["stage3.branch1"], maps["stage3.m1.branch1"])
    assert not torch.equal(maps["stage3.branch1"], maps["stage3.m0.branch1"])


def test_stage4_taps_are_what_the_head_reads() -> None:
    net = network("gsto-hrnet-tiny")
    with Capture(net, STAGE4, reduce="none") as maps:
        out = net(image())
    with torch.no_grad():
        torch.testing.assert_close(net.head([maps[tap] for tap in STAGE4]), out.logits)


def test_released_gates_lie_in_half_to_one() -> None:
    net = network("gsto-hrnet-tiny")
    with Capture(net, "*gate*") as maps:
        net(image())
    assert len(maps) == 4 + 2 * 9 + 16 + 2
    for tap, gate in maps.items():
        assert 0.5 <= float(gate.min()) <= float(gate.max()) <= 1.0, tap


def test_sixteen_threads_with_sixteen_images_on_one_network() -> None:
    net = network("gsto-hrnet-tiny")
    images = [image(40 + k, 72 - k) * (1 + k) for k in range(16)]

    def maps_of(picture: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad(), Capture(net, ["stage4.branch*", "*gate*"]) as maps:
            net(picture)
        return dict(maps)

    expected = [maps_of(picture) for picture in images]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(2):
            for got, wanted in zip(pool.map(maps_of, images), expected, strict=True):
                assert got.keys() == wanted.keys()
                for tap, value in got.items():
                    torch.testing.assert_close(value, wanted[tap], rtol=1e-5, atol=1e-6)
