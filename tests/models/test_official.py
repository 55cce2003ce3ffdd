"""Official key layouts: both ways, what is reported, and files that are refused."""

import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.models import (
    HRNet,
    build_model,
    infer_official_config,
    load_official,
    to_official_keys,
)
from gsto_viz.models.checkpoint import load_model
from gsto_viz.models.official import load_official_model

COUNTER = "num_batches_tracked"
HEAD_KEYS = {
    *(f"last_layer.{i}.{t}" for i in (0, 3) for t in ("weight", "bias")),
    *(f"last_layer.1.{t}" for t in ("weight", "bias", "running_mean", "running_var")),
}


def drawn(name: str, seed: int = 0, **options: object) -> HRNet:
    """Build a network in which every tensor is random, counters too."""
    torch.manual_seed(seed)
    model = build_model(name, **options)
    for tensor in model.state_dict().values():
        tensor.random_(1, 1000) if tensor.dtype == torch.int64 else tensor.normal_()
    return model


def official(name: str, seed: int = 1, **options: object) -> dict[str, Tensor]:
    """Return a file's content with random tensors, the dead unit too."""
    state = {k: v.clone() for k, v in to_official_keys(drawn(name, seed, **options)).items()}
    for key in state:
        if key.startswith("att1."):
            state[key] = torch.randint(1, 9, state[key].shape).to(state[key].dtype)
    return state


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def snapshot(model: HRNet) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "tensors", "without_counters"),
    [
        ("hrnetv2-w18-small-v1", 435, 363),
        ("hrnetv2-w18-small-v2", 873, 728),
        ("hrnetv2-w18", 1839, 1533),
        ("hrnetv2-w48", 1839, 1533),
        ("gsto-hrnet-w18-small-v1", 663, 554),
        ("gsto-hrnet-w18-small-v2", 1305, 1089),
        ("gsto-hrnet-w48", 2421, 2019),
    ],
)
def test_number_of_official_tensors(name: str, tensors: int, without_counters: int) -> None:
    with torch.device("meta"):
        model = build_model(name)
    assert len(to_official_keys(model)) == tensors
    assert len(to_official_keys(model, num_batches_tracked=False)) == without_counters


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("conv1.weight", (64, 3, 3, 3)),
        ("bn2.running_var", (64,)),
        ("layer1.0.downsample.0.weight", (256, 64, 1, 1)),
        ("layer1.1.conv3.weight", (256, 64, 1, 1)),
        ("transition1.0.0.weight", (18, 256, 3, 3)),
        ("transition1.1.0.0.weight", (36, 256, 3, 3)),
        ("transition3.3.0.1.bias", (144,)),
        ("stage3.2.branches.1.1.conv2.weight", (36, 36, 3, 3)),
        ("stage4.1.fuse_layers.0.3.0.weight", (18, 144, 1, 1)),
        ("stage4.1.fuse_layers.3.0.0.0.weight", (18, 18, 3, 3)),
        ("stage4.1.fuse_layers.3.0.2.0.weight", (144, 18, 3, 3)),
        ("stage4.1.fuse_layers.3.0.2.1.weight", (144,)),
        ("stage4.1.att_layers.0.3.0.weight", (1, 144, 1, 1)),
        ("stage4.1.att_layers.2.2.1.running_mean", (1,)),
        ("att1.1.0.0.weight", (1, 19, 3, 3)),
        ("att2.2.0.0.weight", (1, 19, 3, 3)),
        ("att3.3.2.0.weight", (1, 1, 3, 3)),
        ("last_layer.0.bias", (270,)),
        ("last_layer_stage2.0.weight", (54, 54, 1, 1)),
        ("last_layer_stage3.3.weight", (19, 126, 1, 1)),
    ],
)
def test_keys_and_shapes_are_the_official_ones(key: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = to_official_keys(build_model("gsto-hrnet-w18-small-v2"))
    assert tuple(state[key].shape) == shape
    assert not [k for k in state if ".fuse_layers.1.1." in k or k.startswith("att1.1.1")]


@pytest.mark.parametrize("name", ["hrnetv2-tiny", "gsto-hrnet-tiny", "gsto-hrnet-w18-small-v1"])
def test_round_trip_is_exact(name: str) -> None:
    state = official(name)
    model = drawn(name)
    report = load_official(model, state)
    assert equal(to_official_keys(model), state)
    assert report.kind == "segmentation"
    assert (report.missing, report.unexpected, report.shape_mismatch) == ((), (), ())
    dead = {key for key in state if key.startswith("att1.")}
    assert set(report.loaded) == set(state) - dead
    assert set(report.ignored) == dead
    assert bool(dead) == name.startswith("gsto")
    other = drawn(name, seed=7)
    load_official(other, to_official_keys(model))
    assert equal(dict(other.state_dict()), dict(model.state_dict()))


def test_dead_unit_is_no_parameter_and_neutral_when_nothing_was_loaded() -> None:
    model = build_model("gsto-hrnet-tiny", num_classes=3)
    names = {name for name, _ in model.named_parameters()} | set(model.state_dict())
    load_official(model, official("gsto-hrnet-tiny", num_classes=3))
    assert {n for n, _ in model.named_parameters()} | set(model.state_dict()) == names
    fresh = to_official_keys(build_model("gsto-hrnet-tiny", num_classes=3))
    unit = {k.removeprefix("att1.1.0."): v for k, v in fresh.items() if k.startswith("att1.")}
    assert unit["0.weight"].shape == (1, 3, 3, 3)
    assert not unit["0.weight"].any()
    assert [float(unit[f"1.{t}"]) for t in ("weight", "bias", "running_mean", "running_var")] == [
        1,
        0,
        0,
        1,
    ]
    assert unit[f"1.{COUNTER}"].dtype == torch.int64


@pytest.mark.parametrize("prefix", ["model.", "module.", "module.model.", "model.module.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_prefixes_and_wrappers_come_off(prefix: str, wrapper: str | None) -> None:
    state = official("gsto-hrnet-tiny")
    held: dict = OrderedDict((prefix + key, value) for key, value in state.items())
    held[prefix.replace("model.", "") + "loss.criterion.weight"] = torch.ones(19)
    if wrapper:
        held = {wrapper: held, "epoch": 3, "optimizer": {"state": {}}}
    model = drawn("gsto-hrnet-tiny")
    report = load_official(model, held)
    assert equal(to_official_keys(model), state)
    assert any(key.endswith("loss.criterion.weight") for key in report.ignored)


def test_missing_counters_become_zero_and_give_a_hint() -> None:
    state = {k: v for k, v in official("gsto-hrnet-tiny").items() if not k.endswith(COUNTER)}
    model = drawn("gsto-hrnet-tiny")
    report = load_official(model, state)
    assert report.missing == ()
    assert "inplace_abn=True" in report.hint
    assert equal(to_official_keys(model, num_batches_tracked=False), state)
    assert not any(v.any() for k, v in model.state_dict().items() if k.endswith(COUNTER))
    assert load_official(model, official("gsto-hrnet-tiny")).hint is None


def test_inplace_abn_is_converted_only_when_asked() -> None:
    state = official("gsto-hrnet-tiny")
    model = drawn("gsto-hrnet-tiny")
    assert load_official(model, state).converted == ()
    report = load_official(model, state, inplace_abn=True)
    assert report.hint is None
    back = to_official_keys(model)
    norms = {k.removesuffix("running_mean") + "weight" for k in state if "running_mean" in k}
    norms = {k for k in norms if not k.startswith("att1.")}
    assert set(report.converted) == norms
    assert any((state[k] < 0).any() for k in norms)
    for key, value in back.items():
        expected = value.new_tensor(np.abs(state[key].numpy()) + 1e-5) if key in norms else None
        assert torch.equal(value, state[key] if expected is None else expected), key


def imagenet(name: str) -> dict[str, Tensor]:
    """Return a file of the classification network: another head, the same backbone."""
    state = {k: v for k, v in official(name).items() if not k.startswith("last_layer")}
    return state | {
        "incre_modules.0.0.conv1.weight": torch.ones(2, 2, 1, 1),
        "downsamp_modules.1.0.bias": torch.ones(2),
        "final_layer.0.weight": torch.ones(2, 2, 1, 1),
        "classifier.weight": torch.ones(1000, 2),
        "classifier.bias": torch.ones(1000),
    }


def test_imagenet_files_fill_the_backbone_of_any_network() -> None:
    state = imagenet("hrnetv2-tiny")
    plain = drawn("hrnetv2-tiny", num_classes=3)
    report = load_official(plain, state)
    assert report.kind == "backbone"
    assert set(report.missing) == HEAD_KEYS
    assert len(report.ignored) == 5
    back = to_official_keys(plain)
    assert all(torch.equal(back[key], state[key]) for key in report.loaded)
    assert len(report.loaded) == len(back) - 9
    gated = drawn("gsto-hrnet-tiny", gate_form="paper", gate_supervised=(1, 3))
    before = snapshot(gated)
    report = load_official(gated, state)
    loaded = {k for k, v in gated.state_dict().items() if not torch.equal(v, before[k])}
    assert len(loaded) == len(report.loaded) == len(back) - 9
    assert not [k for k in loaded if ".gate." in k or "predictor" in k or k.startswith("head")]
    assert "transition1.gate.score.weight" in report.missing


def test_backbone_of_a_segmentation_file_with_other_classes() -> None:
    state = official("gsto-hrnet-tiny", num_classes=7)
    model = drawn("gsto-hrnet-tiny", num_classes=3)
    report = load_official(model, state, kind="backbone")
    assert any(".att_layers." in key for key in report.loaded)
    assert not [k for k in report.loaded if k.startswith(("last_layer", "att"))]
    plain = drawn("hrnetv2-tiny", num_classes=3)
    report = load_official(plain, state, kind="backbone")
    assert any(".att_layers." in key for key in report.ignored)
    assert report.unexpected == ()


BROKEN = [
    ("hrnetv2-tiny", lambda s: s.pop("stage2.0.branches.1.0.bn1.weight"), r"1 missing \(stage2\.0"),
    ("hrnetv2-tiny", lambda s: s.update(extra=torch.ones(2)), r"1 left over \(extra\)"),
    (
        "hrnetv2-tiny",
        lambda s: s.update({"conv1.weight": torch.ones(64, 3, 5, 5)}),
        r"1 of another shape \(conv1.weight \[64, 3, 5, 5\] in the file, \[64, 3, 3, 3\]",
    ),
    (
        "gsto-hrnet-tiny",
        lambda s: [s.pop(k) for k in list(s) if "att_layers" in k],
        r"\d+ missing \(stage2\.0\.att_layers\.0\.0\.0\.weight, .*and \d+ more",
    ),
    (
        "gsto-hrnet-tiny",
        lambda s: s.update({"att1.1.0.0.weight": torch.ones(1, 2, 3, 3)}),
        "1 of another shape .att1",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "message"), BROKEN)
def test_a_file_that_does_not_fit_changes_nothing(name, spoil, message) -> None:
    state = official(name)
    model = drawn(name)
    model.official_unused = {"kept": torch.ones(1)}
    before = snapshot(model)
    spoil(state)
    with pytest.raises(GstoVizError, match=message):
        load_official(model, state)
    assert equal(snapshot(model), before)
    assert list(model.official_unused) == ["kept"]
    report = load_official(model, state, strict=False)
    assert report.missing or report.unexpected or report.shape_mismatch
    assert not equal(snapshot(model), before)


def test_gsto_and_hrnet_files_do_not_pass_for_each_other() -> None:
    with pytest.raises(GstoVizError, match=r"\d+ left over \(.*att"):
        load_official(build_model("hrnetv2-tiny"), official("gsto-hrnet-tiny"))
    with pytest.raises(GstoVizError, match=r"\d+ missing \("):
        load_official(build_model("gsto-hrnet-tiny"), official("hrnetv2-tiny"))
    with pytest.raises(GstoVizError, match="2 of another shape"):
        load_official(build_model("hrnetv2-tiny"), official("hrnetv2-tiny", num_classes=3))


@pytest.mark.parametrize(
    "options",
    [
        {"gate_form": "paper"},
        {"gate_fusion": False},
        {"gate_diagonal": False},
        {"gate_supervised": (3,)},
        {"gate_supervised": (2,), "gate_unsupervised": (3,)},
        {"gate_source": "concat"},
        {"gate_auxiliary_heads": (1,)},
    ],
    ids=str,
)
def test_gates_without_official_names_are_refused(options) -> None:
    model = build_model("gsto-hrnet-tiny", **options)
    before = snapshot(model)
    for call in (to_official_keys, lambda m: load_official(m, official("gsto-hrnet-tiny"))):
        with pytest.raises(GstoVizError, match="the official layout has no such gates"):
            call(model)
    assert equal(snapshot(model), before)


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("name", ["hrnetv2-tiny", "gsto-hrnet-tiny", "gsto-hrnet-w18-small-v2"])
def test_network_is_inferred_from_shapes(name: str, prefix: str) -> None:
    with torch.device("meta"):
        model = build_model(name, num_classes=11)
        state = {prefix + k: v for k, v in to_official_keys(model).items()}
    assert infer_official_config(state) == model.config
    assert infer_official_config({"state_dict": state}, num_classes=11) == model.config
    with pytest.raises(GstoVizError, match="num_classes is 3 and the file has 11 classes"):
        infer_official_config(state, num_classes=3)


def test_inference_refuses_what_is_no_hrnet_or_has_no_head() -> None:
    with pytest.raises(GstoVizError, match=r"not an official HRNet file: .*stage2\.0"):
        infer_official_config({"fc.weight": torch.ones(2, 2)})
    state = imagenet("hrnetv2-tiny")
    with pytest.raises(GstoVizError, match="no segmentation head"):
        infer_official_config(state)
    assert infer_official_config(state, num_classes=6).num_classes == 6


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("legacy", [False, True])
def test_files(tmp_path: Path, suffix: str, legacy: bool) -> None:
    state = official("gsto-hrnet-tiny", num_classes=4)
    path = tmp_path / f"best{suffix}"
    if suffix == ".pth":
        torch.save(
            {"epoch": 1, "state_dict": {f"model.{k}": v for k, v in state.items()}},
            path,
            _use_new_zipfile_serialization=not legacy,
        )
    else:
        save_file(state, path)
    model = load_official_model(path)
    assert equal(to_official_keys(model), state)
    assert not model.training
    assert (model.info.name, model.info.network) == ("best", "gsto-hrnet-tiny")
    assert len(model.info.classes) == 4
    assert len({c.color for c in model.info.classes}) == 4
    named = load_official_model(path, arch="gsto-hrnet-tiny", align_corners=True)
    assert named.config.align_corners
    with pytest.raises(GstoVizError, match=r"best\.\w+: the state dict does not fit"):
        load_official_model(path, arch="hrnetv2-tiny")


@pytest.mark.parametrize("inplace_abn", [False, True])
def test_a_file_that_looks_like_inplace_abn_is_named_on_loading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, inplace_abn: bool
) -> None:
    path = tmp_path / "abn.safetensors"
    state = official("gsto-hrnet-tiny", num_classes=4)
    save_file({k: v for k, v in state.items() if not k.endswith(COUNTER)}, path)
    with caplog.at_level("WARNING", logger="gsto_viz"):
        load_official_model(path, inplace_abn=inplace_abn)
    said = [r.getMessage() for r in caplog.records if r.name.startswith("gsto_viz")]
    if inplace_abn:
        assert said == []
    else:
        assert len(said) == 1
        assert "abn.safetensors" in said[0]
        assert "inplace_abn=True" in said[0]


def test_the_dead_unit_goes_where_the_weights_are() -> None:
    model = build_model("gsto-hrnet-tiny", num_classes=3)
    load_official(model, official("gsto-hrnet-tiny", num_classes=3))
    kept = {k: v.clone() for k, v in model.official_unused.items()}
    assert kept
    state = to_official_keys(model.double())
    assert {v.dtype for v in state.values()} == {torch.float64, torch.int64}
    assert all(torch.equal(state[k], v.to(state[k])) for k, v in kept.items())
    assert {v.device.type for v in to_official_keys(model.to("meta")).values()} == {"meta"}


class Trap:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["pickle", "zip", "legacy"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "pwned"
    content = {"state_dict": {"conv1.weight": torch.ones(1)}, "extra": Trap(target)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    model = drawn("hrnetv2-tiny")
    before = snapshot(model)
    with pytest.raises(GstoVizError, match="damaged or holds more than plain tensors"):
        load_official(model, path)
    assert not target.exists()
    assert equal(snapshot(model), before)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_are_one_sentence(tmp_path: Path, legacy: bool) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(
        {"conv1.weight": torch.ones(8), "nested": {"a": torch.zeros(3, dtype=torch.int64)}},
        whole,
        _use_new_zipfile_serialization=not legacy,
    )
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    model = build_model("hrnetv2-tiny")
    path = tmp_path / "damaged.pth"
    for trial in range(120):
        spoiled = bytearray(data)
        if trial % 2:
            spoiled = spoiled[: rng.integers(len(data))]
        for place in rng.integers(max(len(spoiled), 1), size=3 if spoiled else 0):
            spoiled[place] = rng.integers(256)
        path.write_bytes(bytes(spoiled))
        with pytest.raises(GstoVizError) as caught:
            load_official(model, path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.pth", None, "no checkpoint file .*gone.pth"),
        ("empty.pth", b"", "is empty"),
        ("text.pth", b"hello, this is a text file\n" * 9, "is a text"),
        ("text.safetensors", b"hello, this is a text file\n" * 9, "is a text"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, name: str, content, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(GstoVizError, match=message):
        load_official(build_model("hrnetv2-tiny"), tmp_path / name)
    with pytest.raises(GstoVizError, match="no checkpoint file"):
        load_official(build_model("hrnetv2-tiny"), tmp_path)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, "holds no weights"),
        ({"state_dict": {}}, "holds no weights"),
        ({"epoch": 3}, "holds no weights"),
        ({"conv1.weight": [1, 2]}, "holds no weights"),
        ({"a": torch.eye(2).to_sparse()}, "'a' is not a plain tensor"),
        ({"a": torch.ones(1), "model.a": torch.ones(1)}, "two tensors for 'a'"),
        ({"a": torch.ones(1)}, "does not fit"),
    ],
)
def test_dictionaries_without_a_network(held, message) -> None:
    with pytest.raises(GstoVizError, match=message):
        load_official(build_model("hrnetv2-tiny"), held)


def test_nothing_fitting_is_refused_even_when_not_strict() -> None:
    with pytest.raises(GstoVizError, match="no key of this file fits"):
        load_official(build_model("hrnetv2-tiny"), {"a": torch.ones(1)}, strict=False)
    with pytest.raises(GstoVizError, match="unknown kind 'classes'; choose one of auto"):
        load_official(build_model("hrnetv2-tiny"), {"a": torch.ones(1)}, kind="classes")


NAMES = ("checkpoint.pth.tar", "last.ckpt", "pytorch_model.bin", "weights", "w.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_files_are_opened_by_content(tmp_path: Path, name: str) -> None:
    state = official("hrnetv2-tiny", num_classes=4)
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / name)
    assert equal(to_official_keys(load_model(tmp_path / name)), state)
    save_file(state, tmp_path / name)
    assert equal(to_official_keys(load_model(tmp_path / name)), state)


@pytest.mark.parametrize("legacy", [False, True])
def test_numpy_scalars_beside_weights_are_read(tmp_path: Path, legacy: bool) -> None:
    state = official("hrnetv2-tiny", num_classes=4)
    beside = {
        "epoch": np.int64(3), "best_mIoU": np.float64(0.5), "lr": np.float32(0.1),
        "done": np.bool_(True), "type": np.dtype("<f4"), "name": np.str_("x"),
    }  # fmt: skip
    path = tmp_path / "best.pth"
    torch.save(beside | {"state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
    assert equal(to_official_keys(load_model(path)), state)


@pytest.mark.parametrize(
    "evil", [np.array([1.0]), np.array([{}], dtype=object), np.void(b"abc"), slice(3)], ids=str
)
def test_nothing_else_of_numpy_is_read(tmp_path: Path, evil: object) -> None:
    path, before = tmp_path / "evil.pth", torch.serialization.get_safe_globals()
    torch.save({"state_dict": official("hrnetv2-tiny"), "extra": evil}, path)
    with pytest.raises(GstoVizError, match="damaged or holds more than plain tensors") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert set(torch.serialization.get_safe_globals()) == set(before)


def shifted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v + 1 for k, v in state.items()}


WRAPPED = {
    "state_dict": (
        lambda s: {"state_dict": s, "optimizer": {"state": {0: {"m": s}}}},
        "state_dict",
    ),
    "net": (lambda s: {"epoch": 1, "net": s}, "net"),
    "weights": (lambda s: {"weights": s}, "weights"),
    "params_ema": (lambda s: {"params_ema": s}, "params_ema"),
    "deep": (lambda s: {"model": {"state_dict": s}, "args": {"lr": 1}}, "model.state_dict"),
    "ema first": (lambda s: {"model_ema": shifted(s), "model": s}, "model.*not .*model_ema"),
    "ema last": (lambda s: {"state_dict": s, "ema": shifted(s)}, "state_dict.*not .*ema"),
    "counted": (
        lambda s: {"net": s, "ema": {"n_averaged": torch.tensor(1)} | shifted(s)},
        "net.*not .*ema",
    ),
    "small beside": (lambda s: {"model_d": {"a": torch.ones(2)}, "model_g": s}, "model_g"),
    "flat": (
        lambda s: (
            {f"ema.{k}": v + 1 for k, v in s.items()} | {f"model.{k}": v for k, v in s.items()}
        ),
        "no prefix|without a prefix",
    ),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_the_largest_mapping_is_taken_and_named(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrap, said = WRAPPED[case]
    state = official("hrnetv2-tiny", num_classes=4)
    torch.save(wrap(state), tmp_path / "w.pth")
    with caplog.at_level("WARNING", logger="gsto_viz"):
        model = load_model(tmp_path / "w.pth")
    assert equal(to_official_keys(model), state)
    (line,) = [r.getMessage() for r in caplog.records]
    assert re.search(said, line), line


PREFIXED = ("_orig_mod.", "module._orig_mod.", "net.", "backbone.", "segmentor.hrnet.", "a.b.c.")


@pytest.mark.parametrize("prefix", PREFIXED)
def test_any_common_prefix_comes_off(prefix: str, tmp_path: Path) -> None:
    state = official("gsto-hrnet-tiny", num_classes=4)
    torch.save({prefix + k: v for k, v in state.items()}, tmp_path / "w.pth")
    assert equal(to_official_keys(load_model(tmp_path / "w.pth")), state)
    head = {k: v for k, v in state.items() if k.startswith("last_layer")}
    rest = {prefix + k: v for k, v in state.items() if k not in head}
    torch.save({"epoch": 3} | head | rest, tmp_path / "w.pth")
    assert equal(to_official_keys(load_model(tmp_path / "w.pth")), state)


def test_a_compiled_part_is_no_other_name() -> None:
    state = official("hrnetv2-tiny")
    model = drawn("hrnetv2-tiny")
    load_official(model, {k.replace("stage2.", "stage2._orig_mod."): v for k, v in state.items()})
    assert equal(to_official_keys(model), state)


def test_a_file_of_ocr_is_named_as_such(tmp_path: Path) -> None:
    state = official("hrnetv2-tiny") | {"ocr_distri_head.conv_bn_dropout.0.weight": torch.ones(2)}
    path = tmp_path / "ocr.pth"
    torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}}, path)
    for headless in (False, True):
        with pytest.raises(GstoVizError, match=r"ocr\.pth is of HRNet-OCR"):
            load_model(path, headless=headless)
    with pytest.raises(GstoVizError, match=r"ocr\.pth is of HRNet-OCR"):
        load_official(drawn("hrnetv2-tiny"), path)


def test_imagenet_weights_open_where_no_head_is_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = imagenet("hrnetv2-tiny")
    path = tmp_path / "imagenet.pth"
    torch.save(state, path)
    with pytest.raises(GstoVizError, match=r"no segmentation head .* --set initialization=FILE"):
        load_model(path)
    before = torch.get_rng_state()
    with caplog.at_level("WARNING", logger="gsto_viz"):
        model = load_model(path, headless=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: it has no segmentation head; ours is drawn at random"
    ]
    own = to_official_keys(model)
    for key, value in state.items():
        assert key not in own or torch.equal(own[key], value), key
    again = load_model(path, headless=True)
    assert torch.equal(again.head.conv.weight, model.head.conv.weight)
