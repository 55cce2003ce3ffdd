"""Streamlit's caches around the pure functions: bounded, and keyed on fingerprints, not arrays.

``KEYS`` says what stands for an argument in a key. Arguments whose names begin with an underscore
are not part of it: those beside them say what they hold.
"""

import threading
from collections.abc import Callable
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st
import torch

from gsto_viz.data import load_data
from gsto_viz.explorer import server
from gsto_viz.explorer.checkpoints import Choice, opened
from gsto_viz.explorer.pictures import Picture, data_picture, scene_picture, upload_picture
from gsto_viz.explorer.shown import Shown, cut_regions, look, stored_inspection
from gsto_viz.explorer.values.gates import Held
from gsto_viz.explorer.values.probe import (
    Point,
    RegionNumbers,
    default_point,
    percentile_maps,
    region_numbers,
    responses,
)
from gsto_viz.explorer.values.sizes import SizeSource, Subject
from gsto_viz.explorer.values.tiles import viewer_data as make_viewer_data
from gsto_viz.files import sha256_of
from gsto_viz.look import Look
from gsto_viz.models import SegmentationNetwork
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import Dataset

FORWARD = threading.RLock()
"""One network at a time: it takes all cores anyway, memory stays bounded with many users, and
nobody runs a network while somebody else's hooks or interventions are on it."""


def _refuse(value: object) -> NoReturn:
    """Refuse what Streamlit would hash by samples: two that differ in a pixel may be one key."""
    raise TypeError(f"a {type(value).__name__} is not a key of a cache; give what it is made from")


KEYS: dict[str | type, Callable[[Any], Any]] = {
    Choice: lambda choice: (str(choice.path), choice.stamp, choice.key),
    Picture: lambda picture: (picture.key, picture.sample.id, picture.sample.labels is not None),
    Shown: lambda shown: shown.key,
    SizeSource: lambda source: source.key,
    Subject: lambda subject: subject.source.key,
    Held: lambda held: held.what,
    **dict.fromkeys((np.ndarray, pd.DataFrame, torch.Tensor), _refuse),
}
"""By type, what stands for a value in the key of a cache."""
P = ParamSpec("P")
R = TypeVar("R")


def kept(max_entries: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep results, up to a number of them; all sessions share them, so they are not changed."""
    return st.cache_resource(max_entries=max_entries, show_spinner=False, hash_funcs=KEYS)


def kept_copies(
    max_entries: int,
    max_size: str | None = None,
    scope: Literal["global", "session"] = "global",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep results, and give each caller a copy of its own.

    Args:
        max_entries: Number of results that are kept.
        max_size: Their size in memory, as ``128MB``.
        scope: Whether all sessions share them.
    """
    return st.cache_data(
        max_entries=max_entries,
        max_size=max_size,
        scope=scope,
        show_spinner=False,
        hash_funcs=KEYS,
    )


@kept(4)
def network(choice: Choice) -> SegmentationNetwork:
    """Load a checkpoint, or return the one that is loaded already.

    Raises:
        GstoVizError: The file does not hold what its header promised.
    """
    return opened(choice.path, choice.name)


@kept_copies(200)
def fingerprint(choice: Choice) -> str:
    """Return the SHA-256 of a checkpoint's file."""
    return sha256_of(choice.path)


@kept_copies(64, "128MB")
def scene(index: int) -> Picture:
    """Render a scene once."""
    return scene_picture(index)


@kept_copies(16, "128MB", "session")
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
    spec = server.offered().data
    return _data_set(spec) if spec else None


@kept(2)
def _data_set(spec: str) -> Dataset:
    return load_data(spec)


@kept_copies(32, "256MB")
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
    return _inspect(choice, picture) if stored is None else stored


@kept(48)
def _inspect(choice: Choice, picture: Picture) -> Look:
    model = network(choice)
    with FORWARD:
        return look(model, picture)


@kept(32)
def regions(shown: Shown) -> PreparedRegions:
    """Cut an image into regions once."""
    return cut_regions(shown)


@kept(32)
def numbers(shown: Shown) -> dict[str, RegionNumbers]:
    """Return the region table of both networks once, by letter."""
    return region_numbers(shown, regions(shown))


@kept(32)
def ranks(shown: Shown) -> dict[str, tuple[npt.NDArray[np.float64], ...]]:
    """Return the percentile maps of both networks once, by letter."""
    return percentile_maps(shown)


@kept_copies(256)
def start_point(shown: Shown) -> Point:
    """Return where the probe starts on an image."""
    return default_point(shown, regions(shown))


@kept(24)
def viewer_data(shown: Shown, mode: str, *, difference: bool) -> dict[str, Any]:
    """Return what the viewer of "Explore" gets; it must not be changed."""
    return make_viewer_data(shown, regions(shown), mode=mode, difference=difference)


@kept_copies(48, "16MB")
def tables(shown: Shown) -> dict[str, pd.DataFrame]:
    """Return the responses by object size."""
    return responses(shown.sample, shown.inspections)
