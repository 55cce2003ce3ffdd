"""Tiny checkpoints for the explorer, made once."""

from pathlib import Path

import pytest
import torch

from gsto_viz.calibrate import calibrate
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import render_scene
from gsto_viz.models import build_model, save_checkpoint
from gsto_viz.models.model_info import ModelInfo
from gsto_viz.torch_utils import image_to_tensor


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints ``plain``, ``gated`` (with a notice) and ``no_gains``."""
    folder = tmp_path_factory.mktemp("checkpoints")
    images = [image_to_tensor(render_scene(0, i, 128, 256).image) for i in range(2)]
    files = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, network in (("plain", "hrnetv2-tiny"), ("gated", "gsto-hrnet-tiny")):
            model = build_model(network, num_classes=11)
            info = ModelInfo(
                name=name,
                network=network,
                classes=CAMVID_CLASSES,
                gains=calibrate(model, images),
                notice="for research only" if name == "gated" else None,
            )
            files[name] = folder / f"{name}.safetensors"
            save_checkpoint(files[name], model, info)
        files["no_gains"] = folder / "no_gains.safetensors"
        bare = ModelInfo(name="no_gains", network=network, classes=CAMVID_CLASSES)
        save_checkpoint(files["no_gains"], model, bare)
    return files


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch) -> None:
    """Tests choose their own checkpoints, whatever this installation ships."""
    monkeypatch.setattr("gsto_viz.explorer.checkpoints.shipped_checkpoints", dict)
    monkeypatch.delenv("GSTO_VIZ_CHECKPOINTS", raising=False)
