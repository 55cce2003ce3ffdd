"""Official checkpoint files and their key names: plain tensors, whatever wraps them.

HRNet for segmentation, HRNet for ImageNet, timm and GSTO share one naming of the backbone. The
official words (``layer1``, ``fuse_layers``, ``att_layers``, ``last_layer``) stay in this module.
"""

import pickle
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.models.config import GatingConfig, HRNetConfig

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts put the weights beside other things."""

PREFIXES = ("module.", "model.")
"""Traces of DataParallel and of the official training wrapper."""

LOSS_PREFIX = "loss."
"""Class weights that the official training wrapper saves along."""

# What torch's own reader raises for damaged files and for pickles that are not plain tensors.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
    SafetensorError,
    OSError,
)


def read_official(source: Mapping[str, Any] | str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of an official checkpoint under plain official keys, on the CPU.

    Args:
        source: A ``.pth`` or ``.safetensors`` file, or what such a file holds. ``{"state_dict":
            ...}`` and ``{"model": ...}`` are opened, repeated ``module.`` and ``model.`` in front
            of keys are taken off, ``loss.`` keys are left out.

    Returns:
        Tensors by official key, and the original names of the keys that were left out.

    Raises:
        GstoVizError: No such file, a damaged file, a pickle of more than plain tensors (nothing of
            it is run), or no weights in it.
    """
    what = "the state dict" if isinstance(source, Mapping) else str(source)
    held: Any = source if isinstance(source, Mapping) else _read_file(Path(source))
    while isinstance(held, Mapping):
        inner = next((held[w] for w in WRAPPERS if isinstance(held.get(w), Mapping)), None)
        if inner is None:
            break
        held = inner
    if not isinstance(held, Mapping) or not held:
        raise GstoVizError(f"{what} holds no weights; give a state dict of tensors")
    weights: dict[str, Tensor] = {}
    left_out = []
    for name, value in held.items():
        key = _strip(str(name))
        if key.startswith(LOSS_PREFIX):
            left_out.append(str(name))
        elif not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            raise GstoVizError(
                f"{what}: '{name}' is not a plain tensor; give the state dict of a network"
            )
        elif key in weights:
            raise GstoVizError(
                f"{what} has two tensors for '{key}'; give the weights of one network"
            )
        else:
            weights[key] = value.detach()
    return weights, left_out


def _strip(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def _read_file(path: Path) -> Any:
    if not path.is_file():
        raise GstoVizError(f"no checkpoint file {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            # torch warns about odd pickles before it refuses them; our sentence says enough.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise GstoVizError(
            f"{path} is damaged or holds more than plain tensors, which is never loaded;"
            " save the network's state_dict alone"
        ) from error


BACKBONE_PREFIXES = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")
"""What ImageNet files share with segmentation files."""

CLASSIFICATION_PREFIXES = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
"""The ImageNet head, of no use to segmentation."""

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
        GstoVizError: Which gating options differ from the released GSTO-HRNet.
    """
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
            for target in range(stage):
                for source in range(stage):
                    yield from _transfer(ours, official, source, target, config.gating)


def _transfer(
    ours: str, official: str, source: int, target: int, gating: GatingConfig | None
) -> Iterator[tuple[str, str]]:
    """Name the weights of transfer source -> target; officially the target comes first."""
    place = f"{ours}.fusion.transfers.{source}to{target}"
    gated = gating is not None and gating.fusion and (gating.diagonal or source != target)
    if gated and gating is not None and gating.form == "released":
        yield from _unit(f"{place}.gate.score", f"{official}.att_layers.{target}.{source}")
    convs = f"{place}.transfer.convs" if gated else f"{place}.convs"
    fuse = f"{official}.fuse_layers.{target}.{source}"
    if source > target:
        yield from _unit(convs, fuse)
    for step in range(target - source):
        yield from _unit(f"{convs}.{step}", f"{fuse}.{step}")


def _heads(config: HRNetConfig) -> Iterator[tuple[str, str]]:
    heads = {"head": "last_layer"}
    if config.gating is not None:
        stages = {*config.gating.supervised, *config.gating.auxiliary_heads}
        heads |= {f"transition{s}.predictor": f"last_layer_stage{s}" for s in sorted(stages)}
    for ours, official in heads.items():
        for layer, place in (("conv", 0), ("bn", 1), ("classifier", 3)):
            yield f"{ours}.{layer}", f"{official}.{place}"
