"""Networks: HRNetV2 and GSTO-HRNet, their costs, and their checkpoints."""

from gsto_viz.models.base import (
    ModelInfo,
    NetworkConfig,
    SegmentationNetwork,
    SegmentationOutput,
    initialize,
)
from gsto_viz.models.checkpoint import (
    load_checkpoint,
    load_model,
    save_checkpoint,
    shipped_checkpoints,
)
from gsto_viz.models.config import AttentionConfig, GatingConfig, HRNetConfig
from gsto_viz.models.costs import Costs, count_costs
from gsto_viz.models.gates import (
    ChannelGate,
    GatedScaleTransfer,
    SpatialGate,
    SupervisedGate,
    UnsupervisedGate,
)
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.official import (
    LoadReport,
    infer_official_config,
    load_official,
    to_official_keys,
)
from gsto_viz.models.registry import (
    ARCHITECTURES,
    Architecture,
    build_model,
    model_config,
    network_of,
    registered,
)

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "AttentionConfig",
    "ChannelGate",
    "Costs",
    "GatedScaleTransfer",
    "GatingConfig",
    "HRNet",
    "HRNetConfig",
    "LoadReport",
    "ModelInfo",
    "NetworkConfig",
    "SegmentationNetwork",
    "SegmentationOutput",
    "SpatialGate",
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
    "network_of",
    "registered",
    "save_checkpoint",
    "shipped_checkpoints",
    "to_official_keys",
]
