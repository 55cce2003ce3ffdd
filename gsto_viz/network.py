"""``Network``: a module, its anatomy, what its checkpoint says; ``open_network`` is the one door.

A network looks at an image (``Network.look``) and is measured on calibration images: per-channel
gains, and what its gates let through. W is the transfer's first convolution without its bias (the
identity on an edge to itself): what it gives is linear in the feature, and everything behind it
sees nothing else.
"""

import logging
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

from gsto_viz.activity import grid_shape
from gsto_viz.anatomy import Anatomy, Branch, anatomy_of, branches_at
from gsto_viz.calibrate import calibrate, float32_device
from gsto_viz.capture import Capture
from gsto_viz.capture.names import BRANCHES, declared_taps, resolve
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.evaluate import full_logits
from gsto_viz.evaluate.protocols import aligns_corners, finite, input_batch, labels_of
from gsto_viz.files import read_small_text
from gsto_viz.gains import Gains
from gsto_viz.joints import joints_named
from gsto_viz.look import Look
from gsto_viz.models import ModelInfo, SegmentationNetwork, count_costs
from gsto_viz.models.base import task_of
from gsto_viz.models.checkpoint import load_module
from gsto_viz.models.costs import CONVENTIONS
from gsto_viz.models.equalizer import watch_equalizers
from gsto_viz.models.fusion import Transition
from gsto_viz.models.gates import GatedScaleTransfer
from gsto_viz.models.outputs import MAIN, Wanted, misfit
from gsto_viz.stats import effective_transmission
from gsto_viz.torch_utils import check_hookable, eval_mode, run_network, unwrap
from gsto_viz.types import BranchMaps, ClassList, Tap, stride_words

logger = logging.getLogger(__name__)

