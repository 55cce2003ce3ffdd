"""The register of networks: one row for each architecture, from which all lists of them follow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.models.base import NetworkConfig, SegmentationNetwork
from gsto_viz.models.config import (
    HEADS,
    AttentionConfig,
    GatingConfig,
    HRNetConfig,
    PoseHRNetConfig,
    RelationHRNetConfig,
)
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.pose_hrnet import PoseHRNet
from gsto_viz.models.pyramid import PyramidNetwork, pyramid_sizes
from gsto_viz.models.rsp_hrnet import RelationHRNet


class Printed(NamedTuple):
    """Figures as printed, digits included; empty where none is printed.

    They hold for the size, joints or classes and way of counting of ``gsto_viz.models.costs`` for
    the network's task.

    Attributes:
        params_m: Millions of parameters.
        gflops: "GFLOPs", which are MACs / 2**30.
        source: Where they are printed.
        miou: mIoU on Cityscapes val, percent.
    """

    params_m: str
    gflops: str
    source: str
    miou: str = ""


@dataclass(frozen=True)
class Architecture:
    """A row of the register.

    Attributes:
        name: The first part of its networks' names: ``hrnetv2`` of ``hrnetv2-w48``.
        words: What it is, in one sentence.
        build: Makes a network of a configuration.
        sizes: The configuration by the second part of the name, all of one type; 19 classes, or
            COCO's joints.
        printed: What papers print of a size.
        imagenet: The file of ImageNet weights of a size.
    """

    name: str
    words: str
    build: type[SegmentationNetwork]
    sizes: Mapping[str, NetworkConfig]
    printed: Mapping[str, Printed] = field(default_factory=dict)
    imagenet: Mapping[str, str] = field(default_factory=dict)

    @property
    def example(self) -> NetworkConfig:
        """The configuration of its first size."""
        return next(iter(self.sizes.values()))

    @property
    def config(self) -> type[NetworkConfig]:
        """Type of its configurations."""
        return type(self.example)


# For tests, "tiny": every kind of part, a few thousand weights.
HRNET_SIZES = {
    "w18-small-v1": HRNetConfig(16, stage1_blocks=1, stage1_planes=32, modules=(1, 1, 1), blocks=2),
    "w18-small-v2": HRNetConfig(18, stage1_blocks=2, stage1_planes=64, modules=(1, 3, 2), blocks=2),
    **{f"w{width}": HRNetConfig(width) for width in (18, 30, 32, 40, 44, 48, 64)},
    "tiny": HRNetConfig(4, stage1_blocks=1, stage1_planes=4, modules=(1, 2, 1), blocks=1),
}
"""``w18-small-v1`` has 16 channels in branch 0, as HRNet's own file of that name; what the GSTO
paper calls "W18" is ``w18-small-v2``."""

HRNET_IMAGENET = {
    "w18-small-v1": "hrnet_w18_small_model_v1.pth",
    "w18-small-v2": "hrnet_w18_small_model_v2.pth",
    **{
        f"w{width}": f"hrnetv2_w{width}_imagenet_pretrained.pth"
        for width in (18, 30, 32, 40, 44, 48, 64)
    },
}
"""From github.com/HRNet/HRNet-Image-Classification; GSTO starts from them, too."""

POSE_SIZES = {
    **{size: HRNET_SIZES[size] for size in ("w18-small-v1", "w32", "w48")},
    "tiny": replace(HRNET_SIZES["tiny"], width=16, stage1_planes=32),
}
"""``tiny`` is wide enough to learn the joints of stick figures."""


def _pose(**options: Any) -> dict[str, PoseHRNetConfig]:
    """Return an HRNet for pose of each size."""
    return {
        size: PoseHRNetConfig(
            shape.width, shape.stage1_blocks, shape.stage1_planes, shape.modules, shape.blocks,
            **options,
        )
        for size, shape in POSE_SIZES.items()
    }  # fmt: skip


RSP_CHANNELS = {"w18-small-v1": 64, "w18-small-v2": 64, "w48": 128, "tiny": 8}
"""Of RSP on an HRNet of such a size: as on a ResNet of about its channels."""

TABLE_6 = {
    "ppm": ("76.5", "76.9"),
    "gsto-ppm": ("77.3", "77.8"),
    "aspp": ("74.9", "75.1"),
    "gsto-aspp": ("76.3", "76.9"),
}
"""Of GSTO: mIoU without and with deep supervision."""

TABLE_3 = {
    AttentionConfig("channel", "block"): Printed("3.93", "71.6", "GSTO Table 3, row 1"),
    AttentionConfig("spatial", "block"): Printed("3.92", "71.7", "GSTO Table 3, row 2"),
    AttentionConfig("channel", "layer"): Printed("3.94", "71.6", "GSTO Table 3, row 3"),
    AttentionConfig("spatial", "layer"): Printed("3.93", "72.1", "GSTO Table 3, row 4"),
    AttentionConfig("channel", "transfer", 32): Printed("3.94", "71.6", "GSTO Table 3, row 5"),
}
"""Attention in HRNetV2-W18-Small-v2. Row 6 is the unsupervised gates of ``gsto-hrnet``, which
``gsto_viz.models.costs`` counts."""

ATTENTION_WORDS = {
    "block": "behind each branch of each module",
    "layer": "behind each residual block of its branches",
    "transfer": "in front of each transfer of its fusions",
}


def _attended(attention: AttentionConfig, printed: Printed) -> Architecture:
    """Make a row of HRNetV2 with attention."""
    sizes = {size: HRNET_SIZES[size] for size in ("w18-small-v1", "w18-small-v2", "tiny")}
    place = ATTENTION_WORDS[attention.place]
    return Architecture(
        attention_name(attention),
        f"HRNetV2 with {attention.form}-wise attention {place}; our reconstruction",
        HRNet,
        {size: replace(one, attention=attention) for size, one in sizes.items()},
        {"w18-small-v2": printed},
        {size: HRNET_IMAGENET[size] for size in sizes if size in HRNET_IMAGENET},
    )


def attention_name(attention: AttentionConfig) -> str:
    """Return the name of the architecture with such attention."""
    return f"hrnetv2-{attention.form}-{attention.place}"


RESNET_IMAGENET = "torchvision's resnet50"


def _pyramid(module: str, *, gates: bool = False) -> Architecture:
    """Make a row of a head on ResNets; papers print the costs of none."""
    name = f"gsto-{module}" if gates else module
    words = f"{module.upper()} with a gate in front of each scale" if gates else HEADS[module].words
    sizes = pyramid_sizes(module, gates=gates)
    full = [size for size in sizes if size.startswith("r50")]
    printed = {
        size: Printed("", "", "GSTO Table 6", score)
        for size, score in zip(full, TABLE_6.get(name, ()), strict=False)
    }
    if printed:
        words = f"{words}; our reconstruction"
    return Architecture(
        name, words, PyramidNetwork, sizes, printed, dict.fromkeys(full, RESNET_IMAGENET)
    )


ARCHITECTURES = {
    row.name: row
    for row in (
        Architecture(
            "hrnetv2",
            "HRNetV2: four branches at strides 4 to 32 that are fused again and again",
            HRNet,
            HRNET_SIZES,
            printed={
                "w18-small-v1": Printed("1.5", "31.1", "HRNet README"),
                "w18-small-v2": Printed("3.92", "71.6", "GSTO Table 4", "75.9"),
                "w48": Printed("65.78", "696.2", "GSTO Table 4", "80.2"),
            },
            imagenet=HRNET_IMAGENET,
        ),
        Architecture(
            "gsto-hrnet",
            "HRNetV2 with gates in front of its scale transfers (arXiv:2005.13363)",
            HRNet,
            {size: replace(one, gating=GatingConfig()) for size, one in HRNET_SIZES.items()},
            printed={
                "w18-small-v2": Printed("3.95", "74.4", "GSTO Table 4", "77.3"),
                "w48": Printed("65.93", "714.0", "GSTO Table 4", "82.1"),
            },
            imagenet=HRNET_IMAGENET,
        ),
        *(_attended(attention, printed) for attention, printed in TABLE_3.items()),
        *(
            _pyramid(module, gates=gates)
            for module, kind in HEADS.items()
            for gates in ((False, True) if kind.gated else (False,))
        ),
        Architecture(
            "rsp-hrnet",
            "RSP on HRNetV2's four branches instead of their concatenation; our reconstruction",
            RelationHRNet,
            {
                size: RelationHRNetConfig(**vars(HRNET_SIZES[size]), channels=channels)
                for size, channels in RSP_CHANNELS.items()
            },
            imagenet={size: HRNET_IMAGENET[size] for size in RSP_CHANNELS if size != "tiny"},
        ),
        Architecture(
            "hrnet-pose",
            "HRNet for pose: heat maps of joints from the finest branch of the last fusion",
            PoseHRNet,
            _pose(),
            printed={
                "w32": Printed("28.5", "16.0", "GSTO Table 10"),
                "w48": Printed("63.6", "32.9", "GSTO Table 10"),
            },
            imagenet={size: HRNET_IMAGENET[size] for size in POSE_SIZES if size != "tiny"},
        ),
        Architecture(
            "gsto-hrnet-pose",
            "GSTO-HRNet for pose: heat maps of joints from all branches; our reconstruction",
            PoseHRNet,
            _pose(head="concat", resize_mode="bilinear", gating=GatingConfig()),
            printed={
                "w32": Printed("29.6", "18.2", "GSTO Table 10"),
                "w48": Printed("66.0", "37.6", "GSTO Table 10"),
            },
            imagenet={size: HRNET_IMAGENET[size] for size in POSE_SIZES if size != "tiny"},
        ),
    )
}
"""Every architecture by its name; a new one is one file and a row here."""


def registered() -> dict[str, tuple[Architecture, str]]:
    """Return the architecture and size of every registered network by its name."""
    return {
        f"{row.name}-{size}": (row, size) for row in ARCHITECTURES.values() for size in row.sizes
    }


def model_config(name: str, /, **options: Any) -> NetworkConfig:
    """Return the configuration of a registered network with options changed.

    Raises:
        GstoVizError: Unknown name or option (the closest valid names are given).
    """
    known = registered()
    if name not in known:
        hint = did_you_mean(name, known, otherwise=f"valid: {', '.join(known)}")
        raise GstoVizError(f"unknown model '{name}'; {hint}")
    row, size = known[name]
    return row.sizes[size].with_options(**options)


def architecture_of(config: NetworkConfig) -> Architecture:
    """Return the first row that has such configurations."""
    return next(_rows_of(config))


def _rows_of(config: NetworkConfig) -> Iterator[Architecture]:
    return (row for row in ARCHITECTURES.values() if row.config is type(config))


FREE = ("num_classes", "align_corners", "head_dropout", "equalized")
"""Options that do not change a network's name."""


