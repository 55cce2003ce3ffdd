"""Weights between our networks and the official HRNet, GSTO, ImageNet and timm layouts.

``load_official`` reads, ``to_official_keys`` writes; a round trip gives the same tensors. What was
loaded, missing and left over is always reported, and a file that does not fit changes nothing.
"""

import colorsys
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError
from gsto_viz.files import sha256_of
from gsto_viz.models.blocks import BN_EPS
from gsto_viz.models.config import GatingConfig, HRNetConfig
from gsto_viz.models.hrnet import CONFIGS, HRNet, model_config, some_keys
from gsto_viz.models.model_info import ModelInfo
from gsto_viz.models.official_files import (
    BACKBONE_PREFIXES,
    CLASSIFICATION_PREFIXES,
    check_official_layout,
    dead_shapes,
    official_modules,
    read_official,
)
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


COUNTER = "num_batches_tracked"
FUSION_GATES = ".att_layers."


class ShapeMismatch(NamedTuple):
    """A key that file and network have in different shapes."""

    key: str
    file: tuple[int, ...]
    network: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.key} {list(self.file)} in the file, {list(self.network)} in the network"


@dataclass
class LoadPlan:
    """What to do with each key; made before anything is changed."""

    fitting: dict[str, str]
    """Official key -> our key."""
    missing: list[str]
    required: list[str]
    """The part of ``missing`` that a complete file has."""
    unexpected: list[str]
    ignored: list[str]
    dead: list[str]
    mismatch: list[ShapeMismatch]

    @classmethod
    def make(cls, model: HRNet, weights: Mapping[str, Tensor], *, backbone: bool) -> "LoadPlan":
        """Compare the keys and shapes of a file with those of a network."""
        own = model.state_dict()
        places, nameless = official_places(model)
        if backbone:
            nameless += [k for k in places if not k.startswith(BACKBONE_PREFIXES)]
            places = {k: v for k, v in places.items() if k.startswith(BACKBONE_PREFIXES)}
        dead = dead_shapes(model.config) if not backbone else {}
        shapes = {k: tuple(own[v].shape) for k, v in places.items()} | dead
        mismatch = [
            ShapeMismatch(k, tuple(weights[k].shape), shape)
            for k, shape in shapes.items()
            if k in weights and tuple(weights[k].shape) != shape
        ]
        wrong = {m.key for m in mismatch}
        missing = [k for k in places if k not in weights and not k.endswith(COUNTER)]
        unknown = [k for k in weights if k not in shapes]
        ignored = [k for k in unknown if backbone and _is_no_backbone(k)]
        return cls(
            fitting={k: v for k, v in places.items() if k in weights and k not in wrong},
            missing=missing + [k for k in nameless if not k.endswith(COUNTER)],
            required=[k for k in missing if not (backbone and FUSION_GATES in k)],
            unexpected=[k for k in unknown if k not in ignored],
            ignored=ignored,
            dead=[k for k in dead if k in weights and k not in wrong],
            mismatch=mismatch,
        )

    def refuse(self, what: str) -> None:
        """Raise with the first few keys of each kind if the file does not fit."""
        problems = [
            f"{len(keys)} {word} ({some_keys(keys)})"
            for word, keys in (
                ("missing", self.required),
                ("left over", self.unexpected),
                ("of another shape", self.mismatch),
            )
            if keys
        ]
        if problems:
            raise GstoVizError(
                f"{what} does not fit this network, keys: {'; '.join(problems)}; it belongs to "
                "another architecture or class count"
            )


def _is_no_backbone(key: str) -> bool:
    known = (*CLASSIFICATION_PREFIXES, "last_layer", "att1.", "att2.", "att3.")
    return key.startswith(known) or FUSION_GATES in key


def official_places(model: HRNet) -> tuple[dict[str, str], list[str]]:
    """Return official key -> our key of a network's state, and our keys without official name."""
    modules = official_modules(model.config)
    places, nameless = {}, []
    for key in model.state_dict():
        module, _, tensor = key.rpartition(".")
        if module in modules:
            places[f"{modules[module]}.{tensor}"] = key
        else:
            nameless.append(key)
    return places, nameless


KINDS = ("auto", "segmentation", "backbone")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """What became of every key, by official name.

    Attributes:
        kind: ``segmentation`` (whole network) or ``backbone`` (ImageNet, timm).
        loaded: Keys that are now in the network.
        missing: Keys of the network that the file lacks (our name where the official layout has
            none): head and gates for a backbone. They keep what they had. Counters of batches
            are not listed: files without them set them to 0.
        unexpected: Keys of the file that the network has no place for.
        ignored: Keys of the file that are known to be of no use: class weights of the loss, the
            ImageNet head, GSTO's dead unit ``att1`` (kept for the way back).
        shape_mismatch: Keys of another shape; not loaded.
        converted: Batch-norm weights that were converted from InPlaceABN.
        hint: What to consider about this file, or None.
    """

    kind: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]
    shape_mismatch: tuple[ShapeMismatch, ...]
    converted: tuple[str, ...]
    hint: str | None = None


