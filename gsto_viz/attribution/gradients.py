"""Methods at taps and on the image through our targets; their memory is said beforehand.

The functions of the register (``gsto_viz.words.METHODS``) that go through Captum, and what runs
them. Taps that lie one behind the other are run one at a time: what one of them does would
otherwise be cut off by the next.

All of them run on a twin of the network (see ``twin``): no parameter gradient is touched and no
hook is left. A map at a tap is summed over channels; its total is the sum of the map. Each image of
a batch has its own target.

Autograd keeps tensors for the backward pass. How many bytes these are is measured by a forward pass
of a small image with the same network, which costs little, and grows with the area.
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from gsto_viz.types import Stride, Tap
from gsto_viz.words import find_method, load_function

GIB = 2**30
DEFAULT_BUDGET = 4 * GIB
TRIAL_SIDE = 128
"""Height and width of the small image: a whole number of cells on every grid of our networks."""
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
    side = (min(TRIAL_SIDE, height), min(TRIAL_SIDE, width))
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

STEPS = 32
"""Steps of the path integrals (Gauss-Legendre); the convergence delta says whether they do."""
Announce = Callable[[str], None]
Layers = Mapping[str, nn.Module]
"""By dotted name of a module that gives a tap, what its output passes through."""


@dataclass(frozen=True, eq=False)
class Settings:
    """How methods run; each takes what it needs.

    Attributes:
        baseline: (1 or N, 3, H, W): where paths begin; None: 0, the mean colour.
        steps: Of paths.
        budget: Bytes that the steps worked on at once may take.
        rows: Images times steps at once, as the budget allows; found for each method that needs it.
        samples: Noisy copies of the image.
        noise: Their standard deviation, in standard deviations of the image.
        seed: Of the noise; torch's random state stays as it is.
    """

    baseline: Tensor | None = None
    steps: int = STEPS
    budget: int = DEFAULT_BUDGET
    rows: int = 1
    samples: int = 16
    noise: float = 0.1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Attribution:
    """What one method says.

    Attributes:
        method: Key of ``gsto_viz.words.METHODS``.
        maps: By tap (``input`` for methods on the image), (N, h, w) float64, summed over channels.
        delta: (N,) for integrated gradients: sum of all maps minus the change of the score when the
            taps go to the baseline; small against the score when there are enough steps. Else None.
        memory: The estimate that the steps were chunked by; None for methods without a path.
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
    """Methods of the register on one batch of images with one target each.

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
        self.network, self.model = model, frozen_twin(model)
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
    def scores(self, image: Tensor | None = None) -> npt.NDArray[np.float64]:
        """Return the score of each image, (N,): those explained, or others for the same targets."""
        shown = self.image if image is None else image
        return self.score(shown, self._index).double().cpu().numpy()

    def change(self) -> float:
        """Return the score of the first image minus that of the mean colour: what paths add up."""
        return float(self.scores()[0] - self.scores(torch.zeros_like(self.image))[0])

    def run(
        self, method: str, taps: str | Sequence[str] = "stage4.branch*", **settings: Any
    ) -> Attribution:
        """Run one method.

        Args:
            method: Key of a method at ``taps`` or on the ``image``.
            taps: Names or patterns, as ``Capture`` takes them; methods on the image have none.
            **settings: As of ``Settings``.

        Raises:
            GstoVizError: Unknown method or tap, images of several sizes, or one step does not fit
                the budget.
        """
        row, chosen = find_method(method, "taps", "image"), Settings(**settings)
        names, layers = {"input": ""}, {}
        if row.at == "taps":
            names = {tap.name: tap.module for tap in resolve(self.model, taps)}
            layers = {m: tap_output(self.model.get_submodule(m)) for m in names.values()}
        estimate = None
        if row.complete:
            start = self._start(chosen.baseline)
            froms = list(layers) if row.complete == "taps" else None
            estimate = estimate_memory(self.model, self.image, froms, chosen.steps, chosen.budget)
            self.announce(str(estimate))
            chosen = replace(chosen, baseline=start, rows=estimate.rows)
        values = load_function(row.function)(self, layers, chosen)
        sums = dict(zip(layers or [""], map(_channel_sum, values), strict=True))
        maps = {name: sums[module] for name, module in names.items()}
        delta = None
        if row.complete == "taps":
            # Captum's own delta lets everything go to the baseline, also what lies beside the taps.
            total = sum(m.sum(axis=(1, 2)) for m in maps.values())
            delta = np.asarray(total - (self.scores() - self._left(layers, start)))
        return Attribution(method, maps, delta, estimate)

    def _start(self, baseline: Tensor | None) -> Tensor:
        """Return where paths begin, one image for each."""
        start = torch.zeros_like(self.image) if baseline is None else baseline
        if start.shape[-2:] != self.image.shape[-2:]:
            raise GstoVizError(
                f"the baseline is {tuple(start.shape)} and the images {tuple(self.image.shape)}; "
                "give images of one size"
            )
        return start.expand_as(self.image)

    def _left(self, layers: Layers, start: Tensor) -> npt.NDArray[np.float64]:
        """Return the score of each image with its layers as they are where paths begin, (N,)."""
        at_start = captured(self.model, start, list(layers))
        changes = [replaced(name, value, "baseline") for name, value in at_start.items()]
        with intervene(self.model, *changes):
            return self.scores()

    @property
    def rows(self) -> dict[str, Any]:
        """What Captum hands on to ``score``."""
        return {"additional_forward_args": (self._index,)}

    def path(self, settings: Settings) -> dict[str, Any]:
        """Return what Captum's path integrals take."""
        return {
            **self.rows,
            "baselines": settings.baseline,
            "n_steps": settings.steps,
            "internal_batch_size": settings.rows,
        }


