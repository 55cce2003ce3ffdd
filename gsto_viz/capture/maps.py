"""What a capture keeps of a tensor, and the record of all calls.

Every reduction gives a tensor of its own: later in-place operations of the network cannot change
it. Named reductions of feature taps work in float32 (or float64 for float64 features).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gsto_viz.anatomy import canonical_name
from gsto_viz.capture.names import closest_names, name_matches
from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains
from gsto_viz.types import Tap
from gsto_viz.words import REDUCTIONS

_NO_FORWARD = "no forward pass ran inside the block in the thread that opened it"


@dataclass(frozen=True, eq=False)
class Record:
    """One call of one tapped module.

    Attributes:
        forward: Which forward pass inside the block, from 0. A call outside any forward pass of the
            network counts to the pass before it.
        call: Which call of this module within that pass, from 0.
        value: The reduced output: detached, on the network's device, shared with nothing.
    """

    forward: int
    call: int
    value: Tensor


class Maps(Mapping[str, Tensor]):
    """The maps of one ``with Capture(...)`` block, by tap name in either spelling.

    ``maps[name]`` is the map of the **last** forward pass, and only if the tapped module was called
    exactly once in it; ``maps.records(name)`` gives every call of every pass. Iteration gives the
    taps that fired, in the order asked for.
    """

    def __init__(self, model: nn.Module, places: Sequence[Tap]) -> None:
        self._model = model
        self._places = {place.name: place for place in places}
        self._records: dict[str, list[Record]] = {name: [] for name in self._places}
        self._fired: set[str] = set()
        self._forward = -1

    @property
    def model(self) -> nn.Module:
        """The network that carries the hooks: without wrappers such as ``torch.compile``'s."""
        return self._model

    @property
    def taps(self) -> dict[str, Tap]:
        """Every tap asked for: its module, stride and channels as far as the network says."""
        return dict(self._places)

    @property
    def forwards(self) -> int:
        """Forward passes seen so far in the thread that opened the block."""
        return self._forward + 1

    @property
    def never_fired(self) -> tuple[str, ...]:
        """Taps whose module has not been called (yet)."""
        return tuple(name for name in self._places if name not in self._fired)

    def records(self, name: str) -> tuple[Record, ...]:
        """Return every record of one tap, in order of (forward, call); empty if it never fired.

        Raises:
            GstoVizError: The tap was not asked for.
        """
        return tuple(self._records[self._key(name)])

    def clear(self) -> None:
        """Forget all records so far, for loops over many images inside one block."""
        for records in self._records.values():
            records.clear()

    def __getitem__(self, name: str) -> Tensor:
        key = self._key(name)
        records = self._records[key]
        if not records:
            raise GstoVizError(f"tap '{key}' has no map: {self._why_silent(key)}")
        last = [record for record in records if record.forward == self._forward]
        if not last:
            raise GstoVizError(
                f"tap '{key}' did not fire in the last forward pass ({self._forward}) but in pass "
                f"{records[-1].forward}; take it from maps.records('{key}')"
            )
        if len(last) > 1:
            raise GstoVizError(
                f"the module of tap '{key}' was called {len(last)} times in one forward pass; "
                f"choose a call from maps.records('{key}')"
            )
        return last[0].value

    def __iter__(self) -> Iterator[str]:
        return (name for name, records in self._records.items() if records)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(
            self._records.get(name) or self._records.get(canonical_name(name))
        )

    def __repr__(self) -> str:
        return f"Maps({', '.join(self)}; forward passes: {self.forwards})"

    def begin_forward(self) -> None:
        """Count a forward pass of the whole network."""
        self._forward += 1

    def add(self, name: str, value: Tensor) -> None:
        """Store one call's value."""
        self._forward = max(self._forward, 0)
        self._fired.add(name)
        records = self._records[name]
        previous = records[-1] if records else None
        again = previous is not None and previous.forward == self._forward
        call = previous.call + 1 if again and previous is not None else 0
        records.append(Record(self._forward, call, value))

    def check_all_fired(self, hint: str) -> None:
        """Raise if a tap has never fired.

        Args:
            hint: Said in addition when no forward pass was seen.

        Raises:
            GstoVizError: Names the taps without any record.
        """
        silent = self.never_fired
        if silent and self._forward < 0:
            raise GstoVizError(f"nothing was captured: {_NO_FORWARD}{hint}")
        if silent:
            raise GstoVizError(
                f"{len(silent)} of {len(self._places)} taps never fired: {', '.join(silent)}; "
                "the forward pass does not call these modules (dead, scripted or compiled): leave "
                "them out, or pass unfired='keep' to go on without them"
            )

    def _key(self, name: str) -> str:
        for key in (name, canonical_name(name)):
            if key in self._records:
                return key
        raise GstoVizError(
            f"tap '{name}' was not captured; {closest_names(name, tuple(self._records))}"
        )

    def _why_silent(self, key: str) -> str:
        if key in self._fired:
            return "its records were cleared; run the network again"
        if self._forward < 0:
            return _NO_FORWARD
        return "it never fired, because the forward pass does not call its module"


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


def make_reducer(place: Tap, choice: ReduceChoice, gains: Mapping[str, Gains] | None) -> Reducer:
    """Return the reduction of one tap.

    Logits are kept whole under ``mean`` and ``gain_fixed``, because a channel mean of logits means
    nothing; the weights of relations, which have no channels, under every name. Gates of one
    channel become (N, H, W) under every name but ``none``. A callable is applied to any kind as it
    is.

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
    if reduce == "none" or whole or place.kind == "attention":
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
