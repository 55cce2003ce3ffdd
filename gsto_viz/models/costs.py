"""What networks cost, counted as HRNet and GSTO count it, beside the figures of the papers.

The "GFLOPs" of their tables are multiply-adds of the convolutions (MACs) per 2**30; the "params" of
their segmentation tables are convolution weights and biases, those of their pose tables have batch
norm, too. ``cost_table`` sets our counts beside the printed ones.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.models.base import NetworkConfig
from gsto_viz.models.blocks import spatial_size
from gsto_viz.models.checkpoint import METADATA_KEY, read_config, read_metadata, shipped_checkpoints
from gsto_viz.models.registry import Printed, model_config, network_of, registered
from gsto_viz.models.relation import Relation

GI = 2**30
"""Divisor of the papers' "GFLOPs"."""


SHAPE_KEEPING = (F.batch_norm, F.relu, torch.sigmoid)
"""Functions whose output has the shape and type of their input."""


@dataclass(frozen=True)
class Costs:
    """Costs of one forward pass of one image.

    Attributes:
        params: Elements of all parameters that the forward uses; those of modules that are never
            called are not counted.
        conv_params: The same, of Conv2d only (weights and biases).
        macs: Multiply-adds of all Conv2d: weight elements times output positions. Biases, batch
            norm, resizing, attention and the multiplication by a gate are not counted.
        height: Image height in pixels.
        width: Image width in pixels.
        unused: Dotted names of modules that have parameters and were never called.
        attention: Multiply-adds of queries with keys and of weights with values in relations.
    """

    params: int
    conv_params: int
    macs: int
    height: int
    width: int
    unused: tuple[str, ...] = ()
    attention: int = 0

    @property
    def macs_gi(self) -> float:
        """MACs / 2**30: the papers' "GFLOPs"."""
        return self.macs / GI


def count_costs(model: nn.Module, height: int = 1024, width: int = 2048) -> Costs:
    """Count what one forward pass of a (1, 3, height, width) image costs.

    The pass runs on a copy without memory (torch's meta device), in evaluation mode: the model, its
    weights, flags and hooks stay as they are, and no weight is read.

    Args:
        model: Any network that takes an image.
        height: Image height in pixels.
        width: Image width in pixels.

    Raises:
        GstoVizError: The network refuses this size.
    """
    return _count(_meta_copy(model), height, width)


class _ShapesOnly(TorchFunctionMode):
    """Give what keeps its shape back as it is, which is most of the time on the meta device."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return args[0] if args and func in SHAPE_KEEPING else func(*args, **kwargs or {})


def _count(ghost: nn.Module, height: int, width: int) -> Costs:
    """Count the costs of a network on the meta device that nobody else uses; it keeps hooks."""
    called: dict[nn.Module, None] = {}
    macs = attention = 0

    def record(module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal macs, attention
        called[module] = None
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            macs += module.weight.numel() * output.shape[-2] * output.shape[-1]
        elif isinstance(module, Relation) and isinstance(output, Tensor):
            attention += module.products(*spatial_size(output))

    for module in ghost.modules():
        module.register_forward_hook(record)
    with torch.no_grad(), _ShapesOnly():
        ghost.eval()(torch.empty(1, 3, height, width, device="meta"))
    used = {p: module for module in called for p in module.parameters(recurse=False)}
    unused = tuple(
        name
        for name, module in ghost.named_modules()
        if module not in called and any(True for _ in module.parameters(recurse=False))
    )
    return Costs(
        params=sum(p.numel() for p in used),
        conv_params=sum(p.numel() for p, m in used.items() if isinstance(m, nn.Conv2d)),
        macs=macs,
        height=height,
        width=width,
        unused=unused,
        attention=attention,
    )


def _meta_copy(model: nn.Module) -> nn.Module:
    """Copy a model with meta tensors in place of its own, and without its hooks."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            memo[id(hooks)] = type(hooks)()
    return copy.deepcopy(model, memo)


COUNTS = ("params", "conv_params", "macs", "macs_gi")


class Convention(NamedTuple):
    """How papers count in their tables of a task.

    Attributes:
        size: Height and width of the image.
        classes: Channels of the logits.
        called: What these are.
        counted: Their parameters, a field of ``Costs``.
    """

    size: tuple[int, int]
    classes: int
    called: str
    counted: str


CONVENTIONS = {
    "segmentation": Convention((1024, 2048), 19, "classes", "conv_params"),
    "pose": Convention((384, 288), 17, "joints", "params"),
}
"""By the task of a network."""


class Ablation(NamedTuple):
    """A row of GSTO's ablation tables: W18-Small-v2 with some of the gates."""

    label: str
    options: dict[str, Any]
    printed: Printed | None
    about: str