Run = Callable[[Explainer], Attribution]
"""A method where it is run."""


def activation(asked: Explainer, layers: Layers, settings: Settings) -> Sequence[Tensor]:
    """Return the features; no target."""
    with torch.no_grad():
        return LayerActivation(asked.score, [*layers.values()]).attribute(asked.image, **asked.rows)


def gradient_x_activation(asked: Explainer, layers: Layers, settings: Settings) -> Sequence[Tensor]:
    """Return features times the gradient of the score."""
    method = LayerGradientXActivation(asked.score, [*layers.values()])
    return method.attribute(asked.image, **asked.rows)


def grad_cam(asked: Explainer, layers: Layers, settings: Settings) -> Sequence[Tensor]:
    """Return features weighted by the mean gradient of their channel, not rectified."""
    methods = (LayerGradCam(asked.score, layer) for layer in layers.values())
    return [method.attribute(asked.image, **asked.rows) for method in methods]


def integrated_gradients(asked: Explainer, layers: Layers, settings: Settings) -> Sequence[Tensor]:
    """Return gradients integrated while the features go from the baseline's to the image's."""
    with warnings.catch_warnings():
        # Captum warns of every list of layers; the branches of a head lie side by side.
        warnings.filterwarnings("ignore", message="Multiple layers provided")
        method = LayerIntegratedGradients(asked.score, [*layers.values()])
    return method.attribute(asked.image, **asked.path(settings))


def conductance(asked: Explainer, layers: Layers, settings: Settings) -> Sequence[Tensor]:
    """Return what flows through the features while the image goes from the baseline to itself."""
    methods = (LayerConductance(asked.score, layer) for layer in layers.values())
    return [method.attribute(asked.image, **asked.path(settings)) for method in methods]


def saliency(asked: Explainer, layers: Layers, settings: Settings) -> Sequence[Tensor]:
    """Return |gradient| with respect to the image."""
    image = asked.image.clone().requires_grad_()
    return [Saliency(asked.score).attribute(image, **asked.rows)]


