"""Which network an official file belongs to, told from the shapes of its tensors."""

import colorsys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.models.config import GatingConfig, HRNetConfig
from gsto_viz.models.official_files import read_official
from gsto_viz.models.registry import CONFIGS
from gsto_viz.types import ClassInfo, ClassList


def infer_official_config(
    source: Mapping[str, Any] | str | Path, *, num_classes: int | None = None
) -> HRNetConfig:
    """Infer widths, depths, gates and class count of an official checkpoint.

    What shapes do not tell stays at its default: ``align_corners`` (True in HRNet's OCR branch),
    the resize mode, batch norm's momentum.

    Args:
        source: A file or state dict, as for ``load_official``.
        num_classes: For a file without segmentation head (ImageNet); elsewhere it must be None or
            what the file has.

    Raises:
        GstoVizError: Not an HRNet file (the first key that it lacks), no class count, or two.
    """
    weights, _ = read_official(source)
    gated = any(".att_layers." in key for key in weights)
    modules = tuple(_count(weights, f"stage{stage}.") for stage in (2, 3, 4))
    return HRNetConfig(
        width=_channels(weights, "transition1.0.0.weight"),
        stage1_blocks=_count(weights, "layer1."),
        stage1_planes=_channels(weights, "layer1.0.conv1.weight"),
        modules=(modules[0], modules[1], modules[2]),
        blocks=_count(weights, "stage2.0.branches.0."),
        num_classes=_classes(weights, num_classes),
        gating=GatingConfig() if gated else None,
    )


def _channels(weights: Mapping[str, Tensor], key: str) -> int:
    """Return the output channels of a convolution."""
    if key not in weights or weights[key].dim() != 4:
        raise GstoVizError(f"this is no official HRNet file: it has no convolution '{key}'")
    return int(weights[key].shape[0])


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Count the numbered children under ``prefix``."""
    numbers = {
        key.removeprefix(prefix).partition(".")[0] for key in weights if key.startswith(prefix)
    }
    count = sum(number.isdigit() for number in numbers)
    if count == 0:
        raise GstoVizError(f"this is no official HRNet file: it has no keys '{prefix}0...'")
    return count


def _classes(weights: Mapping[str, Tensor], given: int | None) -> int:
    if not any(key.startswith("last_layer.") for key in weights):
        if given is None:
            raise GstoVizError(
                "the file has no segmentation head (ImageNet weights?), so it does not say how many"
                " classes; give num_classes, or load it into a network with load_official"
            )
        return given
    found = _channels(weights, "last_layer.3.weight")
    if given not in (None, found):
        raise GstoVizError(f"num_classes is {given} and the file has {found} classes; leave it out")
    return found


def network_name(config: HRNetConfig) -> str:
    """Return the registered name of a network, or a description of one that has none."""
    for name, known in CONFIGS.items():
        same = replace(
            config,
            num_classes=known.num_classes,
            align_corners=known.align_corners,
        )
        if same == known:
            return name
    kind = "hrnetv2" if config.gating is None else "gsto-hrnet"
    return f"{kind} (width {config.width})"


def generic_classes(count: int) -> ClassList:
    """Return numbered classes with distinct colours, for files that name none."""
    classes = []
    for index in range(count):
        # Steps of the golden angle keep neighbouring indices far apart in hue.
        rgb = colorsys.hsv_to_rgb((index * 0.618034) % 1.0, 0.65, 0.95 if index % 2 else 0.7)
        red, green, blue = (round(255 * value) for value in rgb)
        classes.append(ClassInfo(index, f"class {index}", (red, green, blue), thing=False))
    return ClassList("numbered", tuple(classes))
