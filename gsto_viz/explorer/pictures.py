"""The image of a view: a procedural scene with its annotation, or an upload without."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gsto_viz.data import CAMVID_CLASSES, read_image
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.data.spec import resize_image
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.safe_text import safe_name
from gsto_viz.explorer.view_state import MAX_SCENE
from gsto_viz.types import Sample

MAX_PIXELS = 16_000_000
MAX_BYTES = 20_000_000
"""Limits of an upload."""
MIN_SIDE = 32
"""Pixels: a network's coarsest branch has one cell for 32."""
MAX_SIDE = 1024
"""Pixels: larger uploads are made smaller, or one view could take gigabytes."""


@dataclass(frozen=True)
class Picture:
    """An image as the networks get it.

    Attributes:
        sample: The image, with labels when it is a scene.
        key: SHA-256 of the pixels and their shape.
        classes: Names of the classes of the labels, None without labels.
        description: One sentence: what it is, and its size in network-input pixels.
    """

    sample: Sample
    key: str
    classes: tuple[str, ...] | None
    description: str


def scene_picture(index: int) -> Picture:
    """Render scene ``index``, 0..9999, of evaluation seed 0 at 256 x 512 pixels (H x W)."""
    data = SceneDataset(count=MAX_SCENE + 1, seed=0, split="eval")
    sample = data[index]
    height, width = sample.image.shape[:2]
    return Picture(
        sample=sample,
        key=pixel_key(sample.image),
        classes=CAMVID_CLASSES.names,
        description=f"Procedural scene {index}, {width} x {height} pixels.",
    )


def upload_picture(content: bytes, filename: str) -> Picture:
    """Read an uploaded PNG or JPEG; a side above 1024 pixels is made 1024 (area average).

    Args:
        content: The file.
        filename: What the user calls it, for messages.

    Raises:
        GstoVizError: No readable PNG or JPEG, beyond 20 MB or 16 megapixels, or too narrow.
    """
    image = read_image(content, max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES, name=filename)
    height, width = image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (round(height * scale), round(width * scale))
    if min(size) < MIN_SIDE:
        smaller = "" if scale == 1.0 else f" and {size[1]} x {size[0]} at the size used here"
        raise GstoVizError(
            f"{filename} is {width} x {height} pixels{smaller}; each side must have at least "
            f"{MIN_SIDE}, so give a larger or less narrow image"
        )
    description = f"Your image, {width} x {height} pixels"
    if size != (height, width):
        image = resize_image(image, size)
        description += f", made {size[1]} x {size[0]} for the networks"
    sample = Sample(id=safe_name(filename), image=image)
    return Picture(sample, pixel_key(image), None, f"{description}; it has no labels.")


def pixel_key(image: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of an image's shape and pixels, 64 hexadecimal digits."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def upload_fingerprint(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of an uploaded file."""
    return hashlib.sha256(content).hexdigest()[:16]
