"""What a capture recorded: one entry per call of each tapped module."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from gsto_viz.capture.names import Place, canonical_name, closest_names
from gsto_viz.errors import GstoVizError

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

    def __init__(self, model: nn.Module, places: Sequence[Place]) -> None:
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
    def taps(self) -> dict[str, Place]:
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