def network_name(config: NetworkConfig) -> str:
    """Return the registered name of a network, or a description of one that has none."""
    for name, (row, size) in registered().items():
        if type(config) is row.config and _shape(row.sizes[size]) == _shape(config):
            return name
    kind = architecture_of(config).name
    if isinstance(config, HRNetConfig):
        likest = (row.name for row in _rows_of(config) if _parts(row.example) == _parts(config))
        return f"{next(likest, kind)} (width {config.width})"
    return kind


def _shape(config: NetworkConfig) -> dict[str, Any]:
    """Return the options that a name stands for."""
    return {option: value for option, value in vars(config).items() if option not in FREE}


def _parts(config: NetworkConfig) -> str:
    """Return what tells rows of one type of configuration apart: gates, or the attention."""
    attention = getattr(config, "attention", None)
    if config.gated:
        return "gates"
    return "" if attention is None else attention_name(attention)


def network_of(config: NetworkConfig) -> SegmentationNetwork:
    """Make the network of a configuration, with freshly drawn weights."""
    return architecture_of(config).build(config)


def build_model(name: str, /, **options: Any) -> SegmentationNetwork:
    """Make a network with freshly drawn weights.

    Args:
        name: ``ARCHITECTURE-SIZE``, e.g. ``hrnetv2-w48`` or ``gsto-hrnet-w18-small-v2``.
        **options: Fields of its configuration (of ``HRNetConfig``: ``num_classes=11``,
            ``align_corners=True``; with gates of ``GatingConfig`` with the prefix ``gate_``:
            ``gate_form="paper"``, ``gate_supervised=(3,)``, ``gate_diagonal=False``; with attention
            ``attention_reduction=8``).

    Raises:
        GstoVizError: Unknown name, unknown option, or a value that makes no network.

    Example:
        >>> build_model("gsto-hrnet-tiny", num_classes=11).config.gating.form
        'released'
    """
    return network_of(model_config(name, **options))
