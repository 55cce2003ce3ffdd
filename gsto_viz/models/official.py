"""Weights between our HRNets and the official HRNet, GSTO, ImageNet and timm files.

``load_official`` reads, ``to_official_keys`` writes; a round trip gives the same tensors. What was
loaded, missing and left over is always reported, and a file that does not fit changes nothing.

HRNet for segmentation, for pose and for ImageNet, timm and GSTO share one naming of the backbone.
The official words (``layer1``, ``fuse_layers``, ``att_layers``, ``last_layer``, ``final_layer``)
stay in this module.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError
from gsto_viz.files import sha256_of
from gsto_viz.models.base import ModelInfo, SegmentationNetwork, refuse_misfit
from gsto_viz.models.blocks import BN_EPS
from gsto_viz.models.config import (
    GatingConfig,
    HRNetConfig,
    PoseHRNetConfig,
    RelationHRNetConfig,
)
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.registry import model_config, network_name, network_of
from gsto_viz.models.weights_file import Weights, read_weights
from gsto_viz.words import first_few

HEADS = {"segmentation": ("last_layer.",), "pose": ("final_layer.weight", "final_layer.bias")}
"""By the kind of a whole network's file, what keys of its head begin with."""
CLASSIFIERS = {"segmentation": "last_layer.3.weight", "pose": "final_layer.weight"}
BACKBONE = "backbone"
KINDS = ("auto", *HEADS, BACKBONE)
COUNTER = "num_batches_tracked"
FUSION_GATES = ".att_layers."

logger = logging.getLogger(__name__)


ANCHOR = "transition1.0.0.weight"
"""A key of every HRNet."""


def read_official(source: "Mapping[str, Any] | str | Path | Weights") -> Weights:
    """Return the weights of an official checkpoint under plain official keys, on the CPU.

    Args:
        source: A file, whatever its suffix, or what such a file holds; see ``read_weights``.

    Raises:
        GstoVizError: As ``read_weights``, or a file of HRNet-OCR, which is another network.
    """
    weights = source if isinstance(source, Weights) else read_weights(source, ANCHOR)
    ocr = [key for key in weights.tensors if key.startswith(OCR_PREFIXES)]
    if ocr:
        raise GstoVizError(
            f"{weights.source} is of HRNet-OCR (it has '{ocr[0]}'), whose head gsto_viz "
            "does not have; take the file of HRNetV2 without OCR"
        )
    return weights


