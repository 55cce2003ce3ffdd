"""One finished analysis of a few scenes by two tiny networks, shared by the tests of reports."""

from pathlib import Path

import pytest
from torch import nn

from gsto_viz.data import load_data
from gsto_viz.report import Report, analyze
from gsto_viz.types import Dataset

SPEC = "scenes:count=12,seed=5,size=96x160"


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
