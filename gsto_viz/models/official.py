"""Weights between our networks and the official HRNet, GSTO, ImageNet and timm layouts.

``load_official`` reads, ``to_official_keys`` writes; a round trip gives the same tensors. What was
loaded, missing and left over is always reported, and a file that does not fit changes nothing.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError
from gsto_viz.files import sha256_of
from gsto_viz.models.blocks import BN_EPS
from gsto_viz.models.checkpoint import ModelInfo
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.official_files import read_official
from gsto_viz.models.official_infer import generic_classes, infer_official_config, network_name
from gsto_viz.models.official_keys import check_official_layout, dead_shapes
from gsto_viz.models.official_plan import (
    COUNTER,
    LoadPlan,
    ShapeMismatch,
    official_places,
)
from gsto_viz.models.registry import model_config, some_keys

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


__all__ = [
    "LoadReport",
    "ShapeMismatch",
    "infer_official_config",
    "load_official",
    "load_official_model",
    "to_official_keys",
]
