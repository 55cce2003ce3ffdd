"""Networks: HRNetV2 and GSTO-HRNet, their costs, and their checkpoints."""

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
    "SegmentationOutput",
    "SupervisedGate",
    "UnsupervisedGate",
    "build_model",
    "initialize",
    "model_config",
]