DEFAULT_SITE = BRANCHES
"""The branches after the last fusion: what the paper draws."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """Features in place of absent branches.

    Attributes:
        name: What it is, e.g. ``dataset mean of 64 images``.
        features: By branch, (1, C_r, 1, 1), one number per channel, or (1, C_r, h_r, w_r).
        head: The head whose branches they are.
    """

    name: str
    features: tuple[Tensor, ...]
    head: str = "main"


@dataclass(frozen=True, eq=False)
class Network:
    """A network, and what is known of it.

    Attributes:
        module: The network itself; calling the ``Network`` calls it.
        anatomy: What it says of itself, or was told of it; without branches where nobody knows.
        key: Its name in a comparison.
        gains: Per-channel gains by tap; empty where they were not measured.
        transmission: By gate tap, how much of the transfer gets through; empty before calibration.
        predicts: How many classes its logits must have to count as a prediction; None: any.
        baseline: What absent branches are, for Shapley values; None without them.
        output: Which of several outputs are its logits, by name or number.
        official: What was said of an official file when it was opened.
    """

    module: nn.Module
    anatomy: Anatomy
    key: str = ""
    gains: Mapping[str, Gains] = field(default_factory=dict)
    transmission: Mapping[str, float | None] = field(default_factory=dict)
    predicts: int | None = None
    baseline: Baseline | None = None
    output: str = MAIN
    official: Mapping[str, Any] = field(default_factory=dict)
    _refusals: dict[tuple[int, ...], str | None] = field(default_factory=dict, repr=False)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the network."""
        return self.module(*args, **options)

    @cached_property
    def info(self) -> ModelInfo | None:
        """What its checkpoint says; None without one."""
        info = getattr(self.module, "info", None)
        return info if isinstance(info, ModelInfo) else None

    @property
    def name(self) -> str:
        """Name of the checkpoint, else of the class."""
        return type(self.module).__name__ if self.info is None else self.info.name

    @property
    def architecture(self) -> str:
        """Registered name, else the class, and that it is equalized where it is."""
        if isinstance(self.module, SegmentationNetwork):
            return self.module.architecture
        return type(self.module).__name__ if self.info is None else self.info.network

    @property
    def task(self) -> str:
        """What it is for; ``pose`` networks predict no classes (``predicts`` 0)."""
        return task_of(self.module)

    @property
    def classes(self) -> ClassList | None:
        """Classes of the logits; None when the checkpoint does not say."""
        return None if self.info is None else self.info.classes

    @property
    def sha256(self) -> str | None:
        """Fingerprint of its checkpoint, None without one."""
        return None if self.info is None else self.info.sha256

    def record(self) -> dict[str, Any]:
        """Return what the manifest of an analysis says of it."""
        layouts = {tap.layout for tap in self.anatomy.taps.values() if tap.layout}
        return {
            "name": self.name,
            "network": self.architecture,
            "sha256": self.sha256,
            **({"task": self.task} if self.task == "pose" else {}),
            "taps": list(self.anatomy.branch_taps),
            "strides": list(self.anatomy.strides),
            **({"layout": ", ".join(sorted(layouts))} if layouts else {}),
            **self.opened_with(),
        }

    def weights_record(self) -> dict[str, Any]:
        """Return what a manifest says of the weights: name, architecture, SHA-256 of the file."""
        if self.info is None:
            return {"name": None, "network": None, "sha256": None, **self.opened_with()}
        name = Path(self.info.name).name
        about = {"name": name, "network": self.architecture, "sha256": self.sha256}
        return {**about, **self.opened_with()}

    def opened_with(self) -> dict[str, Any]:
        """Return what was said when it was opened, as far as it was."""
        output = {} if self.output == MAIN else {"output": self.output}
        return output | ({"official_file": dict(self.official)} if self.official else {})

    @property
    def costs(self) -> dict[str, Any] | None:
        """Parameters and multiply-adds of one of our networks; None for a foreign one."""
        if anatomy_of(self.module) is None:
            return None
        height, width = CONVENTIONS[self.task].size
        costs = count_costs(self.module, height, width)
        counted = {name: getattr(costs, name) for name in ("params", "conv_params", "macs")}
        return {**counted, "height": height, "width": width}

    def to(self, device: torch.device) -> "Network":
        """Move the module."""
        self.module.to(device)
        return self

    def check_branches(self) -> None:
        """Refuse a network whose branches nobody knows.

        Raises:
            GstoVizError: It needs a ``Site``.
        """
        check_hookable(self.module)
        if not self.anatomy.branches:
            raise GstoVizError(
                f"{type(self.module).__name__} does not know its branches; give their module names "
                "and strides, e.g. gsto_viz.report.Site(('layer1', 'layer2'), (4, 8))"
            )

    def read_at(self, taps: str | Sequence[str] = DEFAULT_SITE) -> "Network":
        """Return the same network compared at other taps, finest first.

        Raises:
            GstoVizError: No such taps, taps of unknown or of one stride, or a network that does not
                know its taps: give it a ``Site``.
        """
        if not self.anatomy.taps:
            self.check_branches()
        branches = []
        known = {branch.tap: branch for branch in self.anatomy.branches}
        for place in resolve(self.module, taps):
            if place.name in known:
                branches.append(known[place.name])
                continue
            if place.kind != "feature" or place.stride is None:
                raise GstoVizError(
                    f"tap '{place.name}' is not a feature map of a branch; name branch taps"
                )
            branches.append(Branch.on(place.name, place.stride, place.channels))
        ordered = sorted(branches, key=lambda branch: branch.scale)
        return replace(self, anatomy=self.anatomy.at(ordered))

    def tensor(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """Normalise an image (H, W, 3) for this network: (3, H, W), on its device."""
        return input_batch(self.module, image)[0]

    def refuses(self, image: npt.NDArray[np.uint8]) -> str | None:
        """Return why the network does not take an image (H, W, 3), or None: one pass per size."""
        size = image.shape[:2]
        if size not in self._refusals:
            try:
                with eval_mode(self.module), torch.inference_mode():
                    run_network(self.module, input_batch(self.module, image))
                self._refusals[size] = None
            except RefusedImageError as error:
                self._refusals[size] = str(error)
        return self._refusals[size]

    def calibrated(self, images: Iterable[npt.NDArray[np.uint8]]) -> "Network":
        """Return a copy with gains and transmissions measured on images (H, W, 3)."""
        tensors = (self.tensor(image) for image in images)
        with watch_transmission(self.module) as seen:
            gains = calibrate(self.module, tensors, self._places(self.anatomy.branch_taps))
        return replace(self, gains=gains, transmission=seen.shares())

    def check(self, image: npt.NDArray[np.uint8], name: str) -> None:
        """Run the network once over an image, so that what does not fit is said at once.

        Predictions of other classes than the data's are not scored, which the log says.

        Args:
            image: (H, W, 3) uint8 sRGB.
            name: Of the image, for messages.

        Raises:
            RefusedImageError: The network does not take the image, which says nothing of others.
            GstoVizError: Weights are not float32, logits are not finite, several outputs could be
                the logits, a tap is not there, or the grid of a branch is not that of its stride.
        """
        float32_device(self.module)
        who = f"{name}: {self.key or self.name}"
        try:
            with eval_mode(self.module), self._features as maps:
                full = full_logits(self.module, image, wanted=Wanted(self.predicts, self.output))
            self._refusals[image.shape[:2]] = None
            if self.task == "pose" or self.predicts in (None, full.shape[0]):
                finite(full)
            self.check_grids([tuple(maps[tap].shape) for tap in maps], image.shape[:2])
        except GstoVizError as error:
            raise type(error)(f"{who}: {error}") from error
        if self.predicts not in (None, full.shape[0]):
            why = "its output is heat maps of joints, not classes"
            if self.task != "pose":
                why = misfit(full.shape[0], self.predicts or 0, "the data set")
            logger.warning("%s: predictions are not scored: %s", self.key or self.name, why)

    def check_grids(self, shapes: Iterable[tuple[int, ...]], size: tuple[int, ...]) -> None:
        """Refuse branches whose maps are not on the grids of their strides.

        Args:
            shapes: Of the map of each branch, (N, C, h, w) or (h, w).
            size: (height, width) of the image.

        Raises:
            RefusedImageError: A stride does not divide the size of the image, and the network
                rounds in another way.
            GstoVizError: A stride is wrong.
        """
        for branch, shape in zip(self.anatomy.branches, shapes, strict=True):
            if branch.sampling is None:
                continue
            expected = grid_shape(size[0], size[1], branch.sampling)
            if len(shape) in (2, 4) and shape[-2:] == expected:
                continue
            found, image, grid = ("x".join(map(str, one)) for one in (shape, size, expected))
            said = (
                f"{branch.tap} gives {found} for an image of {image}, and "
                f"{stride_words(branch.sampling)} means a grid of {grid}"
            )
            if any(side % (branch.stride or 1) for side in size):
                raise RefusedImageError(f"{said}; take images whose sides it divides")
            raise GstoVizError(f"{said}; give its stride, or layout: nhwc where channels are last")

    def look(
        self,
        image: npt.NDArray[np.uint8],
        *,
        raw: bool = True,
        gates: bool = True,
        logits: bool = False,
        features: bool = False,
        relations: bool = False,
    ) -> Look:
        """Run the network once over an image and keep what its branches and gates show.

        One thread at a time may look through a network.

        Args:
            image: (H, W, 3) uint8 sRGB.
            raw: Keep raw channel means.
            gates: Keep gate maps.
            logits: Keep the logits on the grid of the head.
            features: Keep the features of the branches.
            relations: Keep the weights of relations.

        Raises:
            RefusedImageError: The network does not take an image of this size.
            GstoVizError: The network has no gains (``calibrated`` measures them), its logits
                are not finite, or several of its outputs could be the logits.
        """
        if not self.gains:
            raise GstoVizError(
                f"{self.name} has no per-channel gains and its maps would be arbitrary; measure "
                "them with gsto_viz.calibrate.calibrate and give them as gains="
            )
        relations = relations and bool(self.anatomy.relations)
        with ExitStack() as stack:
            if any(module.training for module in self._modules):
                stack.enter_context(eval_mode(self.module))
            means = stack.enter_context(self._raw) if raw else {}
            fixed = stack.enter_context(self._fixed)
            kept = stack.enter_context(self._gates) if self.anatomy.gates and gates else {}
            heard = stack.enter_context(self._relations) if relations else {}
            scores = stack.enter_context(self._logits) if logits else {}
            whole = stack.enter_context(self._features) if features else {}
            passed = stack.enter_context(watch_equalizers(self.module)) if features else {}
            full = full_logits(self.module, image, wanted=Wanted(self.predicts, self.output))
        predicts = self.predicts in (None, full.shape[0])
        blank = np.zeros(image.shape[:2], dtype=np.uint8)
        return Look(
            name=self.name,
            network=self.architecture,
            strides=self.anatomy.strides,
            prediction=labels_of(finite(full)) if predicts else blank,
            raw=_first(means),
            activity=_first(fixed),
            gates=dict(zip(kept, _first(kept), strict=True)),
            gate_range=self.anatomy.gate_range,
            site=", ".join(self.anatomy.branch_taps),
            logits=_first(scores)[0] if scores else None,
            align_corners=aligns_corners(self.module),
            predicts=predicts,
            joints=joints_named(self.classes) if self.task == "pose" else None,
            features=_first(whole),
            equalizers=passed,
            relations=dict(zip(heard, _first(heard), strict=True)),
        )

    @cached_property
    def _modules(self) -> tuple[nn.Module, ...]:
        return tuple(self.module.modules())

    @cached_property
    def _raw(self) -> Capture:
        return Capture(self.module, self._places(self.anatomy.branch_taps))

    @cached_property
    def _fixed(self) -> Capture:
        taps = self._places(self.anatomy.branch_taps)
        return Capture(self.module, taps, reduce="gain_fixed", gains=self.gains)

    @cached_property
    def _gates(self) -> Capture:
        return Capture(self.module, self._places(gate.name for gate in self.anatomy.gates))

    @cached_property
    def _relations(self) -> Capture:
        return Capture(self.module, self._places(self.anatomy.relations))

    @cached_property
    def _features(self) -> Capture:
        return Capture(self.module, self._places(self.anatomy.branch_taps), reduce="none")

    @cached_property
    def _logits(self) -> Capture:
        return Capture(self.module, self._places([self.anatomy.outputs["main"]]), reduce="none")

    def _places(self, names: Iterable[str]) -> dict[str, Tap | str]:
        """Return where taps are: as the module declares them, else by the name of a submodule."""
        declared = declared_taps(self.module)
        told = self.anatomy.taps
        return {name: declared.get(name) or self._told(told[name]) for name in names}

    def _told(self, tap: Tap) -> Tap:
        """Return the place of a tap that somebody told, with its stride and layout."""
        (found,) = resolve(self.module, {tap.name: "#".join((tap.module, *tap.path))})
        return replace(found, stride=tap.stride, layout=tap.layout)


def _first(maps: Mapping[str, Tensor]) -> BranchMaps:
    """Return the maps of a batch of one."""
    return tuple(one[0].to("cpu").float().numpy() for one in maps.values())


Source = str | Path | nn.Module | Network
"""What a network is opened from."""


def open_network(
    source: Source,
    *,
    code: bool = False,
    key: str = "",
    site: Anatomy | None = None,
    gains: Mapping[str, Gains] | None = None,
    output: str = "",
    headless: bool = False,
    **official: Any,
) -> Network:
    """Open a network, wherever it comes from.

    Args:
        source: A shipped name, a checkpoint of ours, an official file, a module, or a network.
        code: Allow registered names, too (random weights of one seed), and ``PATH.py:FUNCTION``,
            which runs the code of that file.
        key: Its name in a comparison.
        site: Where its branches are, for a module that does not say so (``branches_at``).
        gains: Per-channel gains by tap; None takes those of the checkpoint.
        output: Which of several outputs are its logits, by name or number; empty: the main one.
        headless: Allow ImageNet weights, which have no segmentation head; see ``load_model``.
        **official: What an official file does not say of itself; see ``load_model``. Registered
            names take ``num_classes`` alone.

    Raises:
        GstoVizError: As ``load_model``.
    """
    if isinstance(source, Network):
        network = source
    else:
        if not isinstance(source, nn.Module):
            source = load_module(source, code, headless, official)
        module, _ = unwrap(source)
        predicts = 0 if task_of(module) == "pose" else None
        network = Network(module, anatomy_of(module) or Anatomy(()), predicts=predicts)
        gained = {} if network.info is None else network.info.gains
        network = replace(network, gains=gained, official=official)
    if site is not None:
        network = replace(network, anatomy=network.anatomy.told(site))
    elif not network.anatomy.branches and network.anatomy.taps:
        network = network.read_at()
    return replace(
        network,
        key=key or network.key,
        gains=network.gains if gains is None else gains,
        output=output or network.output,
    )


FORM = (
    "write 'branches: stage4.branch*', or a list of taps, finest first; for networks that do not "
    "know their strides add 'strides: [4, 8, ...]', and 'layout: nhwc' where channels are last"
)


def read_sites(path: str | Path, networks: Mapping[str, Source]) -> dict[str, Anatomy]:
    """Read a taps file and find its branches in every network.

    The file is a mapping with ``branches`` (a tap, a pattern, or a list of them) and, for networks
    that do not know their taps, ``strides`` (pixels per cell of each branch, in the same order).

    Args:
        path: The file.
        networks: The networks by key.

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
    branches, strides = _checked_sites(values, path)
    layout = str(values.get("layout", ""))
    if layout and strides is None:
        raise GstoVizError(f"the taps file {path} has a layout and no strides; {FORM}")
    if strides is not None:
        return {key: branches_at(branches, strides, layout=layout) for key in networks}
    return {key: open_network(one).read_at(branches).anatomy for key, one in networks.items()}


def _checked_sites(values: Any, path: str | Path) -> tuple[list[str], list[int] | None]:
    """Return branches and strides, or say what is wrong with the file."""
    if not isinstance(values, dict) or "branches" not in values:
        raise GstoVizError(f"the taps file {path} has no 'branches'; {FORM}")
    unknown = sorted(map(str, set(values) - {"branches", "strides", "layout"}))
    if unknown:
        raise GstoVizError(f"the taps file {path} has an unknown key '{unknown[0]}'; {FORM}")
    branches, strides = values["branches"], values.get("strides")
    branches = [branches] if isinstance(branches, str) else branches
    if not isinstance(branches, list) or not all(isinstance(b, str) for b in branches):
        raise GstoVizError(f"'branches' of the taps file {path} are not names; {FORM}")
    if strides is not None and (
        not isinstance(strides, list) or not all(type(s) is int and s > 0 for s in strides)
    ):
        raise GstoVizError(f"'strides' of the taps file {path} are not whole numbers; {FORM}")
    return branches, strides


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
        anatomy, thread = anatomy_of(model), threading.get_ident()
        for gate in () if anatomy is None else anatomy.gates:
            owner = model.get_submodule(gate.module.rpartition(".")[0])
            if isinstance(owner, Transition | GatedScaleTransfer):
                handles += _watch(gate.name, owner, found, thread)
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _watch(
    tap: str, owner: Transition | GatedScaleTransfer, found: Transmission, thread: int
) -> list[RemovableHandle]:
    """Put a hook on a gate, which keeps its map, and one on its owner, which adds it up."""
    kept: list[Tensor] = []
    first = next((m for m in owner.carrier.modules() if isinstance(m, nn.Conv2d)), None)

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() == thread:
            kept[:] = [output.detach()]

    def add(_module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        if threading.get_ident() == thread and kept:
            feature = owner.source(inputs[0])
            with torch.no_grad():
                found.add(tap, first, feature.detach(), kept.pop())

    gate = owner.get_submodule("gate")
    return [gate.register_forward_hook(keep), owner.register_forward_hook(add)]
