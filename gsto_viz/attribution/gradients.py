"""Captum's methods through our targets, with their memory and time said beforehand.

All of them run on a twin of the network (see ``twin``): no parameter gradient is touched and no
hook is left. A map at a tap is summed over channels; its total is the sum of the map. Each image of
a batch has its own target.

Autograd keeps tensors for the backward pass. How many bytes these are is measured by a forward pass
of a small image with the same network, which costs little, and grows with the area.

Every method takes the image through the network a known number of times; how long one forward pass
takes is measured where it is made anyway.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import (
    LayerActivation,
    LayerConductance,
    LayerGradCam,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn

from gsto_viz.attribution.interventions import (
    Intervention,
    captured,
    frozen_twin,
    intervene,
    replaced,
    tap_output,
)
from gsto_viz.attribution.targets import Entries, check_grid, head_logits
from gsto_viz.capture.names import resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.words import methods_at

GIB = 2**30
DEFAULT_BUDGET = 4 * GIB
PROBE_SIDE = 128
"""Height and width of the probe: a whole number of cells on every grid of our networks."""
BUFFERS = 3
"""Gradients and results that are alive beside the saved tensors, in units of the largest one."""


@dataclass(frozen=True)
class MemoryEstimate:
    """How the steps of a path integral are cut up.

    Attributes:
        per_row: Bytes that one image at one step takes.
        rows: Images times steps at once.
        total_rows: Images times steps altogether.
        budget: Bytes allowed.
    """

    per_row: int
    rows: int
    total_rows: int
    budget: int

    @property
    def peak(self) -> int:
        """Bytes at once, besides the network itself."""
        return self.per_row * min(self.rows, self.total_rows)

    def __str__(self) -> str:
        return (
            f"about {self.peak / GIB:.2f} GiB for {min(self.rows, self.total_rows)} of "
            f"{self.total_rows} steps at once ({self.per_row / GIB:.3f} GiB each, budget "
            f"{self.budget / GIB:g} GiB)"
        )


def free_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return what this machine can still give without swapping; None where it does not say."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def estimate_memory(
    model: nn.Module, image: Tensor, paths: Sequence[str] | None, steps: int, budget: int
) -> MemoryEstimate:
    """Choose how many steps to work on at once.

    Args:
        model: A network whose parameters ask for no gradients.
        image: (N, 3, H, W).
        paths: Places from which on gradients are taken; None: from the image.
        steps: Of the path, each with N images.
        budget: Bytes.

    Raises:
        GstoVizError: One step of one image does not fit.
    """
    height, width = image.shape[-2:]
    side = (min(PROBE_SIDE, height), min(PROBE_SIDE, width))
    per_row = saved_bytes(model, image[:1, :, : side[0], : side[1]], paths)
    per_row = round(per_row * (height * width) / (side[0] * side[1]))
    total = steps * image.shape[0]
    # Captum keeps the rows of one step together: chunks are whole steps.
    rows = max(image.shape[0], budget // per_row // image.shape[0] * image.shape[0])
    if per_row * image.shape[0] > budget:
        raise GstoVizError(
            f"one step of {image.shape[0]} images {height}x{width} takes about "
            f"{per_row * image.shape[0] / GIB:.2g} GiB and the budget is {budget / GIB:.2g} GiB; "
            "allow more, give fewer or smaller images, or take later taps"
        )
    return MemoryEstimate(per_row, int(min(rows, total)), total, budget)


def saved_bytes(model: nn.Module, image: Tensor, paths: Sequence[str] | None) -> int:
    """Count what one forward pass of ``image`` keeps for the backward pass, in bytes.

    Weights are not counted, tensors that share memory are counted once, and room for the gradients
    of the largest ones is added.
    """
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}
    kept: list[Tensor] = []  # alive until the end, so that no memory is counted twice or missed

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    def unpack(tensor: Tensor) -> Tensor:
        return tensor

    begin = image.detach().clone().requires_grad_(paths is None)
    changes = [Intervention(path, _leaf, "leaf") for path in paths or ()]
    hooks: Any = torch.autograd.graph.saved_tensors_hooks(pack, unpack)
    with torch.enable_grad(), intervene(model, *changes), hooks:
        model(begin)
    return sum(seen.values()) + BUFFERS * max(seen.values(), default=0) + begin.nbytes


def _leaf(output: Tensor) -> Tensor:
    """Return the same numbers as the beginning of a graph."""
    return output.detach().clone().requires_grad_()


_LOG = logging.getLogger(__name__)

LAYER_METHODS, INPUT_METHODS = methods_at("taps"), methods_at("image")
STEPS = 32
"""Steps of the path integrals (Gauss-Legendre); the convergence delta says whether they do."""
Announce = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Attribution:
    """What one method says.

    Attributes:
        method: One of ``LAYER_METHODS`` or ``INPUT_METHODS``.
        maps: By tap (``input`` for methods on the image), (N, h, w) float64, summed over channels.
        delta: (N,) for integrated gradients: sum of all maps minus the change of the score when the
            taps go to the baseline; small against the score when there are enough steps. Else None.
        memory: The estimate that the steps were chunked by; None for methods of one pass.
    """

    method: str
    maps: dict[str, npt.NDArray[np.float64]]
    delta: npt.NDArray[np.float64] | None = None
    memory: MemoryEstimate | None = None

    @property
    def totals(self) -> dict[str, npt.NDArray[np.float64]]:
        """By tap, (N,): the sum of the map, e.g. a branch's conductance."""
        return {tap: m.sum(axis=(1, 2)) for tap, m in self.maps.items()}


