"""Reductions: what is kept of a tensor at the moment it is captured.

Every reduction gives a tensor of its own: later in-place operations of the network cannot change
it. Named reductions of feature taps work in float32 (or float64 for float64 features).
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from gsto_viz.capture.names import Place, name_matches
from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains

Reducer = Callable[[Tensor], Tensor]
"""From a module's detached output to what is kept of it."""
Reduce = str | Reducer
ReduceChoice = Reduce | Mapping[str, Reduce]
"""One reduction for all taps, or {tap name or pattern: reduction}, the first match holds."""


def mean(features: Tensor) -> Tensor:
    """Channel mean, the heat map of the GSTO paper: (N, C, H, W) -> (N, H, W)."""
    return features.mean(dim=1)


def absmean(features: Tensor) -> Tensor:
    """Channel mean of |F|: (N, C, H, W) -> (N, H, W)."""
    return features.abs().mean(dim=1)


def l2(features: Tensor) -> Tensor:
    """Euclidean norm over channels: (N, C, H, W) -> (N, H, W)."""
    return torch.linalg.vector_norm(features, dim=1)


def channel_max(features: Tensor) -> Tensor:
    """Largest channel value: (N, C, H, W) -> (N, H, W)."""
    return features.amax(dim=1)


def gain_fixed(features: Tensor, gains: Gains, tap: str) -> Tensor:
    """Mean over live channels of F_c / sigma_c: (N, C, H, W) -> (N, H, W), in standard deviations.

    Unchanged when a channel and its sigma are multiplied by the same positive number.

    Raises:
        GstoVizError: The gains are of another number of channels.
    """
    if features.shape[1] != gains.channels:
        raise GstoVizError(
            f"tap '{tap}' has {features.shape[1]} channels and its gains have {gains.channels}; "
            "calibrate this network"
        )
    weights = torch.from_numpy(gains.weights()).to(features)
    live = torch.from_numpy(gains.live).to(features.device)
    return (features[:, live] * weights[live].view(1, -1, 1, 1)).sum(dim=1)


_NAMED: dict[str, Reducer] = {"mean": mean, "absmean": absmean, "l2": l2, "max": channel_max}
REDUCTIONS = ("mean", "gain_fixed", "absmean", "l2", "max", "none")
"""The named reductions."""


def make_reducer(place: Place, choice: ReduceChoice, gains: Mapping[str, Gains] | None) -> Reducer:
    """Return the reduction of one tap.

    Logits are kept whole under ``mean`` and ``gain_fixed``, because a channel mean of logits means
    nothing. Gates of one channel become (N, H, W) under every name but ``none``. A callable is
    applied to any kind as it is.

    Args:
        place: The tap.
        choice: A name out of ``REDUCTIONS``, a callable, or a mapping from tap names or patterns.
        gains: Gains by tap name, for ``gain_fixed``.

    Raises:
        GstoVizError: Unknown name, no reduction for this tap, or ``gain_fixed`` without its gains.
    """
    reduce = _choose(place.name, choice)
    if callable(reduce):
        return _checked(reduce, place.name)
    if not isinstance(reduce, str) or reduce not in REDUCTIONS:
        raise GstoVizError(
            f"unknown reduction {reduce!r} for tap '{place.name}'; choose "
            f"{', '.join(REDUCTIONS)} or give a function"
        )
    whole = place.kind == "logits" and reduce in ("mean", "gain_fixed")
    if reduce == "none" or whole:
        return torch.clone
    if place.kind == "gate":
        return _gate
    if reduce == "gain_fixed":
        known = gains or {}
        if place.name not in known:
            raise GstoVizError(
                f"no gains for tap '{place.name}' (there are gains for: "
                f"{', '.join(known) or 'none'}); measure them with gsto_viz.calibrate.calibrate"
            )
        return _maps(partial(gain_fixed, gains=known[place.name], tap=place.name), place.name)
    return _maps(_NAMED[reduce], place.name)


def _choose(name: str, choice: ReduceChoice) -> Reduce:
    """Return the reduction that ``choice`` gives to one tap."""
    if not isinstance(choice, Mapping):
        return choice
    for pattern, reduce in choice.items():
        if not isinstance(pattern, str):
            raise GstoVizError(f"reduce names the tap {pattern!r}; give a tap name or pattern")
        if name_matches(name, pattern):
            return reduce
    raise GstoVizError(f"reduce says nothing about tap '{name}'; add an entry for '*'")


def _gate(gate: Tensor) -> Tensor:
    """(N, 1, H, W) -> (N, H, W); a gate of several channels stays whole."""
    return gate[:, 0].clone() if gate.ndim == 4 and gate.shape[1] == 1 else gate.clone()


def _maps(reduce: Reducer, name: str) -> Reducer:
    """Return ``reduce`` behind a check of the shape and a cast to at least float32."""

    def reducer(features: Tensor) -> Tensor:
        if features.ndim != 4:
            raise GstoVizError(
                f"tap '{name}' has shape {tuple(features.shape)}, not (N, C, H, W); "
                "take reduce='none' or a function"
            )
        exact = features.dtype in (torch.float32, torch.float64)
        return reduce(features if exact else features.to(torch.float32))

    return reducer


def _checked(reduce: Reducer, name: str) -> Reducer:
    """Return ``reduce`` behind a check that it gives a tensor."""

    def reducer(features: Tensor) -> Tensor:
        value = reduce(features)
        if not isinstance(value, Tensor):
            raise GstoVizError(
                f"the reduce function gave a {type(value).__name__} for tap '{name}'; "
                "it must return a tensor"
            )
        return value

    return reducer


def apply_reducer(reducer: Reducer, output: Tensor) -> Tensor:
    """Run ``reducer`` outside autograd, autocast and inference mode; return a tensor of its own."""
    source = output.detach()
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast(source.device.type, enabled=False),
    ):
        value = reducer(source).detach()
        shared = value.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()
        return value.clone() if shared or value.is_inference() else value
