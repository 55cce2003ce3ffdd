"""Streamlit's caches around the pure functions: bounded, and keyed on fingerprints, not arrays.

Arguments whose names begin with an underscore are not part of a key: the fingerprints beside them
say what they hold. Streamlit hashes large arrays by samples, which is not safe.
"""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from gsto_viz.data import load_data
from gsto_viz.explorer.checkpoints import Choice, opened
from gsto_viz.explorer.pictures import Picture, data_picture, scene_picture, upload_picture
from gsto_viz.explorer.server import DATA_VARIABLE
from gsto_viz.explorer.shown import Shown, cut_regions, look, stored_inspection
from gsto_viz.explorer.values.probe import (
    Point,
    RegionNumbers,
    default_point,
    percentile_maps,
    region_numbers,
    responses,
)
from gsto_viz.explorer.values.tiles import viewer_data as make_viewer_data
from gsto_viz.files import sha256_of
from gsto_viz.look import Look
from gsto_viz.models import SegmentationNetwork
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import Dataset

FORWARD = threading.RLock()
"""One network at a time: it takes all cores anyway, memory stays bounded with many users, and
nobody runs a network while somebody else's hooks or interventions are on it."""


def network(choice: Choice) -> SegmentationNetwork:
    """Load a checkpoint, or return the one that is loaded already.

    Raises:
        GstoVizError: The file does not hold what its header promised.
    """
    return _network(choice.path, choice.stamp, choice.name)


@st.cache_resource(max_entries=4, show_spinner=False)
def _network(path: Path, stamp: tuple[int, int], name: str) -> SegmentationNetwork:
    return opened(path, name)


def fingerprint(choice: Choice) -> str:
    """Return the SHA-256 of a checkpoint's file."""
    return _fingerprint(choice.path, choice.stamp)


@st.cache_data(max_entries=200, show_spinner=False)
def _fingerprint(path: Path, stamp: tuple[int, int]) -> str:
    return sha256_of(path)


@st.cache_data(max_entries=64, max_size="128MB", show_spinner=False)
def scene(index: int) -> Picture:
    """Render a scene once."""
    return scene_picture(index)


@st.cache_data(max_entries=16, max_size="128MB", scope="session", show_spinner=False)
def upload(upload_key: str, filename: str, _content: bytes) -> Picture:
    """Read an upload once.

    Raises:
        GstoVizError: It is not a usable image.
    """
    return upload_picture(_content, filename)


def data_set() -> Dataset | None:
    """Return the data set given at the start, or None.

    Raises:
        GstoVizError: It is not there any more.
    """
    spec = os.environ.get(DATA_VARIABLE)
    return _data_set(spec) if spec else None


@st.cache_resource(max_entries=2, show_spinner=False)
def _data_set(spec: str) -> Dataset:
    return load_data(spec)


@st.cache_data(max_entries=32, max_size="256MB", show_spinner=False)
def data_image(name: str, image_id: str, _data: Dataset) -> Picture:
    """Read an image of a data set once.

    Raises:
        GstoVizError: It cannot be read.
    """
    return data_picture(_data, _data.ids.index(image_id))


def inspect(choice: Choice, picture: Picture) -> Look:
    """Run a network on an image once, or fetch what comes with the package.

    Raises:
        GstoVizError: The checkpoint cannot be used.
    """
    stored = stored_inspection(picture.key, fingerprint(choice))
    if stored is not None:
        return stored
    return _inspect(picture.key, fingerprint(choice), choice.key, choice, picture)


@st.cache_resource(max_entries=48, show_spinner=False)
def _inspect(image_key: str, sha256: str, name: str, _choice: Choice, _picture: Picture) -> Look:
    model = network(_choice)
    with FORWARD:
        return look(model, _picture)


def regions(shown: Shown) -> PreparedRegions:
    """Cut an image into regions once."""
    return _regions(shown.key, shown)


@st.cache_resource(max_entries=32, show_spinner=False)
def _regions(key: tuple[str, ...], _shown: Shown) -> PreparedRegions:
    return cut_regions(_shown)


@st.cache_resource(max_entries=32, show_spinner=False)
def _numbers(key: tuple[str, ...], _shown: Shown) -> dict[str, RegionNumbers]:
    return region_numbers(_shown, regions(_shown))


def numbers(shown: Shown) -> dict[str, RegionNumbers]:
    """Return the region table of both networks once, by letter."""
    return _numbers(shown.key, shown)


@st.cache_resource(max_entries=32, show_spinner=False)
def _ranks(key: tuple[str, ...], _shown: Shown) -> dict[str, tuple[npt.NDArray[np.float64], ...]]:
    return percentile_maps(_shown)


def ranks(shown: Shown) -> dict[str, tuple[npt.NDArray[np.float64], ...]]:
    """Return the percentile maps of both networks once, by letter."""
    return _ranks(shown.key, shown)


@st.cache_data(max_entries=256, show_spinner=False)
def _start_point(key: tuple[str, ...], _shown: Shown) -> Point:
    return default_point(_shown, regions(_shown))


def start_point(shown: Shown) -> Point:
    """Return where the probe starts on an image."""
    return _start_point(shown.key, shown)


def viewer_data(shown: Shown, mode: str, *, difference: bool) -> dict[str, Any]:
    """Return what the viewer of "Explore" gets; it must not be changed."""
    return _viewer_data(shown.key, mode, difference, shown)


@st.cache_resource(max_entries=24, show_spinner=False)
def _viewer_data(
    key: tuple[str, ...], mode: str, difference: bool, _shown: Shown
) -> dict[str, Any]:
    return make_viewer_data(_shown, regions(_shown), mode=mode, difference=difference)


@st.cache_data(max_entries=48, max_size="16MB", show_spinner=False)
def tables(key: tuple[str, ...], _shown: Shown) -> dict[str, pd.DataFrame]:
    """Return the responses by object size; ``key`` names image and networks."""
    return responses(_shown.sample, _shown.inspections)