class Explainer:
    """Captum's methods on one batch of images with one target each.

    Args:
        model: Any network whose output ``head_logits`` understands.
        image: (N, 3, H, W), normalised, on the network's device.
        targets: Entries of each image, from ``resolve_batch``; one score each.
        head: The head that the targets read.
        announce: Called with a sentence before work that takes memory and time.

    Raises:
        GstoVizError: The number of targets is not N, or a target is more than one score.
    """

    def __init__(
        self,
        model: nn.Module,
        image: Tensor,
        targets: Sequence[Entries],
        *,
        head: str = "main",
        announce: Announce = _LOG.info,
    ) -> None:
        if len(targets) != image.shape[0] or any(entries.count != 1 for entries in targets):
            raise GstoVizError(
                f"{len(targets)} targets for axis 0 of the images {tuple(image.shape)}; give one "
                "target of one score for each image"
            )
        self.model = frozen_twin(model)
        self.image = image.detach()
        self.targets = tuple(targets)
        self.head = head
        self.announce = announce
        self._index = torch.arange(image.shape[0], device=image.device)

    def score(self, image: Tensor, index: Tensor) -> Tensor:
        """Return the score of each row: (M, 3, H, W) and the image number of each row -> (M,)."""
        given = head_logits(self.model(image), self.head)
        for entries in self.targets:
            check_grid(entries, given)
        logits = given.flatten(2)
        rows = zip(logits, index.tolist(), strict=True)
        return torch.stack([self.targets[i].scores(row)[0] for row, i in rows])

    @torch.no_grad()
    def scores(self) -> npt.NDArray[np.float64]:
        """Return the score of each image, (N,)."""
        return self.score(self.image, self._index).double().cpu().numpy()

    @torch.no_grad()
    def change(self) -> float:
        """Return the score of the first image minus that of the mean colour: what paths add up."""
        start = self.score(torch.zeros_like(self.image), self._index)
        return float(self.scores()[0] - start.double().cpu().numpy()[0])

    def layer(
        self,
        method: str,
        taps: str | Sequence[str] = "stage4.branch*",
        *,
        baseline: Tensor | None = None,
        steps: int = STEPS,
        budget: int = DEFAULT_BUDGET,
    ) -> Attribution:
        """Run one method at any taps.

        Args:
            method: ``activation`` (channel sum, no target), ``gradient_x_activation``,
                ``integrated_gradients``, ``grad_cam`` (not rectified) or ``conductance``.
            taps: Names or patterns, as ``Capture`` takes them.
            baseline: (1 or N, 3, H, W): where the paths of integrated gradients and conductance
                begin; None: 0, the mean colour.
            steps: Of the paths.
            budget: Bytes that the steps worked on at once may take.

        Raises:
            GstoVizError: Unknown method or tap, or one step does not fit the budget.
        """
        if method not in LAYER_METHODS:
            raise GstoVizError(
                f"unknown method '{method}' for taps; choose {', '.join(LAYER_METHODS)}"
            )
        places = resolve(self.model, taps)
        modules = {place.name: place.module for place in places}
        layers = [tap_output(self.model.get_submodule(module)) for module in modules.values()]
        start = torch.zeros_like(self.image) if baseline is None else baseline
        if start.shape[-2:] != self.image.shape[-2:]:
            raise GstoVizError(
                f"the baseline is {tuple(start.shape)} and the images {tuple(self.image.shape)}; "
                "give images of one size"
            )
        start = start.expand_as(self.image)
        if method == "integrated_gradients":
            return self._integrated(modules, layers, start, steps, budget)
        if method == "conductance":
            return self._conductance(modules, layers, start, steps, budget)
        return Attribution(method, dict(zip(modules, self._single(method, layers), strict=True)))

    def _single(self, method: str, layers: list[nn.Module]) -> list[npt.NDArray[np.float64]]:
        """Run a method of one pass (Grad-CAM: one per layer)."""
        arguments: dict[str, Any] = {"additional_forward_args": (self._index,)}
        if method == "activation":
            with torch.no_grad():
                values = LayerActivation(self.score, layers).attribute(self.image, **arguments)
        elif method == "gradient_x_activation":
            values = LayerGradientXActivation(self.score, layers).attribute(self.image, **arguments)
        else:
            values = [
                LayerGradCam(self.score, layer).attribute(self.image, **arguments)
                for layer in layers
            ]
        return [_channel_sum(value) for value in values]

    def _chunk(self, paths: list[str], everything: bool, steps: int, budget: int) -> MemoryEstimate:
        """Choose how many steps go at once, and say what they will take."""
        estimate = estimate_memory(
            self.model, self.image, None if everything else paths, steps, budget
        )
        self.announce(str(estimate))
        return estimate

    def _integrated(
        self,
        modules: dict[str, str],
        layers: list[nn.Module],
        start: Tensor,
        steps: int,
        budget: int,
    ) -> Attribution:
        paths = list(modules.values())
        estimate = self._chunk(paths, False, steps, budget)
        with warnings.catch_warnings():
            # Captum warns of every list of layers; the branches of one place are side by side.
            warnings.filterwarnings("ignore", message="Multiple layers provided")
            method = LayerIntegratedGradients(self.score, layers)
        values = method.attribute(
            self.image,
            baselines=start,
            additional_forward_args=(self._index,),
            n_steps=steps,
            internal_batch_size=estimate.rows,
        )
        maps = dict(zip(modules, map(_channel_sum, values), strict=True))
        # Captum's own delta lets everything go to the baseline, also what lies beside the taps.
        at_start = captured(self.model, start, paths)
        changes = [replaced(name, value, "baseline") for name, value in at_start.items()]
        with torch.no_grad(), intervene(self.model, *changes):
            left = self.score(self.image, self._index).double().cpu().numpy()
        total = sum(m.sum(axis=(1, 2)) for m in maps.values())
        delta = np.asarray(total - (self.scores() - left))
        return Attribution("integrated_gradients", maps, delta, estimate)

    def _conductance(
        self,
        modules: dict[str, str],
        layers: list[nn.Module],
        start: Tensor,
        steps: int,
        budget: int,
    ) -> Attribution:
        estimate = self._chunk(list(modules.values()), True, steps, budget)
        maps = {}
        for name, layer in zip(modules, layers, strict=True):
            value = LayerConductance(self.score, layer).attribute(
                self.image,
                baselines=start,
                additional_forward_args=(self._index,),
                n_steps=steps,
                internal_batch_size=estimate.rows,
            )
            maps[name] = _channel_sum(value)
        return Attribution("conductance", maps, None, estimate)

    def input(
        self, method: str = "saliency", *, samples: int = 16, noise: float = 0.1, seed: int = 0
    ) -> Attribution:
        """Run one method on the image.

        Args:
            method: ``saliency`` (|gradient|, summed over colours) or ``smooth_grad`` (its mean over
                noisy copies of the image).
            samples: Noisy copies.
            noise: Their standard deviation, in standard deviations of the image.
            seed: Of the noise; torch's random state stays as it is.
        """
        if method not in INPUT_METHODS:
            raise GstoVizError(
                f"unknown method '{method}' for the image; choose {', '.join(INPUT_METHODS)}"
            )
        image = self.image.clone().requires_grad_()
        saliency = Saliency(self.score)
        if method == "saliency":
            value = saliency.attribute(image, additional_forward_args=(self._index,))
            return Attribution(method, {"input": _channel_sum(value)})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            value = NoiseTunnel(saliency).attribute(
                image,
                nt_type="smoothgrad",
                nt_samples=samples,
                nt_samples_batch_size=1,
                stdevs=noise * float(self.image.std()),
                additional_forward_args=(self._index,),
            )
        return Attribution(method, {"input": _channel_sum(value)})


