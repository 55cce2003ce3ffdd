"""Streamlit's caches of the page "Gates": networks with a gate held, and what the viewer gets."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from gsto_viz.activity import FloatMap
from gsto_viz.explorer import cached
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.gate_choice import GateChoice, compare_held
from gsto_viz.explorer.gate_forcing import inspect_held
from gsto_viz.explorer.gate_numbers import region_gates
from gsto_viz.explorer.gate_tiles import Held, gate_viewer_data
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.shown import Shown
from gsto_viz.look import Look


def held(shown: Shown, choice: GateChoice) -> Held | None:
    """Hold the gates of a view, or return what that gave before; None where they are not held.

    Raises:
        GstoVizError: The checkpoint cannot be used.
    """
    if choice.value is None:
        return None
    key = (*shown.key, choice.subject, choice.gate)
    return _held(key, choice.value, choice, shown)


@st.cache_resource(max_entries=16, show_spinner=False)
def _held(key: tuple[str, ...], value: float, _choice: GateChoice, _shown: Shown) -> Held:
    return compare_held(_shown, _choice, partial(_run, _shown, _choice.subject))


def _run(shown: Shown, letter: str, gates: Sequence[str], value: float) -> Look:
    choice, picture = shown.choices[letter], shown.picture
    sha256 = cached.fingerprint(choice)
    return _inspection(picture.key, sha256, choice.key, tuple(gates), value, choice, picture)


@st.cache_resource(max_entries=16, show_spinner=False)
def _inspection(
    image_key: str,
    sha256: str,
    name: str,
    gates: tuple[str, ...],
    value: float,
    _choice: Choice,
    _picture: Picture,
) -> Look:
    model = cached.network(_choice)
    with cached.FORWARD:
        return inspect_held(model, _picture.sample.image, gates, value)


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
