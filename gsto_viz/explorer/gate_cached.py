"""Streamlit's caches of the page "Gates": networks with a gate held, and what the viewer gets."""

from typing import Any

import streamlit as st

from gsto_viz.activity import FloatMap
from gsto_viz.explorer import cached
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.gate_forcing import PLAIN, HeldChange, held_change, inspect_held
from gsto_viz.explorer.gate_numbers import region_gates
from gsto_viz.explorer.gate_tiles import Held, gate_viewer_data
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.shown import Shown
from gsto_viz.types import Inspection


def held(shown: Shown, letter: str, gates: tuple[str, ...], value: float, what: str) -> Held:
    """Run a network with gates held at one value, or return what that gave before.

    Args:
        shown: Two networks on one image.
        letter: Which of them.
        gates: Taps.
        value: 0..1.
        what: The same in words.

    Raises:
        GstoVizError: The checkpoint cannot be used.
    """
    # The network as it is runs here, too: what comes with the package may differ in a pixel, and
    # what the pages keep has logits at half precision.
    plain = _run(shown, letter, PLAIN, 0.0)
    inspection = _run(shown, letter, gates, value)
    change = _change((*shown.key, letter), gates, value, plain, inspection, shown)
    return Held(letter, what, inspection, change)


def _run(shown: Shown, letter: str, gates: tuple[str, ...], value: float) -> Inspection:
    choice, picture = shown.choices[letter], shown.picture
    sha256 = cached.fingerprint(choice)
    return _inspection(picture.key, sha256, choice.key, gates, value, choice, picture)


@st.cache_resource(max_entries=16, show_spinner=False)
def _inspection(
    image_key: str,
    sha256: str,
    name: str,
    gates: tuple[str, ...],
    value: float,
    _choice: Choice,
    _picture: Picture,
) -> Inspection:
    model = cached.network(_choice)
    with cached.FORWARD:
        return inspect_held(model, _picture.sample.image, gates, value)


@st.cache_resource(max_entries=16, show_spinner=False)
def _change(
    key: tuple[str, ...],
    gates: tuple[str, ...],
    value: float,
    _plain: Inspection,
    _inspection: Inspection,
    _shown: Shown,
) -> HeldChange:
    return held_change(_plain, _inspection, _shown.classes, _shown.sample.labels)


def region_means(shown: Shown, letter: str, gate: str) -> FloatMap:
    """Return the mean of a gate over every region once."""
    return _region_means((*shown.key, letter), letter, gate, shown)


@st.cache_resource(max_entries=256, show_spinner=False)
def _region_means(key: tuple[str, ...], letter: str, gate: str, _shown: Shown) -> FloatMap:
    return region_gates(_shown.inspections[letter], cached.regions(_shown), gate)


def viewer_data(shown: Shown, subject: str, gate: str, held_gate: Held | None) -> dict[str, Any]:
    """Return what the viewer gets; it must not be changed."""
    what = "" if held_gate is None else held_gate.what
    return _viewer_data(shown.key, subject, gate, what, held_gate, shown)


@st.cache_resource(max_entries=16, show_spinner=False)
def _viewer_data(
    key: tuple[str, ...],
    subject: str,
    gate: str,
    what: str,
    _held_gate: Held | None,
    _shown: Shown,
) -> dict[str, Any]:
    return gate_viewer_data(_shown, cached.regions(_shown), subject, gate, _held_gate)
