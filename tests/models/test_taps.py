"""Every tap of the contract exists, fires, and has the stride and channels that it says."""

import math

import pytest
import torch

from gsto_viz.models import build_model

GATES = {2: 4, 3: 9, 4: 16}


@pytest.mark.parametrize("family", ["hrnetv2", "gsto-hrnet"])
@pytest.mark.parametrize("size", [(67, 101), (64, 96)])
def test_every_tap_fires_once_with_its_shape(family: str, size: tuple[int, int]) -> None:
    model = build_model(f"{family}-tiny", num_classes=5).eval()
    shapes: dict[str, list[torch.Size]] = {}
    for tap in model.taps().values():
        model.get_submodule(tap.module).register_forward_hook(
            lambda module, inputs, output, name=tap.name: shapes.setdefault(name, []).append(
                output.shape
            )
        )
    with torch.no_grad():
        model(torch.randn(2, 3, *size))
    for name, tap in model.taps().items():
        assert name == tap.name
        grid = tuple(math.ceil(s / tap.stride) for s in size)
        assert shapes[name] == [(2, tap.channels, *grid)], name


def expected_names(modules: tuple[int, int, int], gated: bool) -> set[str]:
    names = {"stem", "stage1.branch0", "head.logits"}
    for stage, count in zip((2, 3, 4), modules, strict=True):
        for r in range(stage):
            names.add(f"stage{stage}.branch{r}")
            for m in range(count):
                names |= {f"stage{stage}.m{m}.branch{r}", f"stage{stage}.m{m}.branch{r}.pre"}
                if gated:
                    names |= {f"stage{stage}.m{m}.gate[{j}->{r}]" for j in range(stage)}
    if gated:
        names |= {"transition2.gate", "transition3.gate", "head.stage2", "head.stage3"}
    return names


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    ("size", "gates"), [("tiny", None), ("w18-small-v1", 29), ("w18-small-v2", 63), ("w18", 88)]
)
def test_names_are_the_contracts(size: str, gates: int | None, gated: bool) -> None:
    with torch.device("meta"):
        model = build_model(f"{'gsto-hrnet' if gated else 'hrnetv2'}-{size}")
    taps = model.taps()
    assert set(taps) == expected_names(model.config.modules, gated)
    fusion_gates = [t for t in taps.values() if t.kind == "gate" and t.name.startswith("stage")]
    counted = sum(m * GATES[s] for s, m in zip((2, 3, 4), model.config.modules, strict=True))
    assert len(fusion_gates) == (counted if gated else 0)
    if gated and gates is not None:
        assert counted == gates


def test_paper_site_is_the_last_fusion_of_the_stage() -> None:
    taps = build_model("gsto-hrnet-tiny").taps()
    assert taps["stage3.branch1"].module == taps["stage3.m1.branch1"].module
    assert taps["stage3.branch1"].module != taps["stage3.m0.branch1"].module


def test_gates_without_diagonal_have_no_diagonal_taps() -> None:
    taps = build_model("gsto-hrnet-tiny", gate_diagonal=False, gate_supervised=(1, 2, 3)).taps()
    assert not [name for name in taps if any(f"gate[{r}->{r}]" in name for r in range(4))]
    assert "stage2.m0.gate[1->0]" in taps
    assert {"transition1.gate", "head.stage1"} <= set(taps)
    assert [taps[f"transition{s}.gate"].stride for s in (1, 2, 3)] == [4, 8, 16]


def test_gate_tap_is_the_gate_and_not_the_product() -> None:
    model = build_model("gsto-hrnet-tiny").eval()
    found = {}
    for name in ("stage2.m0.gate[1->0]", "transition3.gate"):
        module = model.get_submodule(model.taps()[name].module)
        module.register_forward_hook(
            lambda module, inputs, output, name=name: found.update({name: output})
        )
    with torch.no_grad():
        model(torch.randn(1, 3, 64, 64))
    assert all(float(g.min()) >= 0.5 and float(g.max()) <= 1 for g in found.values())
    assert [g.shape[1] for g in found.values()] == [1, 1]
