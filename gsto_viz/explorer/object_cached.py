"""Streamlit's caches of the page "Scale probe": drawn objects, and what networks say of them."""

from typing import Any

import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.object_probe import (
    DrawnObject,
    Response,
    draw_object,
    object_regions,
    object_response,
)
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.viewer_data import viewer_data as make_viewer_data
from gsto_viz.network import open_network
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import Stride


@st.cache_data(max_entries=64, max_size="128MB", show_spinner=False)
def picture(drawn: DrawnObject) -> Picture:
    """Render an object once.

    Raises:
        GstoVizError: It does not fit there.
    """
    return draw_object(drawn)


def response(choice: Choice, drawn: DrawnObject) -> tuple[tuple[Stride, ...], Response]:
    """Return the strides of a network, and what its branches say of an object; run once.

    Raises:
        GstoVizError: The checkpoint cannot be used, or the object does not fit there.
    """
    return _response(cached.fingerprint(choice), drawn, choice)


@st.cache_data(max_entries=2000, show_spinner=False)
def _response(
    sha256: str, drawn: DrawnObject, _choice: Choice
) -> tuple[tuple[Stride, ...], Response]:
    sample = picture(drawn).sample
    model = cached.network(_choice)
    with cached.FORWARD:
        inspection = open_network(model).look(sample.image)
    return inspection.strides, object_response(inspection, sample)


def regions(shown: Shown, sample_of: Picture) -> PreparedRegions:
    """Return the object and its surroundings as regions."""
    return _regions(shown.key, sample_of, shown)


@st.cache_resource(max_entries=32, show_spinner=False)
def _regions(key: tuple[str, ...], _picture: Picture, _shown: Shown) -> PreparedRegions:
    return object_regions(_picture.sample, _shown.inspections["A"].strides)


def viewer_data(shown: Shown, found: PreparedRegions) -> dict[str, Any]:
    """Return what the viewer gets; it must not be changed."""
    return _viewer_data(shown.key, found, shown)


@st.cache_resource(max_entries=16, show_spinner=False)
def _viewer_data(key: tuple[str, ...], _found: PreparedRegions, _shown: Shown) -> dict[str, Any]:
    return make_viewer_data(_shown, _found, mode="percentile", difference=False)
