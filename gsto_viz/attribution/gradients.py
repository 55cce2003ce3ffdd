"""Captum's methods through our targets: a familiar second opinion beside exact branch attribution.

All of them run on a twin of the network (see ``twin``): no parameter gradient is touched and no
hook is left. A map at a tap is summed over channels; its total is the sum of the map. Each image of
a batch has its own target.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

from gsto_viz.attribution.interventions import captured, intervene, replaced
from gsto_viz.attribution.memory import DEFAULT_BUDGET, MemoryEstimate, estimate_memory
from gsto_viz.attribution.targets import Entries, check_grid, head_logits
from gsto_viz.attribution.twin import frozen_twin, tap_output
from gsto_viz.capture.names import resolve
from gsto_viz.errors import GstoVizError

_LOG = logging.getLogger(__name__)

LAYER_METHODS = (
    "activation",
    "gradient_x_activation",
    "integrated_gradients",
    "grad_cam",
    "conductance",
)
INPUT_METHODS = ("saliency", "smooth_grad")
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
