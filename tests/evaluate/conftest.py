"""A tiny network with random weights for three classes, saved once."""

from pathlib import Path

import pytest
import torch

from gsto_viz.models import ModelInfo, build_model, initialize, save_checkpoint
from gsto_viz.types import ClassInfo, ClassList


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``c0``, ``c1`` and ``c2``, as ``make_folder`` names its classes."""
    entries = tuple(ClassInfo(k, f"c{k}", (k, 2 * k, 3 * k), thing=True) for k in range(3))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build_model("hrnetv2-tiny", num_classes=3)
        initialize(model, "kaiming")
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(model, path, info=ModelInfo("tiny", "hrnetv2-tiny", ClassList("toy", entries)))
    return path
