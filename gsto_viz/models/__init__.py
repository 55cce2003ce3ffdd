"""Networks: HRNetV2 and GSTO-HRNet, their costs, and their checkpoints."""

from gsto_viz.models.checkpoint import (
    ModelInfo,
    load_checkpoint,
    load_model,
    save_checkpoint,
    shipped_checkpoints,
)
from gsto_viz.models.config import GatingConfig, HRNetConfig
from gsto_viz.models.gates import GatedScaleTransfer, SupervisedGate, UnsupervisedGate
from gsto_viz.models.hrnet import HRNet, SegmentationOutput, initialize
from gsto_viz.models.registry import CONFIGS, build_model, model_config

__all__ = [
    "CONFIGS",
    "GatedScaleTransfer",
    "GatingConfig",
    "HRNet",
    "HRNetConfig",
    "ModelInfo",
    "SegmentationOutput",
    "SupervisedGate",
    "UnsupervisedGate",
    "build_model",
    "initialize",
    "load_checkpoint",
    "load_model",
    "model_config",
    "save_checkpoint",
    "shipped_checkpoints",
]
