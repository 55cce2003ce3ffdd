"""Which gate a view of the page "Gates" is about, and whether it is held: read off the view."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gsto_viz.explorer.gate_forcing import PLAIN, held_change, inspect_held
from gsto_viz.explorer.gate_numbers import (
    ALL,
    chosen_maps,
    first_gate,
    gate_places,
    gated_letters,
)
from gsto_viz.explorer.gate_tiles import Held
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.look import Look
from gsto_viz.models import SegmentationNetwork
from gsto_viz.report.examples import with_skeletons


@dataclass(frozen=True)
class GateChoice:
    """What a view is about.

    Attributes:
        subject: The network whose gate it is: B where it has gates, else A.
        gate: A tap, or ``ALL``.
        gates: The taps that are meant.
        value: What they are held at, 0..1; None: they are not held.
    """

    subject: str
    gate: str
    gates: tuple[str, ...]
    value: float | None

    @property
    def what(self) -> str:
        """What is held, in words."""
        name = f"all {len(self.gates)} gates" if self.gate == ALL else self.gate
        return f"{self.subject} with {name} held at {self.value:g}"


def gate_choice(shown: Shown, state: ViewState) -> GateChoice | None:
    """Return what a view is about; a gate that is not there gives the first one.

    Returns:
        None where neither network has gates.
    """
    gated = gated_letters(shown)
    if not gated:
        return None
    inspection = shown.inspections[gated[-1]]
    places = gate_places(inspection)
    names = [ALL, *(place.name for place in places)]
    gate = state.gate if state.gate in names else first_gate(places)
    value = round(state.value, 6) if state.force else None
    return GateChoice(gated[-1], gate, tuple(chosen_maps(inspection, gate)), value)


def compare_held(
    shown: Shown, choice: GateChoice, run: Callable[[Sequence[str], float], Look]
) -> Held:
    """Run a network as it is and with its gates held, and compare.

    Args:
        choice: With a value.
        run: Inspects the image while gates are held at a value (``inspect_held``).
    """
    assert choice.value is not None
    # The network as it is runs here, too: what comes with the package may differ in a pixel, and
    # what the pages keep has logits at half precision.
    plain, held = run(PLAIN, 0.0), with_skeletons(run(choice.gates, choice.value), shown.sample)
    labels = shown.sample.labels
    change = held_change(plain, held, shown.classes, labels, pose=shown.pose)
    return Held(choice.subject, choice.what, held, change)


def hold(shown: Shown, choice: GateChoice, model: SegmentationNetwork) -> Held | None:
    """Hold the gates of a view, without any cache; None where they are not held.

    Args:
        choice: What the view is about.
        model: The network of ``choice.subject``.
    """
    if choice.value is None:
        return None
    image = shown.sample.image
    return compare_held(
        shown, choice, lambda gates, value: inspect_held(model, image, gates, value)
    )
