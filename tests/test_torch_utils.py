"""Evaluation mode and its undoing, devices, normalisation."""

import contextlib
import random
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.errors import GstoVizError
from gsto_viz.torch_utils import eval_mode, image_to_tensor, pick_device


def test_each_part_gets_its_own_mode_back_also_after_an_exception() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Sequential(nn.ReLU()))
    model.train()
    model[1].eval()
    flags = [m.training for m in model.modules()]
    with eval_mode(model) as same:
        assert same is model
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == flags
    with pytest.raises(RuntimeError, match="inside"), eval_mode(model):
        raise RuntimeError("inside")
    assert [m.training for m in model.modules()] == flags


def partly_training() -> tuple[nn.Module, list[bool]]:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Sequential(nn.ReLU()))
    model.train()
    model[1].eval()
    return model, [m.training for m in model.modules()]


@pytest.mark.parametrize("fail", [False, True])
def test_overlapping_blocks_end_with_the_last(fail: bool) -> None:
    model, flags = partly_training()
    first, second = eval_mode(model), eval_mode(model[2])
    third = eval_mode(model)
    for block in (first, second, third):
        block.__enter__()
    error = RuntimeError("inside")
    ending = (RuntimeError, error, None) if fail else (None, None, None)
    assert not first.__exit__(*ending)  # an exception goes on
    assert not any(m.training for m in model.modules())
    third.__exit__(None, None, None)
    assert not any(m.training for m in model[2].modules())  # a part that is still held
    second.__exit__(None, None, None)
    assert [m.training for m in model.modules()] == flags
    with eval_mode(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == flags


def test_a_network_that_refuses_evaluation_mode_gets_its_flags_back() -> None:
    class Stubborn(nn.Sequential):
        def eval(self) -> "Stubborn":
            self[0].training = False
            raise RuntimeError("no")

    model = Stubborn(nn.ReLU(), nn.ReLU())
    with pytest.raises(RuntimeError, match="no"), eval_mode(model):
        raise AssertionError("the block must not run")
    assert all(m.training for m in model.modules())


def test_blocks_of_many_threads_never_meet_a_training_module() -> None:
    model, flags = partly_training()
    start, wrong = threading.Barrier(8), []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        start.wait()
        for _ in range(60):
            with contextlib.suppress(KeyError), eval_mode(model):
                for _ in range(rng.randrange(3)):
                    time.sleep(0)
                    wrong.extend(m for m in model.modules() if m.training)
                if rng.random() < 0.2:
                    raise KeyError

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [m.training for m in model.modules()] == flags


def test_devices_that_are_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["tpu", "", "cuda:x", "cpu:-1", "cuda:"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(GstoVizError, match=f"unknown device '{name}'; choose auto"):
        pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_devices_that_are_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(GstoVizError, match="not available here; use --device cpu"):
        pick_device(name)
    assert pick_device("auto") == torch.device("cpu")


def test_the_second_of_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device("auto") == torch.device("cuda")
    with pytest.raises(GstoVizError, match="'cuda:2' is not available"):
        pick_device("cuda:2")


@pytest.mark.parametrize("view", ["plain", "mirrored", "read-only"])
def test_normalisation_pixel_by_pixel(view: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    if view == "mirrored":
        image = image[:, ::-1]
    if view == "read-only":
        image.flags.writeable = False
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    tensor = image_to_tensor(image, mean, std)
    assert tensor.shape == (3, 5, 7)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    for c in range(3):
        for y in range(5):
            for x in range(7):
                expected = (int(image[y, x, c]) / 255 - mean[c]) / std[c]
                assert float(tensor[c, y, x]) == pytest.approx(expected, abs=1e-5)