def load_official(
    model: HRNet,
    source: Mapping[str, Any] | str | Path,
    *,
    inplace_abn: bool = False,
    strict: bool = True,
    kind: str = "auto",
) -> LoadReport:
    """Copy official weights into a network.

    Args:
        model: Any HRNetV2 or GSTO-HRNet; with ``kind="backbone"`` with any gates.
        source: A ``.pth`` file (plain tensors only), a ``.safetensors`` file, or a state dict.
        inplace_abn: The file was trained with InPlaceABN (GSTO, HRNet's torch-0.4.1 files): batch
            norm there scales by ``|weight| + 1e-5``. Nothing in a file says so for sure.
        strict: Refuse a file that lacks keys, has keys left over, or has other shapes. With False
            what fits is loaded and the rest reported.
        kind: ``segmentation``: the file holds the whole network. ``backbone``: take all but heads
            and gates of transitions. ``auto``: by whether the file has a segmentation head.

    Raises:
        GstoVizError: The file cannot be read, or does not fit; the network is unchanged.
    """
    if kind not in KINDS:
        raise GstoVizError(f"unknown kind '{kind}'; choose one of {', '.join(KINDS)}")
    weights, left_out = read_official(source)
    if kind == "auto":
        whole = any(key.startswith("last_layer.") for key in weights)
        kind = "segmentation" if whole else "backbone"
    if kind == "segmentation" and strict:
        check_official_layout(model.config)
    plan = LoadPlan.make(model, weights, backbone=kind == "backbone")
    if strict:
        plan.refuse(str(source) if isinstance(source, str | Path) else "the state dict")
    if not plan.fitting:
        raise GstoVizError("no key of this file fits the network; it is not an official HRNet file")
    converted = _copy(model, weights, plan.fitting, inplace_abn=inplace_abn)
    if kind == "segmentation":
        model.official_unused = {k: weights[k].clone() for k in plan.dead}
    no_counters = not any(key.endswith(COUNTER) for key in weights)
    return LoadReport(
        kind=kind,
        loaded=tuple(plan.fitting),
        missing=tuple(plan.missing),
        unexpected=tuple(plan.unexpected),
        ignored=(*left_out, *plan.ignored, *plan.dead),
        shape_mismatch=tuple(plan.mismatch),
        converted=tuple(converted),
        hint=(
            "the file has no num_batches_tracked, as files trained with InPlaceABN; if it is one, "
            "load it with inplace_abn=True"
            if no_counters and not inplace_abn
            else None
        ),
    )


def _copy(
    model: HRNet, weights: Mapping[str, Tensor], places: Mapping[str, str], *, inplace_abn: bool
) -> list[str]:
    """Copy tensors to their places; return the batch-norm weights that were converted."""
    own = model.state_dict()
    norms = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    converted = []
    with torch.no_grad():
        for official, ours in places.items():
            value = weights[official].to(own[ours])
            if inplace_abn and ours in norms:
                value = value.abs() + BN_EPS
                converted.append(official)
            own[ours].copy_(value)
            if ours.endswith("running_mean"):
                counter = official.removesuffix("running_mean") + COUNTER
                if counter not in places:
                    own[ours.removesuffix("running_mean") + COUNTER].zero_()
    return converted


def to_official_keys(model: HRNet, *, num_batches_tracked: bool = True) -> dict[str, Tensor]:
    """Return a network's state under official keys, as an official loader expects it.

    GSTO's dead unit ``att1`` is given back as it was loaded, or, when nothing was loaded, with
    zero weights and neutral batch norm; either way on the device and in the type of the weights.

    Args:
        model: HRNetV2, or GSTO-HRNet with the default gating.
        num_batches_tracked: Include batch norm's counters, which older files lack.

    Returns:
        Official key -> tensor. Like ``state_dict``, it shares memory with the network.

    Raises:
        GstoVizError: The network has gates that the official layout has no names for.
    """
    check_official_layout(model.config)
    own = model.state_dict()
    places, nameless = official_places(model)
    if nameless:
        raise GstoVizError(f"the official layout has no names for {some_keys(nameless)}")
    state = {official: own[ours] for official, ours in places.items()}
    example = own["head.conv.weight"]
    for key, shape in dead_shapes(model.config).items():
        fill = 1.0 if key.endswith((".1.weight", "running_var")) else 0.0
        fresh = example.new_full(shape, fill)
        if key.endswith(COUNTER):
            fresh = fresh.to(torch.int64)
        # They are no part of the network's state, so they did not follow its moves and casts.
        state[key] = model.official_unused.get(key, fresh).to(fresh)
    if not num_batches_tracked:
        state = {k: v for k, v in state.items() if not k.endswith(COUNTER)}
    return state


def load_official_model(
    source: str | Path,
    *,
    arch: str | None = None,
    num_classes: int | None = None,
    align_corners: bool = False,
    inplace_abn: bool = False,
) -> HRNet:
    """Make the network that an official file belongs to and load the file into it.

    What to consider about the file (``LoadReport.hint``) is said as a warning of the logger
    ``gsto_viz``: on stderr, unless logging is set up otherwise.

    Args:
        source: A ``.pth`` or ``.safetensors`` file.
        arch: Registered name; None infers the network from the shapes in the file.
        num_classes: Needed only for a file without segmentation head (ImageNet): the head is then
            drawn at random.
        align_corners: True for files of HRNet's OCR branch; shapes do not tell.
        inplace_abn: As in ``load_official``.

    Returns:
        The network in evaluation mode; the classes of ``.info`` are numbered, not named.

    Raises:
        GstoVizError: As ``load_official`` and ``infer_official_config``.
    """
    weights, _ = read_official(source)
    try:
        config = infer_official_config(weights, num_classes=num_classes)
        if arch is not None:
            config = model_config(arch, num_classes=config.num_classes)
        config = config.with_options(align_corners=align_corners)
        model = HRNet(config)
        report = load_official(model, weights, inplace_abn=inplace_abn)
    except GstoVizError as error:
        raise GstoVizError(f"{source}: {error}") from error
    if report.hint is not None:
        logger.warning("%s: %s", source, report.hint)
    model.info = ModelInfo(
        name=Path(source).stem,
        network=arch or network_name(config),
        classes=generic_classes(config.num_classes),
        sha256=sha256_of(source),
    )
    return model.eval()
