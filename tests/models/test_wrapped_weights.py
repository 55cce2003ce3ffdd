"""Weights in random wrappers, under random prefixes, in every kind of file: found, or refused."""

import argparse
import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.models import build_model, load_official, to_official_keys
from gsto_viz.models.weights_file import INFIXES, PREFIXES, read_weights

ANCHOR = "transition1.0.0.weight"
WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "weights", "module", "network", "params",
)  # fmt: skip
AVERAGES = ("model_ema", "params_ema", "ema", "ema_state_dict", "teacher", "swa_model")
QUICK = settings(
    deadline=None,
    derandomize=True,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def official(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    state = to_official_keys(build_model("hrnetv2-tiny", num_classes=3))
    return {key: one.detach().clone() for key, one in state.items()}


WEIGHTS, OTHERS = official(0), official(1)

scalars = st.sampled_from(
    [
        3, 0.5, "text", None, True, (1, 2), [0.1], {"lr": 0.1},
        np.float64(0.7), np.float32(0.7), np.int64(4), np.bool_(True), np.str_("x"),
        torch.tensor(3), torch.float32, torch.device("cpu"), torch.Size([2]),
    ]
)  # fmt: skip
optimizers = st.sampled_from(
    [
        {},
        {"state": {0: {"step": 3, "exp_avg": torch.zeros(4, 3)}}, "param_groups": [{"lr": 0.1}]},
        {"base_lrs": [0.1], "last_epoch": 3, "_step_count": 4},
    ]
)
beside = st.dictionaries(
    st.sampled_from(["epoch", "best_mIoU", "best_score", "iteration", "lr", "config"]), scalars
)
prefixes = st.lists(
    st.sampled_from((*PREFIXES, *INFIXES, "segmentor.", "my_net.hrnet.")), max_size=3
)
suffixes = st.sampled_from([".pth", ".pt", ".pth.tar", ".ckpt", ".bin", ""])


def prefixed(weights: dict[str, Tensor], prefix: list[str]) -> dict[str, Tensor]:
    return {"".join(prefix) + key: one for key, one in weights.items()}


@st.composite
def wrapped(draw: Any, weights: dict[str, Tensor]) -> Any:
    """Weights under a random prefix, in up to three wrappers, with other things beside them."""
    held: Any = prefixed(weights, draw(prefixes))
    if draw(st.booleans()):
        held = collections.OrderedDict(held)
    for name in draw(st.lists(st.sampled_from(WRAPPERS), max_size=3, unique=True)):
        held = {**draw(beside), name: held}
        if draw(st.booleans()):
            held["optimizer"] = draw(optimizers)
    return held


def assert_same(read: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[key], one) for key, one in expected.items())


@QUICK
@given(held=wrapped(WEIGHTS), suffix=suffixes, zipped=st.booleans())
def test_weights_are_found_in_any_wrapper(
    held: Any, suffix: str, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_weights(path, ANCHOR).tensors, WEIGHTS)
    assert_same(read_weights(held, ANCHOR).tensors, WEIGHTS)


@QUICK
@given(
    prefix=prefixes,
    suffix=st.sampled_from([".safetensors", ".pth", ""]),
    extra=st.lists(st.sampled_from(["criterion.weight", "val_metric.confmat", "n_averaged"])),
)
def test_safetensors_are_told_by_content(
    prefix: list[str], suffix: str, extra: list[str], tmp_path: Path
) -> None:
    path = tmp_path / f"w{suffix}"
    own = {key: one.contiguous() for key, one in prefixed(WEIGHTS, prefix).items()}
    save_file({**own, **{name: torch.ones(3, 3) for name in extra}}, path)
    found = read_weights(path, ANCHOR)
    assert_same(found.tensors, WEIGHTS)
    assert set(found.left_out) == set(extra)


@QUICK
@given(
    plain=st.sampled_from(WRAPPERS),
    average=st.sampled_from(AVERAGES),
    first=st.booleans(),
    one=prefixes,
    other=prefixes,
)
def test_beside_an_average_the_plain_weights_are_taken_and_said(
    plain: str, average: str, first: bool, one: list[str], other: list[str]
) -> None:
    pair = {plain: prefixed(WEIGHTS, one), average: prefixed(OTHERS, other)}
    held = pair if first else dict(reversed(pair.items()))
    found = read_weights({"epoch": 3, **held}, ANCHOR)
    assert_same(found.tensors, WEIGHTS)
    assert found.said is not None
    assert f"under '{plain}' are taken" in found.said
    assert f"'{average}'" in found.said


@settings(QUICK, max_examples=8)
@given(held=wrapped(WEIGHTS), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float64]))
def test_other_precisions_are_loaded_as_the_nearest_float32(held: Any, dtype: torch.dtype) -> None:
    def cast(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        return {k: cast(v) for k, v in value.items()} if isinstance(value, dict) else value

    model = build_model("hrnetv2-tiny", num_classes=3)
    load_official(model, cast(held))
    for key, one in to_official_keys(model).items():
        expected = WEIGHTS[key].to(dtype) if one.is_floating_point() else WEIGHTS[key]
        assert torch.equal(one, expected.to(one.dtype)), key


class Trap:
    """Says when a pickle is run."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return exec, (f"open({self.place!r}, 'w').close()",)


objects = st.sampled_from(["trap", "namespace", "path", "array", "objects", "module", "function"])


@QUICK
@given(held=wrapped(WEIGHTS), kind=objects, zipped=st.booleans(), suffix=suffixes)
def test_anything_else_in_a_pickle_is_refused_and_never_run(
    held: Any, kind: str, zipped: bool, suffix: str, tmp_path: Path
) -> None:
    path, mark = tmp_path / f"weights{suffix}", tmp_path / "run"
    value = {
        "trap": Trap(str(mark)),
        "namespace": argparse.Namespace(lr=0.1),
        "path": Path("a"),
        "array": np.zeros(3),
        "objects": np.array([Trap(str(mark))], dtype=object),
        "module": torch.nn.Conv2d(3, 3, 1),
        "function": print,
    }[kind]
    torch.save({"state_dict": held, "more": value}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(GstoVizError, match="holds more than plain tensors, which is never loaded"):
        read_weights(path, ANCHOR)
    assert not mark.exists()


@QUICK
@given(cut=st.floats(0, 0.999), zipped=st.booleans())
def test_a_file_that_was_cut_off_is_refused(cut: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(GstoVizError) as error:
        read_weights(path, ANCHOR)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, not a file of weights"),
        (bytes(4096), "is empty, not a file of weights"),
        (b"<html>404</html>", "is a text such as a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (pickle.dumps({"a": Trap("x")}), "holds more than plain tensors"),
        (b"\x80\x02garbage", "is damaged or holds more"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w"])
def test_files_of_other_kinds_are_named(
    content: bytes, message: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(GstoVizError, match=message):
        read_weights(path, ANCHOR)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 1)), tmp_path / "w.pt")
    with pytest.raises(GstoVizError, match="is a TorchScript archive, whose code is never run"):
        read_weights(tmp_path / "w.pt", ANCHOR)
