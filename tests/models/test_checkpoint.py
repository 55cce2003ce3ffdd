"""Checkpoints: exact round trips, and files that lie."""

import json
import logging
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains
from gsto_viz.models import (
    HRNet,
    ModelInfo,
    build_model,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from gsto_viz.models import checkpoint as module
from gsto_viz.models.checkpoint import load_weights, read_tensors, write_tensors
from gsto_viz.types import ClassInfo, ClassList

CLASSES = ClassList(
    "toy",
    (ClassInfo(0, "Straße", (1, 2, 3), thing=False), ClassInfo(1, "car", (9, 8, 7), thing=True)),
    flip_pairs=((0, 1),),
)


def small_network() -> HRNet:
    torch.manual_seed(0)
    network = build_model("gsto-hrnet-tiny", num_classes=2, gate_form="paper", align_corners=True)
    network.train()
    with torch.no_grad():
        network(torch.randn(2, 3, 32, 32))
    return network


@pytest.fixture
def model() -> HRNet:
    return small_network()


@pytest.fixture(scope="module")
def info() -> ModelInfo:
    gains = Gains(np.array([0.1, 2.0, 1e-30]), np.array([True, True, False]))
    return ModelInfo(
        "toy",
        "gsto-hrnet-tiny",
        CLASSES,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        gains={"stage4.branch0": gains},
        training={"seed": 3, "miou": 12.5},
    )


def test_a_round_trip_is_exact(model: HRNet, info: ModelInfo, tmp_path: Path) -> None:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_checkpoint(model, tmp_path / "a.safetensors", info=info)
    before = torch.get_rng_state()
    loaded = load_model(tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(m.training for m in loaded.modules())
    assert loaded.config == model.config
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
        assert ours[key].dtype == theirs[key].dtype
        assert theirs[key].device.type == "cpu"
    assert all(p.requires_grad for p in loaded.parameters())
    got = loaded.info
    assert got is not None
    assert (got.name, got.network, got.classes) == ("a", "gsto-hrnet-tiny", CLASSES)
    assert (got.mean, got.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert got.training == info.training
    assert np.array_equal(got.gains["stage4.branch0"].sigma, [0.1, 2.0, 1e-30])
    assert np.array_equal(got.gains["stage4.branch0"].live, [True, True, False])
    image = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        assert torch.allclose(model.eval()(image).logits, loaded(image).logits, atol=1e-5)


def test_half_weights_halve_convolutions_and_nothing_else(
    model: HRNet, info: ModelInfo, tmp_path: Path
) -> None:
    save_checkpoint(model, tmp_path / "a.safetensors", info=info, half_weights=True)
    stored = load_file(tmp_path / "a.safetensors")
    loaded = load_checkpoint(tmp_path / "a.safetensors").state_dict()
    for key, tensor in model.state_dict().items():
        if tensor.dim() == 4:
            assert stored[key].dtype == torch.float16
            assert torch.equal(loaded[key], tensor.half().float())
        else:
            assert torch.equal(stored[key], tensor)
        assert loaded[key].dtype == tensor.dtype
    assert stored["gains/stage4.branch0/sigma"].dtype == torch.float64
    with torch.no_grad():
        model.head.classifier.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(GstoVizError, match=r"head\.classifier\.weight holds values beyond float16"):
        save_checkpoint(model, tmp_path / "b.safetensors", info=info, half_weights=True)
    assert not (tmp_path / "b.safetensors").exists()


def test_another_architecture_is_counted_and_the_network_unchanged(model: HRNet) -> None:
    other = build_model("hrnetv2-tiny", num_classes=5)
    before = {k: t.clone() for k, t in other.state_dict().items()}
    own, given = set(before), model.state_dict()
    left_over = len(set(given) - own)
    shapes = sum(1 for k in own & set(given) if before[k].shape != given[k].shape)
    assert left_over > 0
    assert shapes > 0
    with pytest.raises(
        GstoVizError, match=rf"file does not fit.* {left_over} left over \(.*{shapes} of another"
    ):
        load_weights(other, given, source="file")
    assert all(torch.equal(before[k], t) for k, t in other.state_dict().items())
    missing = {k: t for k, t in before.items() if not k.startswith("head.")}
    with pytest.raises(GstoVizError, match=rf"{len(before) - len(missing)} missing \(head\."):
        load_weights(other, missing, source="file")


@pytest.fixture(scope="module")
def content(info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("content") / "a.safetensors"
    save_checkpoint(small_network(), path, info=info)
    return path.read_bytes()


@pytest.fixture
def saved(content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    return path


def rewrite(path: Path, change: Any) -> Path:
    """Write a copy with other metadata."""
    tensors, metadata = read_tensors(path)
    about = json.loads(metadata["gsto_viz"])
    changed = change(about)
    text = changed if isinstance(changed, str) else json.dumps(about)
    other = path.with_name("b.safetensors")
    write_tensors(other, tensors, {"gsto_viz": text})
    return other


LIES: dict[str, tuple[Any, str]] = {
    "newer": (lambda a: a.update(schema_version=2), "schema 2 .* reads 1; update gsto_viz"),
    "no version": (lambda a: a.pop("schema_version") and None, "schema None"),
    "not JSON": (lambda a: "{", "no JSON"),
    "deep JSON": (lambda a: "[" * 100_000, "no JSON"),
    "a list": (lambda a: "[1]", "it is not an object"),
    "option": (lambda a: a["config"].update(depth=3), "unknown key depth"),
    "no config": (lambda a: a.pop("config") and None, "damaged network configuration"),
    "config text": (
        lambda a: a.update(config="tiny"),
        "'tiny' is not a mapping of network",
    ),
    "width text": (lambda a: a["config"].update(width="4"), "damaged network configuration"),
    "width half": (lambda a: a["config"].update(width=4.5), "damaged|does not fit"),
    "modules": (lambda a: a["config"].update(modules=7), "damaged network configuration"),
    "vast": (lambda a: a["config"].update(width=10**9), "damaged network configuration: width is"),
    "endless": (lambda a: a["config"].update(modules=[1, 10**12, 1]), "modules is"),
    "long": (lambda a: a["config"].update(modules=[64, 64, 64], blocks=64), "too few for the"),
    "gating": (lambda a: a["config"].update(gating=5), "configuration: gating is 5"),
    "corners": (lambda a: a["config"].update(align_corners="no"), "align_corners is 'no'"),
    "stages": (lambda a: a["config"]["gating"].update(supervised="23"), "supervised is '23'"),
    "momentum": (lambda a: a["config"].update(bn_momentum=float("nan")), "bn_momentum is nan"),
    "mean vast": (lambda a: a.update(mean=[10**400, 0, 0]), "'mean' is not three numbers"),
    "wider": (lambda a: a["config"].update(width=8), "of another shape"),
    "network": (lambda a: a.update(network=3), "'network' is not a name"),
    "notice": (lambda a: a.update(notice=["x"]), "'notice' is not a text"),
    "training": (lambda a: a.update(training=None), "'training' is not an object"),
    "order": (lambda a: a.update(channel_order="BGR"), "'channel_order' is not RGB"),
    "mean": (lambda a: a.update(mean=[0, 0]), "'mean' is not three numbers"),
    "mean text": (lambda a: a.update(mean=["a", 0, 0]), "'mean' is not three numbers"),
    "std": (lambda a: a.update(std=[1, 0, 1]), "'std' is not above 0"),
    "std nan": (lambda a: a.update(std=[1, float("nan"), 1]), "'std' is not three numbers"),
    "classes": (lambda a: a.update(classes=[1]), "'classes' is not a class list"),
    "fewer": (
        lambda a: a["classes"]["classes"].pop() and a["classes"].pop("flip_pairs") and None,
        "1 classes for 2 logits",
    ),
    "pairs": (lambda a: a["classes"].update(flip_pairs=[[0, 2]]), "'flip_pairs' is not made of"),
    "pair": (lambda a: a["classes"].update(flip_pairs=[0, 1]), "'flip_pairs' is not made of"),
    "twice": (lambda a: a["classes"].update(flip_pairs=[[0, 0]]), "'flip_pairs' is not made of"),
    "id": (lambda a: a["classes"]["classes"][1].update(id=5), r"'classes\[1\]' is not .* id 1"),
    "name": (lambda a: a["classes"]["classes"][1].update(name=5), r"'classes\[1\]' has no name"),
    "kind": (lambda a: a["classes"]["classes"][1].update(kind="x"), "neither thing nor stuff"),
    "color": (lambda a: a["classes"]["classes"][0].update(color="red"), "no colour"),
    "bright": (lambda a: a["classes"]["classes"][0].update(color=[0, 0, 256]), "outside 0..255"),
}


@pytest.mark.parametrize("lie", LIES)
def test_metadata_that_lie_give_one_sentence(lie: str, saved: Path) -> None:
    change, message = LIES[lie]
    path = rewrite(saved, change)
    with pytest.raises(GstoVizError, match=message) as raised:
        load_model(path)
    assert "b.safetensors" in str(raised.value)


def test_files_that_are_no_checkpoint(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    path = tmp_path / "c.safetensors"
    wrong = {
        "empty": b"",
        "text": b"hello, this is no checkpoint at all",
        "truncated": content[: len(content) // 2],
        "header only": content[:200],
        "header bomb": struct.pack("<Q", 2**60) + content[8:],
        "longer": content + b"\0" * 64,
    }
    for what, data in wrong.items():
        path.write_bytes(data)
        with pytest.raises(GstoVizError, match="is not a readable safetensors file"):
            load_model(path)
        assert path.read_bytes() == data, what
    with pytest.raises(GstoVizError, match=r"net\.py:build is a factory file, which evaluate, "):
        load_model("net.py:build")
    with pytest.raises(GstoVizError, match=r"no checkpoint file .*absent"):
        load_model(tmp_path / "absent.safetensors")
    with pytest.raises(GstoVizError, match="no file"):
        load_checkpoint(tmp_path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(GstoVizError, match="no gsto_viz metadata"):
        load_checkpoint(path)
    with pytest.raises(GstoVizError, match="this is not an official HRNet file"):
        load_model(path)


def test_names_that_nobody_knows(monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    monkeypatch.setattr(module, "shipped_checkpoints", lambda: {"scenes-tiny": saved})
    assert load_model("scenes-tiny").info.name == "scenes-tiny"  # type: ignore[union-attr]
    with pytest.raises(GstoVizError, match="no checkpoint 'scene-tiny'; did you mean scenes-tiny"):
        load_model("scene-tiny")
    with pytest.raises(GstoVizError, match=r"scenes-tiny says itself .*--arch is for official"):
        load_model("scenes-tiny", arch="hrnetv2-w48")
    with pytest.raises(GstoVizError, match=r"a\.safetensors says itself .*--arch is for official"):
        load_model(saved, arch="hrnetv2-w48")
    monkeypatch.setattr(module, "shipped_checkpoints", dict)
    with pytest.raises(GstoVizError, match=r"no checkpoint 'x'; none are shipped .* give the path"):
        load_model("x")


@pytest.fixture
def said() -> Iterator[None]:
    module._say_notice.cache_clear()
    yield
    module._say_notice.cache_clear()


def test_a_notice_is_said_once(
    model: HRNet, info: ModelInfo, tmp_path: Path, said: None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(model, path, info=replace(info, notice="non-commercial use only"))
    with caplog.at_level(logging.WARNING, logger="gsto_viz"):
        load_model(path)
        load_model(path)
    assert [r.getMessage() for r in caplog.records] == ["a: non-commercial use only"]
    caplog.clear()
    save_checkpoint(model, path, info=info)
    load_model(path)
    assert caplog.records == []


def test_a_write_that_fails_keeps_the_old_file(
    model: HRNet, info: ModelInfo, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(GstoVizError, match=r"cannot write .*a\.safetensors: No space left"):
        save_checkpoint(model, saved, info=info)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["a.safetensors"]