ABLATIONS: tuple[Ablation, ...] = (
    Ablation(
        "supervised=none",
        {"gate_supervised": ()},
        Printed("3.93", "71.7", "GSTO Table 2, row 1", "76.6"),
        "gated fusions, ungated transitions",
    ),
    Ablation(
        "supervised=3",
        {"gate_supervised": (3,)},
        Printed("3.95", "73.9", "GSTO Table 2, row 2", "76.7"),
        "gated fusions, supervised gate after stage 3",
    ),
    Ablation(
        "supervised=2+3",
        {"gate_supervised": (2, 3)},
        Printed("3.95", "74.4", "GSTO Table 2, row 3", "77.3"),
        "the same network as gsto-hrnet-w18-small-v2",
    ),
    Ablation(
        "supervised=1+2+3",
        {"gate_supervised": (1, 2, 3)},
        Printed("4.02", "83.0", "GSTO Table 2, row 4", "77.2"),
        "gated fusions, supervised gates after all stages",
    ),
    Ablation(
        "unsupervised=1+2+3",
        {"gate_supervised": (), "gate_unsupervised": (1, 2, 3)},
        Printed("3.93", "71.7", "GSTO Table 3, row 6", "76.8"),
        "gated fusions, unsupervised gates after all stages",
    ),
    Ablation(
        "fusion=off,unsupervised=1+2+3",
        {"gate_fusion": False, "gate_supervised": (), "gate_unsupervised": (1, 2, 3)},
        None,
        "GSTO Table 1, gated transitions without supervision; no costs printed",
    ),
    Ablation(
        "fusion=off,supervised=1+2+3",
        {"gate_fusion": False, "gate_supervised": (1, 2, 3)},
        None,
        "GSTO Table 1, gated transitions with supervision; no costs printed",
    ),
    Ablation(
        "fusion=off,heads=2+3",
        {"gate_fusion": False, "gate_supervised": (), "gate_auxiliary_heads": (2, 3)},
        None,
        "GSTO Table 1, baseline with deep supervision; no costs printed",
    ),
)
ABLATED = "gsto-hrnet-w18-small-v2"


def cost_table(
    size: tuple[int, int] | None = None, num_classes: int | None = None
) -> list[dict[str, Any]]:
    """Count every registered network, the ablations of GSTO's tables, and shipped checkpoints.

    Args:
        size: Image height and width in pixels, at least 32; None: as papers count its task.
        num_classes: Channels of the logits, likewise; a checkpoint keeps its own.

    Returns:
        One row each: ``name, kind`` (``network``, ``ablation`` or ``checkpoint``), ``task, params,
        conv_params, macs, macs_gi, height, width, num_classes, paper_params_m, paper_gflops,
        paper_miou (percent, on Cityscapes val), note``. The papers' figures are None where none is
        printed for this network, size and class count, and counts where the network does not take
        this size (``note`` says why).
    """
    rows = []
    classes = {} if num_classes is None else {"num_classes": num_classes}
    for name, (architecture, which) in registered().items():
        config = model_config(name, **classes)
        rows.append(cost_row(name, "network", config, size, architecture.printed.get(which)))
    for ablation in ABLATIONS:
        config = model_config(ABLATED, **classes, **ablation.options)
        name = f"{ABLATED}[{ablation.label}]"
        rows.append(cost_row(name, "ablation", config, size, ablation.printed, ablation.about))
    for name, path in shipped_checkpoints().items():
        config, about = describe_checkpoint(path)
        rows.append(cost_row(name, "checkpoint", config, size, about=about))
    return rows


def describe_checkpoint(path: Path) -> tuple[NetworkConfig, str]:
    """Return the configuration of one of our checkpoints, and its network and classes in words.

    Only the metadata is read: no tensor, and no fingerprint of the file.

    Raises:
        GstoVizError: Not a checkpoint of ours, or damaged metadata.
    """
    try:
        about = json.loads(read_metadata(path)[METADATA_KEY])
        config = read_config(about, source=str(path))
        name = config.named(about["network"])
        return config, f"{name} with the classes of {about['classes']['name']}"
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise GstoVizError(
            f"{path} has no or damaged gsto_viz metadata ({type(error).__name__}: {error}); "
            "take another copy"
        ) from error


def cost_row(
    name: str,
    kind: str,
    config: NetworkConfig,
    size: tuple[int, int] | None = None,
    printed: Printed | None = None,
    about: str = "",
) -> dict[str, Any]:
    """Count one network and set it beside what is printed for it (``cost_table`` has the keys)."""
    with torch.device("meta"):
        model = network_of(config)
    notes = [about] if about else []
    paper = CONVENTIONS[config.task]
    height, width = size or paper.size
    if ((height, width), config.num_classes) != (paper.size, paper.classes):
        printed = None
    counted: dict[str, Any] = dict.fromkeys(COUNTS)
    try:
        costs = _count(model, height, width)
    except RefusedImageError as error:
        notes.append(str(error))
    else:
        counted = {count: getattr(costs, count) for count in COUNTS}
        if costs.attention:
            notes.append(f"attention: {costs.attention / GI:.3f} Gi multiply-adds more")
        if printed is not None:
            notes.append(verdict(costs, printed, paper.counted))
    return {
        "name": name,
        "kind": kind,
        "task": config.task,
        **counted,
        "height": height,
        "width": width,
        "num_classes": config.num_classes,
        **_printed_figures(printed),
        "note": "; ".join(notes),
    }


def _printed_figures(printed: Printed | None) -> dict[str, float | None]:
    """Return the printed figures of a row, None where none is printed."""
    figures = ("", "", "") if printed is None else (printed.params_m, printed.gflops, printed.miou)
    names = ("paper_params_m", "paper_gflops", "paper_miou")
    return {name: float(text) if text else None for name, text in zip(names, figures, strict=True)}


def verdict(costs: Costs, printed: Printed, counted: str = "conv_params") -> str:
    """Return in words whether our count, rounded to the printed digits, is the printed figure.

    Parameters are compared by ``counted`` (of a ``Convention``) and multiply-adds per 2**30, which
    reproduces all printed figures but two.
    """
    if not (printed.params_m or printed.gflops):
        return f"{printed.source} prints no costs"
    apart = []
    for what, ours, theirs in (
        ("M parameters", getattr(costs, counted) / 1e6, printed.params_m),
        ("Gi multiply-adds", costs.macs_gi, printed.gflops),
    ):
        digits = len(theirs.partition(".")[2])
        if theirs and f"{ours:.{digits}f}" != theirs:
            apart.append(f"{theirs} {what} where we count {ours:.{digits + 2}f}")
    if not apart:
        return f"equals {printed.source}"
    return f"{printed.source} prints {' and '.join(apart)}: not reproducible"
