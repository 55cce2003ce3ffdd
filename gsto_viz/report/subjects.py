"""A network that is analysed: where it is read, and what its transfers let through.

W is the transfer's first convolution without its bias (the identity on an edge to itself): what it
gives is linear in the feature, and everything behind it sees nothing else.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from gsto_viz.attribution import Baseline, mean_baseline
from gsto_viz.calibrate import calibrate
from gsto_viz.capture import Capture
from gsto_viz.capture.names import declared_taps, resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import full_logits
from gsto_viz.evaluate.protocols import labels_of
from gsto_viz.files import read_small_text
from gsto_viz.gains import Gains
from gsto_viz.models.costs import count_costs
from gsto_viz.models.fusion import Transition
from gsto_viz.models.gates import GatedScaleTransfer, gate_range
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.model_info import ModelInfo
from gsto_viz.stats.gates import effective_transmission
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD, eval_mode, image_to_tensor
from gsto_viz.types import BranchMaps, Dataset


class Transmission:
    """Sums over images, by tap of the gate."""

    def __init__(self) -> None:
        self.gated: dict[str, float] = {}
        self.plain: dict[str, float] = {}

    def add(self, tap: str, convolution: nn.Conv2d | None, feature: Tensor, gate: Tensor) -> None:
        """Add one call of a transfer: feature (N, C, h, w), gate (N, 1, h, w)."""
        for sums, carried in ((self.gated, feature * gate), (self.plain, feature)):
            output = carried if convolution is None else _linear(convolution, carried)
            square = float(output.double().square().sum())
            sums[tap] = sums.get(tap, 0.0) + square

    def shares(self) -> dict[str, float | None]:
        """Return ||W(gF)|| / ||WF|| of each gate; None where the transfer carries nothing."""
        return {
            tap: effective_transmission(gated, self.plain[tap]) for tap, gated in self.gated.items()
        }


def _linear(convolution: nn.Conv2d, feature: Tensor) -> Tensor:
    """Apply a convolution without its bias."""
    return F.conv2d(
        feature,
        convolution.weight,
        None,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )


@contextmanager
def watch_transmission(model: nn.Module) -> Iterator[Transmission]:
    """Measure every forward pass of this thread inside the block; hooks are gone afterwards.

    Networks that are none of ours, or have no gates, give no sums.
    """
    found = Transmission()
    handles: list[RemovableHandle] = []
    try:
        if isinstance(model, HRNet):
            thread = threading.get_ident()
            for tap in model.taps().values():
                if tap.kind == "gate":
                    owner = model.get_submodule(tap.module.rpartition(".")[0])
                    handles += _watch(tap.name, owner, found, thread)
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _watch(tap: str, owner: nn.Module, found: Transmission, thread: int) -> list[RemovableHandle]:
    """Put a hook on a gate, which keeps its map, and one on its owner, which adds it up."""
    kept: list[Tensor] = []
    first = next((m for m in _carrier(owner).modules() if isinstance(m, nn.Conv2d)), None)

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() == thread:
            kept[:] = [output.detach()]

    def add(module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        if threading.get_ident() == thread and kept:
            feature = module.source(inputs[0]) if isinstance(module, Transition) else inputs[0]
            with torch.no_grad():
                found.add(tap, first, feature.detach(), kept.pop())

    gate = owner.get_submodule("gate")
    return [gate.register_forward_hook(keep), owner.register_forward_hook(add)]


def _carrier(owner: nn.Module) -> nn.Module:
    """Return what a gate stands in front of."""
    return (
        owner.transfer
        if isinstance(owner, GatedScaleTransfer)
        else owner.get_submodule("new_branch")
    )


COST_SIZE = (1024, 2048)
"""Height and width at which costs are counted, as the papers do."""

DEFAULT_SITE = "stage4.branch*"
"""The branches after the last fusion: what the paper draws."""


@dataclass(frozen=True)
class Site:
    """The branches of a network that are compared, finest first.

    Attributes:
        branches: Names of their taps (dotted module names in a foreign network).
        strides: Pixels per cell of each.
        gates: Gate taps and the stride of their grid; empty without gates.
        bounds: Infimum and supremum of the gates' form; None without gates.
    """

    branches: tuple[str, ...]
    strides: tuple[int, ...]
    gates: Mapping[str, int] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.branches) != len(self.strides):
            raise GstoVizError(
                f"{len(self.branches)} branches and {len(self.strides)} strides; give one stride "
                "per branch"
            )
        if len(set(self.strides)) < 2:
            raise GstoVizError(
                f"all branches have one stride ({', '.join(map(str, self.strides))}); scale "
                "confusion is between branches of different strides, so name taps of two or more"
            )


def site_of(model: nn.Module, taps: str | Sequence[str] = DEFAULT_SITE) -> Site:
    """Find the site of a network that knows its taps.

    Args:
        model: An HRNetV2 or GSTO-HRNet, or any network with a method ``taps()``.
        taps: Names or pattern of the branch taps.

    Raises:
        GstoVizError: No such taps, taps of unknown or of one stride, or a network that does not
            know its taps: give it a ``Site``.
    """
    known = declared_taps(model)
    if not known:
        raise GstoVizError(
            f"{type(model).__name__} does not know its branches; give their module names and "
            "strides, e.g. gsto_viz.report.Site(('layer1', 'layer2'), (4, 8))"
        )
    places = sorted(resolve(model, taps), key=lambda place: place.stride or 0)
    wrong = [place.name for place in places if place.kind != "feature" or place.stride is None]
    if wrong:
        raise GstoVizError(f"tap '{wrong[0]}' is no feature map of a branch; name branch taps")
    strides = {place.stride for place in places}
    gates = {n: t.stride for n, t in known.items() if t.kind == "gate" and t.stride in strides}
    gating = model.config.gating if isinstance(model, HRNet) else None
    return Site(
        branches=tuple(place.name for place in places),
        strides=tuple(place.stride or 0 for place in places),
        gates=gates,
        bounds=gate_range(gating.form) if gating is not None and gates else None,
    )


@dataclass(frozen=True, eq=False)
class Look:
    """What one network shows for one image.

    Attributes:
        activity: Per branch, (h, w) float32 gain-fixed mean.
        raw: Per branch, (h, w) float32 channel mean; empty unless asked for.
        gates: Gate maps by tap, (h, w) float32.
        prediction: (H, W) uint8 classes; None when the network gives no logits of these classes.
        features: Per branch, (C, h, w) float32; empty unless asked for.
    """

    activity: BranchMaps
    raw: BranchMaps
    gates: dict[str, npt.NDArray[np.float32]]
    prediction: npt.NDArray[np.uint8] | None
    features: tuple[npt.NDArray[np.float32], ...] = ()


@dataclass(frozen=True, eq=False)
class Subject:
    """A network under analysis.

    Attributes:
        key: ``A`` or ``B``.
        name: Of the checkpoint.
        network: Of the architecture.
        model: The network.
        site: Where it is read.
        gains: Per-channel gains by tap; empty before calibration.
        transmission: By gate tap, how much of the transfer gets through; empty before calibration.
        sha256: Fingerprint of its checkpoint, None without one.
        classes: How many classes the data has.
        baseline: What absent branches are, for Shapley values; None without attribution.
    """

    key: str
    name: str
    network: str
    model: nn.Module
    site: Site
    gains: Mapping[str, Gains] = field(default_factory=dict)
    transmission: Mapping[str, float | None] = field(default_factory=dict)
    sha256: str | None = None
    classes: int = 0
    baseline: Baseline | None = None

    def record(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {
            "name": self.name,
            "network": self.network,
            "sha256": self.sha256,
            "taps": list(self.site.branches),
            "strides": list(self.site.strides),
        }

    @property
    def costs(self) -> dict[str, Any] | None:
        """Parameters and multiply-adds of one of our networks; None for a foreign one."""
        if not isinstance(self.model, HRNet):
            return None
        costs = count_costs(self.model, *COST_SIZE)
        return {
            "params": costs.params,
            "conv_params": costs.conv_params,
            "macs": costs.macs,
            "height": COST_SIZE[0],
            "width": COST_SIZE[1],
        }

    def tensor(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """Normalise an image (H, W, 3) for this network: (3, H, W)."""
        info = getattr(self.model, "info", None)
        if isinstance(info, ModelInfo):
            return image_to_tensor(image, info.mean, info.std)
        return image_to_tensor(image, IMAGENET_MEAN, IMAGENET_STD)

    def calibrated(self, images: Iterable[npt.NDArray[np.uint8]]) -> "Subject":
        """Return a copy with gains and transmissions measured on images (H, W, 3)."""
        tensors = (self.tensor(image) for image in images)
        with watch_transmission(self.model) as seen:
            gains = calibrate(self.model, tensors, list(self.site.branches))
        return replace(self, gains=gains, transmission=seen.shares())

    def explained(self, images: Iterable[npt.NDArray[np.uint8]]) -> "Subject":
        """Return a copy with the mean features of images (H, W, 3) as baseline."""
        tensors = (self.tensor(image) for image in images)
        return replace(self, baseline=mean_baseline(self.model, tensors))

    def look(
        self,
        image: npt.NDArray[np.uint8],
        *,
        raw: bool = False,
        gates: bool = True,
        features: bool = False,
    ) -> Look:
        """Run the network once over an image and keep what its branches and gates show.

        One thread at a time may look through a subject.

        Args:
            image: (H, W, 3) uint8 sRGB.
            raw: Keep raw channel means as well.
            gates: Keep gate maps.
            features: Keep the features of the branches as well.

        Raises:
            GstoVizError: The network has no gains yet, or a map is not on the grid of its stride.
        """
        with ExitStack() as stack:
            if any(module.training for module in self._modules):
                stack.enter_context(eval_mode(self.model))
            means = stack.enter_context(self._raw) if raw else {}
            fixed = stack.enter_context(self._fixed)
            kept = stack.enter_context(self._gates) if self.site.gates and gates else {}
            whole = stack.enter_context(self._features) if features else {}
            logits = full_logits(self.model, image)
        return Look(
            activity=_first(fixed),
            raw=_first(means),
            gates=dict(zip(kept, _first(kept), strict=True)),
            prediction=labels_of(logits) if logits.shape[0] == self.classes else None,
            features=_first(whole),
        )

    @cached_property
    def _modules(self) -> tuple[nn.Module, ...]:
        return tuple(self.model.modules())

    @cached_property
    def _raw(self) -> Capture:
        return Capture(self.model, list(self.site.branches))

    @cached_property
    def _fixed(self) -> Capture:
        branches = list(self.site.branches)
        return Capture(self.model, branches, reduce="gain_fixed", gains=self.gains)

    @cached_property
    def _features(self) -> Capture:
        return Capture(self.model, list(self.site.branches), reduce="none")

    @property
    def align_corners(self) -> bool:
        """How branches are resized; foreign networks are taken not to align corners."""
        return isinstance(self.model, HRNet) and self.model.config.align_corners

    @cached_property
    def _gates(self) -> Capture:
        return Capture(self.model, list(self.site.gates))


def _first(maps: Mapping[str, Tensor]) -> BranchMaps:
    """Return the maps of a batch of one."""
    return tuple(one[0].to("cpu").float().numpy() for one in maps.values())


def make_subject(key: str, model: nn.Module, data: Dataset, site: Site | None = None) -> Subject:
    """Wrap a network for analysis on a data set.

    Args:
        key: ``A`` or ``B``.
        model: The network; the classes of a checkpoint must be those of the data.
        data: The images.
        site: Where a foreign network is read; None: after the last fusion.

    Raises:
        GstoVizError: Other classes than the data, or a network whose branches are unknown.
    """
    info = getattr(model, "info", None)
    if isinstance(info, ModelInfo) and info.classes.names != data.classes.names:
        raise GstoVizError(
            f"{key} ({info.name}) knows {', '.join(info.classes.names)} and {data.name} has "
            f"{', '.join(data.classes.names)}; analyze data of the classes of the network"
        )
    kind = type(model).__name__
    return Subject(
        key=key,
        name=info.name if isinstance(info, ModelInfo) else kind,
        network=info.network if isinstance(info, ModelInfo) else kind,
        model=model,
        site=site_of(model) if site is None else site,
        sha256=info.sha256 if isinstance(info, ModelInfo) else None,
        classes=len(data.classes),
    )


FORM = (
    "write 'branches: stage4.branch*', or a list of taps, finest first; for networks that do not "
    "know their strides add 'strides: [4, 8, ...]'"
)


def read_sites(path: str | Path, models: Mapping[str, nn.Module]) -> dict[str, Site]:
    """Read a taps file and find its branches in every network.

    The file is a mapping with ``branches`` (a tap, a pattern, or a list of them) and, for networks
    that do not know their taps, ``strides`` (pixels per cell of each branch, in the same order).

    Args:
        path: The file.
        models: The networks by key.

    Returns:
        The site of each network.

    Raises:
        GstoVizError: Not such a file, or a network does not have these taps.
    """
    text = read_small_text(path, "the taps file")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise GstoVizError(f"the taps file {path} is not YAML ({error}); {FORM}") from error
    branches, strides = _checked(values, path)
    if strides is not None:
        return {key: Site(tuple(branches), tuple(strides)) for key in models}
    return {key: site_of(model, branches) for key, model in models.items()}


def _checked(values: Any, path: str | Path) -> tuple[list[str], list[int] | None]:
    """Return branches and strides, or say what is wrong with the file."""
    if not isinstance(values, dict) or "branches" not in values:
        raise GstoVizError(f"the taps file {path} has no 'branches'; {FORM}")
    unknown = sorted(map(str, set(values) - {"branches", "strides"}))
    if unknown:
        raise GstoVizError(f"the taps file {path} has an unknown key '{unknown[0]}'; {FORM}")
    branches, strides = values["branches"], values.get("strides")
    branches = [branches] if isinstance(branches, str) else branches
    if not isinstance(branches, list) or not all(isinstance(b, str) for b in branches):
        raise GstoVizError(f"'branches' of the taps file {path} are no names; {FORM}")
    if strides is not None and (
        not isinstance(strides, list) or not all(type(s) is int and s > 0 for s in strides)
    ):
        raise GstoVizError(f"'strides' of the taps file {path} are no whole numbers; {FORM}")
    return branches, strides
