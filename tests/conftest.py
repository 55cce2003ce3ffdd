"""What tests of several rooms share: one thread, a small annotated folder, two tiny networks."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch import nn

from gsto_viz.data import CAMVID_CLASSES, load_data
from gsto_viz.models import ModelInfo, build_model, initialize
from gsto_viz.report import Report, analyze
from gsto_viz.types import Dataset

# A shell's background jobs ignore Ctrl-C, and so would every command that a test starts and stops.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Random inputs are the same in every run: what fails, fails everywhere.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

SPEC = "scenes:count=12,seed=5,size=96x160"
"""The images of ``analysis``."""
FolderMaker = Callable[..., Path]
WorldRunner = Callable[..., list[Any]]

FORK = '''
"""Fork the processes of a world, so that torch is imported once, and collect what each returns."""
import json, os, sys, traceback
import torch

size, place, *words = sys.argv[1:]
{body}
children = []
for rank in range(int(size)):
    child = os.fork()
    if child == 0:
        os.environ.update(RANK=str(rank), WORLD_SIZE=size, LOCAL_RANK=str(rank))
        os.environ.update(LOCAL_WORLD_SIZE=size)
        torch.set_num_threads(1)
        try:
            result = body(*words)
            with open(f"{{place}}/{{rank}}.json", "w") as file:
                json.dump(result, file)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
'''


@pytest.fixture(scope="session")
def run_world(tmp_path_factory: pytest.TempPathFactory) -> WorldRunner:
    """Run ``def body(*words)``, a text, in several processes; return what each returned.

    A world that fails shows the tracebacks of its processes.
    """

    def run(body: str, size: int, *words: str) -> list[Any]:
        place = tmp_path_factory.mktemp("world")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        outcome = subprocess.run(
            [sys.executable, "-W", "error", "-c", FORK.format(body=body), str(size), str(place)]
            + [str(word) for word in words],
            env={**os.environ, **where},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        return [json.loads((place / f"{rank}.json").read_text()) for rank in range(size)]

    return run


def draw_sample(rng: np.random.Generator, size: tuple[int, int], classes: int) -> tuple:
    """A label map of rectangles, and an image that shows the labels under noise."""
    height, width = size
    labels = np.zeros(size, dtype=np.uint8)
    for label in range(1, classes):
        top, left = int(rng.integers(0, height - 8)), int(rng.integers(0, width - 8))
        labels[top : top + int(rng.integers(8, 24)), left : left + int(rng.integers(8, 24))] = label
    labels[:2, :2] = 255
    noise = rng.integers(0, 60, (*size, 3))
    image = (noise + (labels[..., None] % 7) * np.array([30, 20, 25])).astype(np.uint8)
    return image, labels


@pytest.fixture(scope="session")
def make_folder() -> FolderMaker:
    """Write ``images/ labels/ classes.json`` for a small data set and return the folder."""

    def make(
        root: Path,
        count: int = 8,
        size: tuple[int, int] = (40, 56),
        classes: int = 3,
        seed: int = 0,
    ) -> Path:
        rng = np.random.default_rng(seed)
        (root / "images").mkdir(parents=True)
        (root / "labels").mkdir()
        for k in range(count):
            image, labels = draw_sample(rng, size, classes)
            Image.fromarray(image).save(root / "images" / f"{k:03d}.png")
            Image.fromarray(labels).save(root / "labels" / f"{k:03d}.png")
        entries = [
            {"id": k, "name": f"c{k}", "color": [k, 2 * k, 3 * k], "kind": "thing"}
            for k in range(classes)
        ]
        content = {"name": "toy", "ignore": 255, "classes": entries}
        (root / "classes.json").write_text(json.dumps(content))
        return root

    return make


@pytest.fixture(scope="session")
def networks() -> dict[str, nn.Module]:
    """A plain and a gated tiny network with random weights, as checkpoints would give them."""
    models: dict[str, nn.Module] = {}
    for key, name in (("A", "hrnetv2-tiny"), ("B", "gsto-hrnet-tiny")):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = build_model(name, num_classes=11)
            initialize(model, "kaiming")
        model.info = ModelInfo(f"{name}-test", name, CAMVID_CLASSES)
        models[key] = model.eval()
    return models


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute in one thread: sums do not depend on the machine, and tiny tensors do not wait."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scenes() -> Dataset:
    """A few scenes of evaluation."""
    return load_data(SPEC)


@pytest.fixture(scope="session")
def analysis(
    networks: dict[str, nn.Module], scenes: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """A finished analysis with null models (two draws of random weights)."""
    out: Path = tmp_path_factory.mktemp("analysis") / "run"
    return analyze(networks, scenes, out, nulls=True, random_draws=2)