def smooth_grad(asked: Explainer, layers: Layers, settings: Settings) -> Sequence[Tensor]:
    """Return the mean of the saliency of noisy copies of the image."""
    image = asked.image.clone().requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        value = NoiseTunnel(Saliency(asked.score)).attribute(
            image,
            nt_type="smoothgrad",
            nt_samples=settings.samples,
            nt_samples_batch_size=1,
            stdevs=settings.noise * float(asked.image.std()),
            **asked.rows,
        )
    return [value]


def _channel_sum(value: Any) -> npt.NDArray[np.float64]:
    """Sum over channels: (N, C, h, w), or a tuple of one such tensor, -> (N, h, w) float64."""
    tensor: Tensor = value[0] if isinstance(value, tuple) else value
    return tensor.detach().double().sum(dim=1).cpu().numpy()


def in_words(seconds: float) -> str:
    """Return in words how long something will take, only as exactly as it is known."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"about {_two_digits(seconds)} s"
    return f"about {_two_digits(seconds / 60)} min"


def _two_digits(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"


def find_taps(
    model: nn.Module, image: Tensor, taps: Sequence[str], *, head: str = "main"
) -> dict[str, Stride]:
    """Look for taps, and whether a head's logits depend on each, with one small backward pass.

    Args:
        model: Any network whose output ``head_logits`` understands.
        image: (N, 3, H, W) of the kind that it takes; only type and device matter.
        taps: Names or patterns, as ``Capture`` takes them.
        head: The head that is explained.

    Returns:
        Pixels per cell of each tap, by name.

    Raises:
        GstoVizError: A tap is not there, is not an (N, C, h, w) tensor, is called twice or never,
            or does not lead to the head.
    """
    twin = frozen_twin(model)
    found = resolve(twin, taps)
    given: dict[str, list[Any]] = {tap.name: [] for tap in found}
    for tap in found:
        if tap.path:
            raise GstoVizError(
                f"'{tap.name}' is one part of what a module gives; name a module that gives one "
                "tensor"
            )

        def keep(
            module: nn.Module, inputs: Any, output: Any, name: str = tap.name
        ) -> Tensor | None:
            given[name].append(output)
            # What follows may change the output in place: it gets a copy.
            return output.clone() if isinstance(output, Tensor) else None

        twin.get_submodule(tap.module).register_forward_hook(keep)
    trial = torch.zeros(1, 3, TRIAL_SIDE, TRIAL_SIDE, dtype=image.dtype, device=image.device)
    with torch.enable_grad():
        logits = head_logits(twin(trial.requires_grad_()), head)
        for tap in found:
            _check_output(tap, given[tap.name])
        outputs = [given[tap.name][0] for tap in found]
        gradients = torch.autograd.grad(logits.sum(), outputs, allow_unused=True)
    for tap, gradient in zip(found, gradients, strict=True):
        if gradient is None:
            raise GstoVizError(
                f"the logits of head {head} do not depend on {tap.name}, which lies behind or "
                "beside their way; name taps before the head"
            )
    return {
        tap.name: tap.stride or TRIAL_SIDE // output.shape[-2]
        for tap, output in zip(found, outputs, strict=True)
    }


def _check_output(tap: Tap, outputs: Sequence[Any]) -> None:
    """Refuse what Captum could not read, or would read once of several times."""
    if len(outputs) != 1:
        raise GstoVizError(
            f"{tap.name} is called {len(outputs)} times in a forward pass; name a place that is "
            "called once"
        )
    if not isinstance(outputs[0], Tensor) or outputs[0].ndim != 4:
        what = type(outputs[0]).__name__
        if isinstance(outputs[0], Tensor):
            what = f"tensor of shape {tuple(outputs[0].shape)}"
        raise GstoVizError(
            f"{tap.name} gives a {what} and no map (N, C, h, w); name a place inside or after it"
        )
