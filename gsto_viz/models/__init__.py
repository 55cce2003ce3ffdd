"""Networks: HRNetV2 and GSTO-HRNet, their costs, and their checkpoints."""

from gsto_viz.models.checkpoint import (
    ModelInfo,
    load_checkpoint,
    load_model,
    save_checkpoint,
    shipped_checkpoints,
)
from gsto_viz.models.config import GatingConfig, HRNetConfig
from gsto_viz.models.costs import Costs, count_costs
from gsto_viz.models.gates import GatedScaleTransfer, SupervisedGate, UnsupervisedGate
from gsto_viz.models.hrnet import (
    CONFIGS,
    HRNet,
    SegmentationOutput,
    build_model,
    initialize,
    model_config,
)
from gsto_viz.models.official import (
    LoadReport,
    infer_official_config,
    load_official,
    to_official_keys,
)

__all__ = [
    "CONFIGS",
    "Costs",
    "GatedScaleTransfer",
    "GatingConfig",
    "HRNet",
    "HRNetConfig",
    "LoadReport",
    "ModelInfo",
    "SegmentationOutput",
    "SupervisedGate",
    "UnsupervisedGate",
    "build_model",
    "count_costs",
    "infer_official_config",
    "initialize",
    "load_checkpoint",
    "load_model",
    "load_official",
    "model_config",
    "save_checkpoint",
    "shipped_checkpoints",
    "to_official_keys",
]
