"""Streamlit's caches around the pure functions: bounded, and keyed on fingerprints, not arrays.

Arguments whose names begin with an underscore are not part of a key: the fingerprints beside them
say what they hold. Streamlit hashes large arrays by samples, which is not safe.
"""

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.comparison import responses
from gsto_viz.explorer.drawings import Drawing, draw_comparison, draw_responses
from gsto_viz.explorer.pictures import Picture, scene_picture, upload_picture
from gsto_viz.explorer.safe_text import safe_name
from gsto_viz.inspection import inspect_image
from gsto_viz.models import HRNet
from gsto_viz.models.checkpoint import load_checkpoint
from gsto_viz.types import ClassList, Inspection, Sample

_FORWARD = threading.Lock()
"""One network at a time: it takes all cores anyway, and memory stays bounded with many users."""


def network(choice: Choice) -> HRNet:
    """Load a checkpoint, or return the one that is loaded already.

    Raises:
        GstoVizError: The file does not hold what its header promised.
    """
    name = choice.key.removesuffix(".safetensors")
    return _network(choice.path, choice.stamp, safe_name(name, "checkpoint"))


@st.cache_resource(max_entries=4, show_spinner=False)
def _network(path: Path, stamp: tuple[int, int], name: str) -> HRNet:
    return load_checkpoint(path, name=name)


@st.cache_data(max_entries=64, max_size="64MB", show_spinner=False)
def scene(index: int) -> Picture:
    """Render a scene once."""
    return scene_picture(index)


@st.cache_data(max_entries=16, max_size="128MB", show_spinner=False)
def upload(fingerprint: str, filename: str, _content: bytes) -> Picture:
    """Read an upload once.

    Raises:
        GstoVizError: It is not a usable image.
    """
    return upload_picture(_content, filename)


def inspect(model: HRNet, picture: Picture) -> Inspection:
    """Run a network on an image once.

    Raises:
        GstoVizError: The network has no gains for the taps that are shown.
    """
    assert model.info is not None
    key = (picture.key, str(model.info.sha256), model.info.name)
    return _inspect(*key, model, picture.sample.image)


@st.cache_data(max_entries=48, max_size="256MB", show_spinner=False)
def _inspect(
    image_key: str, sha256: str, name: str, _model: HRNet, _image: npt.NDArray[np.uint8]
) -> Inspection:
    with _FORWARD:
        return inspect_image(_model, _image)


@st.cache_data(max_entries=48, max_size="16MB", show_spinner=False)
def tables(
    key: tuple[str, ...], _sample: Sample, _shown: dict[str, Inspection]
) -> dict[str, pd.DataFrame]:
    """Return the responses by object size; ``key`` names image and networks."""
    return responses(_sample, _shown)


@st.cache_data(max_entries=48, max_size="128MB", show_spinner=False)
def comparison_drawing(
    key: tuple[str, ...],
    mode: str,
    kind: str,
    _sample: Sample,
    _shown: dict[str, Inspection],
    _classes: ClassList,
) -> Drawing:
    """Draw the main figure; ``key`` names image, networks, and whether labels are shown."""
    return draw_comparison(_sample, _shown, _classes, mode, kind)


@st.cache_data(max_entries=48, max_size="64MB", show_spinner=False)
def responses_drawing(key: tuple[str, ...], kind: str, _frames: dict[str, pd.DataFrame]) -> Drawing:
    """Draw the responses by object size; ``key`` names image and networks."""
    return draw_responses(_frames, kind)