def infer_official_config(
    source: Mapping[str, Any] | str | Path | Weights, *, num_classes: int | None = None
) -> HRNetConfig:
    """Infer widths, depths, gates and class count of an official checkpoint.

    What shapes do not tell stays at its default: ``align_corners`` (True in HRNet's OCR branch),
    the resize mode, batch norm's momentum.

    Args:
        source: A file or state dict, as for ``load_official``.
        num_classes: For a file without a head for pixels or joints (ImageNet); elsewhere it must
            be None or what the file has.

    Raises:
        GstoVizError: Not an HRNet file (the first key that it lacks), no class count, or two.
    """
    weights = read_official(source).tensors
    gated = any(".att_layers." in key for key in weights)
    modules = tuple(_count(weights, f"stage{stage}.") for stage in (2, 3, 4))
    pose = kind_of(weights) == "pose"
    return (PoseHRNetConfig if pose else HRNetConfig)(
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
        raise GstoVizError(f"this is not an official HRNet file: it has no convolution '{key}'")
    return int(weights[key].shape[0])


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Count the numbered children under ``prefix``."""
    numbers = {
        key.removeprefix(prefix).partition(".")[0] for key in weights if key.startswith(prefix)
    }
    count = sum(number.isdigit() for number in numbers)
    if count == 0:
        raise GstoVizError(f"this is not an official HRNet file: it has no keys '{prefix}0...'")
    return count


def kind_of(weights: Collection[str]) -> str:
    """Return the kind of a file by its keys; that for classification is a backbone."""
    found = (kind for kind, start in HEADS.items() if any(key.startswith(start) for key in weights))
    return next(found, BACKBONE)


def _classes(weights: Mapping[str, Tensor], given: int | None) -> int:
    kind = kind_of(weights)
    if kind == BACKBONE:
        if given is None:
            raise GstoVizError(
                "the file has no segmentation head (ImageNet weights?); it opens in capture and "
                "doctor, and training starts from it with --set initialization=FILE"
            )
        return given
    found = _channels(weights, CLASSIFIERS[kind])
    if given not in (None, found):
        raise GstoVizError(f"num_classes is {given} and the file has {found} classes; leave it out")
    return found


class ShapeMismatch(NamedTuple):
    """A key that file and network have in different shapes."""

    key: str
    file: tuple[int, ...]
    network: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.key} {list(self.file)} in the file, {list(self.network)} in the network"


@dataclass(frozen=True)
class LoadReport:
    """What became of every key, by official name.

    Attributes:
        kind: ``segmentation`` or ``pose`` (a whole network with the head of such files), or
            ``backbone`` (ImageNet, timm).
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
    converted: tuple[str, ...] = ()
    hint: str | None = None


def load_official(
    model: SegmentationNetwork,
    source: Mapping[str, Any] | str | Path | Weights,
    *,
    inplace_abn: bool = False,
    strict: bool = True,
    kind: str = "auto",
    keep: Collection[str] = (),
) -> LoadReport:
    """Copy official weights into a network.

    Args:
        model: Any HRNet or GSTO-HRNet; with ``kind="backbone"`` with any gates and any head.
        source: A file of ``torch.save`` (plain tensors only) or of safetensors, whatever its
            suffix, or a state dict. Which of several mappings is taken is said as a warning of the
            logger ``gsto_viz``.
        inplace_abn: The file was trained with InPlaceABN (GSTO, HRNet's torch-0.4.1 files): batch
            norm there scales by ``|weight| + 1e-5``. Nothing in a file says so for sure.
        strict: Refuse a file that lacks keys, has keys left over, or has other shapes. With False
            what fits is loaded and the rest reported.
        kind: ``segmentation`` or ``pose``: the file holds the whole network, with the head that
            HRNet has for it (GSTO-HRNet has that of segmentation for pose, too). ``backbone``: take
            all but heads and gates of transitions. ``auto``: by whether file and network have the
            same head.
        keep: Weights of the network, by our names, that stay as they are.

    Raises:
        GstoVizError: The file cannot be read, or does not fit; the network is unchanged.
    """
    if kind not in KINDS:
        raise GstoVizError(f"unknown kind '{kind}'; choose one of {', '.join(KINDS)}")
    what = str(source) if isinstance(source, str | Path) else "the state dict"
    if not isinstance(model, HRNet):
        raise GstoVizError(
            f"{what}: official files hold HRNet or GSTO-HRNet, not a {type(model).__name__}"
        )
    read = read_official(source)
    places, _ = official_places(model)
    own = model.state_dict()
    # What is kept is as if the file held it; the dead unit has the shape of other classes, too.
    kept = {official: own[ours].clone() for official, ours in places.items() if ours in keep}
    gone = dead_shapes(model.config) if keep else {}
    held = {key: one for key, one in read.tensors.items() if key not in gone}
    weights = held | {key: one for key, one in kept.items() if key in held}
    own_kind = kind_of(places)
    if kind == "auto":
        kind = own_kind if kind_of(weights) == own_kind else BACKBONE
    if kind != BACKBONE and strict:
        check_official_layout(model.config)
        if kind != own_kind:
            raise GstoVizError(
                f"{what}: this network's files are of the kind {own_kind}, not {kind}"
            )
    report, places, required = _compared(model, weights, kind)
    if strict:
        refuse_misfit(what, required, report.unexpected, report.shape_mismatch)
    if not places:
        raise GstoVizError("no key of this file fits the network; it is not an official HRNet file")
    converted = _copy(model, weights, places, inplace_abn=inplace_abn)
    if read.said is not None:
        logger.warning("%s: %s", read.source, read.said)
    if kind != BACKBONE:
        dead = dead_shapes(model.config)
        model.official_unused = {k: weights[k].clone() for k in report.ignored if k in dead}
    no_counters = not any(key.endswith(COUNTER) for key in weights)
    return replace(
        report,
        ignored=(*read.left_out, *report.ignored),
        converted=tuple(converted),
        hint=(
            "the file has no num_batches_tracked, as files trained with InPlaceABN; if it is one, "
            "load it with inplace_abn=True"
            if no_counters and not inplace_abn
            else None
        ),
    )


def _compared(
    model: HRNet, weights: Mapping[str, Tensor], kind: str
) -> tuple[LoadReport, dict[str, str], list[str]]:
    """Compare the keys and shapes of a file with those of a network; nothing is changed.

    Returns:
        What will become of every key, official key -> our key of those that fit, and the missing
        keys that a complete file has.
    """
    own, backbone = model.state_dict(), kind == BACKBONE
    places, nameless = official_places(model)
    if backbone:
        nameless += [k for k in places if not k.startswith(BACKBONE_PREFIXES)]
        places = {k: v for k, v in places.items() if k.startswith(BACKBONE_PREFIXES)}
    dead = {} if backbone else dead_shapes(model.config)
    shapes = {k: tuple(own[v].shape) for k, v in places.items()} | dead
    mismatch = [
        ShapeMismatch(k, tuple(weights[k].shape), shape)
        for k, shape in shapes.items()
        if k in weights and tuple(weights[k].shape) != shape
    ]
    wrong = {m.key for m in mismatch}
    fitting = {k: v for k, v in places.items() if k in weights and k not in wrong}
    missing = [k for k in places if k not in weights and not k.endswith(COUNTER)]
    unknown = [k for k in weights if k not in shapes]
    useless = [k for k in unknown if backbone and _is_no_backbone(k, model.config)]
    report = LoadReport(
        kind=kind,
        loaded=tuple(fitting),
        missing=(*missing, *(k for k in nameless if not k.endswith(COUNTER))),
        unexpected=tuple(k for k in unknown if k not in useless),
        ignored=(*useless, *(k for k in dead if k in weights and k not in wrong)),
        shape_mismatch=tuple(mismatch),
    )
    return report, fitting, [k for k in missing if not (backbone and FUSION_GATES in k)]


def _is_no_backbone(key: str, config: HRNetConfig) -> bool:
    """Return whether a key is of a head or gate, or of targets that the last fusion lacks here."""
    last = config.modules[-1] - 1
    lacking = () if config.fuses(4, last) else (1, 2, 3)
    rows = (f"stage4.{last}.fuse_layers.{target}." for target in lacking)
    known = (*CLASSIFICATION_PREFIXES, "last_layer", "att1.", "att2.", "att3.", *rows)
    return key.startswith(known) or FUSION_GATES in key


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
        GstoVizError: The network has gates or equalizers that the official layout has no names for.
    """
    check_official_layout(model.config)
    if model.config.equalized:
        raise GstoVizError(
            "the official layout has no names for scale equalizers; fold them into the weights "
            "first, with gsto-viz equalize --fold or gsto_viz.models.equalizer.fold_equalizers"
        )
    own = model.state_dict()
    places, nameless = official_places(model)
    if nameless:
        raise GstoVizError(f"the official layout has no names for {first_few(nameless)}")
    state = {official: own[ours] for official, ours in places.items()}
    example = own["stem.unit1.conv.weight"]
    for key, shape in dead_shapes(model.config).items():
        fill = 1.0 if key.endswith((".1.weight", "running_var")) else 0.0
        fresh = example.new_full(shape, fill)
        if key.endswith(COUNTER):
            fresh = fresh.to(torch.int64)
        # They are not part of the network's state, so they did not follow its moves and casts.
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
    headless: bool = False,
) -> SegmentationNetwork:
    """Make the network that an official file belongs to and load the file into it.

    What to consider about the file (``LoadReport.hint``) is said as a warning of the logger
    ``gsto_viz``: on stderr, unless logging is set up otherwise.

    Args:
        source: A file of ``torch.save`` or of safetensors, whatever its suffix.
        arch: Registered name; None infers the network from the shapes in the file.
        num_classes: For a file without a head for pixels or joints (ImageNet): the head is then
            drawn at random.
        align_corners: True for files of HRNet's OCR branch; shapes do not tell.
        inplace_abn: As in ``load_official``.
        headless: Allow a file without such a head also where ``num_classes`` is not given.

    Returns:
        The network in evaluation mode; the classes of ``.info`` are numbered, not named, but for
        COCO's joints.

    Raises:
        GstoVizError: As ``load_official`` and ``infer_official_config``.
    """
    weights = read_official(source)
    whole = kind_of(weights.tensors) != BACKBONE
    try:
        if headless and not whole and num_classes is None:
            num_classes = (
                HRNetConfig.num_classes if arch is None else model_config(arch).num_classes
            )
        inferred = infer_official_config(weights, num_classes=num_classes)
        config = inferred if arch is None else model_config(arch, num_classes=inferred.num_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = network_of(config.with_options(align_corners=align_corners))
        report = load_official(model, weights, inplace_abn=inplace_abn)
    except GstoVizError as error:
        raise GstoVizError(f"{source}: {error}") from error
    whose = f"that of {arch} has no official name" if whole else "it has no segmentation head"
    headless_hint = f"{whose}; ours is drawn at random" if report.kind == BACKBONE else None
    for hint in filter(None, (report.hint, headless_hint)):
        logger.warning("%s: %s", source, hint)
    model.info = ModelInfo(
        name=Path(source).stem,
        network=arch or network_name(inferred),
        classes=model.config.classes,
        sha256=sha256_of(source),
    )
    return model.eval()


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


OCR_PREFIXES = ("ocr_", "ocr.", "conv3x3_ocr.", "cls_head.", "aux_head.")
"""The head of HRNet-OCR: object-contextual representations."""

BACKBONE_PREFIXES = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")
"""What ImageNet files share with segmentation files."""

CLASSIFICATION_PREFIXES = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
"""The ImageNet head, of no use to pixels or joints; for pose ``final_layer`` is the head."""

DEAD_PREFIX = "att1."
"""A gate unit that the released GSTO network allocates and never calls."""


def official_modules(config: HRNetConfig) -> dict[str, str]:
    """Return our submodule -> its official name, for all that have weights and such a name.

    Gates of the paper form and unsupervised gates of transitions have no official counterpart and
    are left out.
    """
    names: dict[str, str] = {}
    for part in (_stem, _transitions, _stages, _heads):
        names.update(part(config))
    return names


def check_official_layout(config: HRNetConfig) -> None:
    """Refuse a network that the official layouts have no names for.

    Raises:
        GstoVizError: Which gating options differ from the released GSTO-HRNet, or another head.
    """
    if isinstance(config, RelationHRNetConfig):
        raise GstoVizError(
            "the official layout has no head of relations; it holds the trunk alone of this network"
        )
    if config.attention is not None:
        raise GstoVizError(
            "the official layout has no names for attention; it holds plain HRNetV2 and GSTO-HRNet "
            "as released"
        )
    if config.gating is None:
        return
    released = GatingConfig()
    apart = [
        f"{name}={getattr(config.gating, name)!r}"
        for name in ("fusion", "diagonal", "form", "unsupervised", "auxiliary_heads", "source")
        if getattr(config.gating, name) != getattr(released, name)
    ]
    if set(config.gating.supervised) != set(released.supervised):
        apart.append(f"supervised={config.gating.supervised!r}")
    if apart:
        raise GstoVizError(
            f"the official layout has no such gates ({', '.join(apart)}); it holds plain HRNetV2 "
            "and GSTO-HRNet as released, with the default gating"
        )


def dead_shapes(config: HRNetConfig) -> dict[str, tuple[int, ...]]:
    """Return official key -> shape of the dead unit of a released GSTO file; empty for HRNetV2."""
    if config.gating is None:
        return {}
    unit = f"{DEAD_PREFIX}1.0"
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{unit}.0.weight": (1, config.num_classes, 3, 3),
        **{f"{unit}.1.{name}": (1,) for name in vectors},
        f"{unit}.1.num_batches_tracked": (),
    }


def _unit(ours: str, official: str) -> Iterator[tuple[str, str]]:
    """Name a convolution with batch norm, which is a sequence ``0, 1`` officially."""
    yield f"{ours}.conv", f"{official}.0"
    yield f"{ours}.bn", f"{official}.1"


def _stem(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    for number in (1, 2):
        yield f"stem.unit{number}.conv", f"conv{number}"
        yield f"stem.unit{number}.bn", f"bn{number}"
    for block in range(config.stage1_blocks):
        for number in (1, 2, 3):
            for layer in ("conv", "bn"):
                yield f"stage1.{block}.{layer}{number}", f"layer1.{block}.{layer}{number}"
    # The first block widens; its shortcut exists where stem and stage 1 differ in channels, and
    # names without a submodule are harmless.
    yield from _unit("stage1.0.shortcut", "layer1.0.downsample")


def _transitions(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    yield from _unit("transition1.keep", "transition1.0")
    gating = config.gating
    for stage in (1, 2, 3):
        yield from _unit(f"transition{stage}.new_branch", f"transition{stage}.{stage}.0")
        if gating is not None and gating.form == "released" and stage in gating.supervised:
            for step in range(stage):
                ours = f"transition{stage}.gate.score.{step}"
                yield from _unit(ours, f"att{stage}.{stage}.{step}")


def _stages(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    for stage, count in zip((2, 3, 4), config.modules, strict=True):
        for m in range(count):
            ours, official = f"stage{stage}.m{m}", f"stage{stage}.{m}"
            for branch in range(stage):
                for block in range(config.blocks):
                    place = f"branches.{branch}.{block}"
                    for layer in ("conv1", "bn1", "conv2", "bn2"):
                        yield f"{ours}.{place}.{layer}", f"{official}.{place}.{layer}"
            # The last fusion may be the head's, where it leads to the finest branch alone.
            fused = config.fuses(stage, m)
            fusion = f"{ours}.fusion" if fused else "head.fusion"
            for target in range(stage if fused else 1):
                for source in range(stage):
                    yield from _transfer(fusion, official, source, target, config)


def _transfer(
    fusion: str, official: str, source: int, target: int, config: HRNetConfig
) -> Iterator[tuple[str, str]]:
    """Name the weights of transfer source -> target; officially the target comes first."""
    place = f"{fusion}.transfers.{source}to{target}"
    gated = config.gates_transfer(source, target)
    if gated and config.gating is not None and config.gating.form == "released":
        yield from _unit(f"{place}.gate.score", f"{official}.att_layers.{target}.{source}")
    convs = f"{place}.transfer.convs" if gated else f"{place}.convs"
    fuse = f"{official}.fuse_layers.{target}.{source}"
    if source > target:
        yield from _unit(convs, fuse)
    for step in range(target - source):
        yield from _unit(f"{convs}.{step}", f"{fuse}.{step}")


def _heads(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    if isinstance(config, PoseHRNetConfig) and config.head == "fusion":
        yield "head.classifier", "final_layer"
        return
    heads = {} if isinstance(config, RelationHRNetConfig) else {"head": "last_layer"}
    if config.gating is not None:
        stages = {*config.gating.supervised, *config.gating.auxiliary_heads}
        heads |= {f"transition{s}.predictor": f"last_layer_stage{s}" for s in sorted(stages)}
    for ours, official in heads.items():
        for layer, place in (("conv", 0), ("bn", 1), ("classifier", 3)):
            yield f"{ours}.{layer}", f"{official}.{place}"