def _channel_sum(value: Any) -> npt.NDArray[np.float64]:
    """Sum over channels: (N, C, h, w), or a tuple of one such tensor, -> (N, h, w) float64."""
    tensor: Tensor = value[0] if isinstance(value, tuple) else value
    return tensor.detach().double().sum(dim=1).cpu().numpy()


BACK = 0.3
"""The way back from the score to the branches, in forward passes: it crosses the head alone."""
STEP = 2.0
"""One step of a path, in forward passes: forward, back, and the bookkeeping of all its features."""


def forward_passes(method: str, branches: int, steps: int) -> float:
    """Return what a method costs, in forward passes of the same image.

    Args:
        method: One of ``gsto_viz.attribution.gradients.LAYER_METHODS``.
        branches: Taps in front of the head that are explained together.
        steps: Of integrated gradients and conductance.

    Raises:
        GstoVizError: Unknown method.
    """
    costs = {
        "activation": 1.0,
        "gradient_x_activation": 1 + BACK,
        # Captum takes one layer at a time.
        "grad_cam": branches * (1 + BACK),
        # Three more for the convergence delta.
        "integrated_gradients": STEP * steps + 3,
        "conductance": branches * STEP * (steps + 1),
    }
    if method not in costs:
        raise GstoVizError(f"unknown method '{method}' for taps; choose {', '.join(costs)}")
    return costs[method]


def in_words(seconds: float) -> str:
    """Say how long something will take, no more exactly than it is known."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"about {_two_digits(seconds)} s"
    return f"about {_two_digits(seconds / 60)} min"


def _two_digits(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"
