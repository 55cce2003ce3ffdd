"""Two tiny networks and one finished analysis of a few scenes, shared by the tests of reports."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gsto_viz.data import CAMVID_CLASSES, load_data
from gsto_viz.models import ModelInfo, build_model, initialize
from gsto_viz.report import Report, analyze
from gsto_viz.types import Dataset

SPEC = "scenes:count=12,seed=5,size=96x160"


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


@pytest.fixture(scope="session")
def scenes() -> Dataset:
    return load_data(SPEC)


@pytest.fixture(scope="session")
def analysis(
    networks: dict[str, nn.Module], scenes: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """A finished analysis with null models (two draws of random weights)."""
    out: Path = tmp_path_factory.mktemp("analysis") / "run"
    return analyze(networks, scenes, out, nulls=True, random_draws=2)
