"""The image of a view: a procedural scene, an image of a data set, or an upload."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gsto_viz.data import CAMVID_CLASSES, read_image, resize_image, resize_map, with_objects
from gsto_viz.data.people import resized, with_persons
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.texts import safe_name
from gsto_viz.explorer.view_state import MAX_SCENE
from gsto_viz.joints import Joints, joints_of
from gsto_viz.types import ClassList, Dataset, Sample

MAX_PIXELS = 16_000_000
MAX_BYTES = 20_000_000
"""Limits of an upload."""
MIN_SIDE = 32
"""Pixels: a network's coarsest branch has one cell for 32."""
MAX_SIDE = 1024
"""Pixels: larger images are made smaller, or one view could take gigabytes."""


@dataclass(frozen=True)
class Picture:
    """An image as the networks get it.

    Attributes:
        sample: The image, with labels when there are any; its id is harmless in any text.
        key: SHA-256 of the pixels and their shape.
        classes: Of the labels, None without labels.
        description: One sentence: what it is, and its size in network-input pixels.
        joints: Key points of the persons, None where they have none.
    """

    sample: Sample
    key: str
    classes: ClassList | None
    description: str
    joints: Joints | None = None


def scene_picture(index: int) -> Picture:
    """Render scene ``index``, 0..9999, of evaluation seed 0 at 256 x 512 pixels (H x W)."""
    data = SceneDataset(count=MAX_SCENE + 1, seed=0, split="eval")
    sample = data[index]
    height, width = sample.image.shape[:2]
    return Picture(
        sample=sample,
        key=pixel_key(sample.image),
        classes=CAMVID_CLASSES,
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
    size = working_size(height, width)
    if min(size) < MIN_SIDE:
        smaller = f" and {size[1]} x {size[0]} at the size used here"
        raise GstoVizError(
            f"{filename} is {width} x {height} pixels{smaller if size != (height, width) else ''}; "
            f"each side must have at least {MIN_SIDE}, so give a larger or less narrow image"
        )
    sample, size_text = _fitted(Sample(id=safe_name(filename), image=image))
    what = f"Your image, {size_text}; it has no labels."
    return Picture(sample, pixel_key(sample.image), None, what)


def data_picture(data: Dataset, index: int) -> Picture:
    """Read one image of a data set; a side above 1024 pixels is made 1024.

    Args:
        data: The data set.
        index: Of the image.

    Raises:
        GstoVizError: The image or its annotation cannot be read.
    """
    sample, size_text = _fitted(with_persons(with_objects(data))[index])
    sample = replace(sample, id=safe_name(sample.id))
    classes = None if sample.labels is None else data.classes
    what = f"{sample.id} of {safe_name(data.name.partition(':')[0])}, {size_text}."
    return Picture(sample, pixel_key(sample.image), classes, what, joints_of(data))


def working_size(height: int, width: int) -> tuple[int, int]:
    """Return the size that networks get: no side above 1024 pixels, same proportions."""
    scale = min(1.0, MAX_SIDE / max(height, width))
    return round(height * scale), round(width * scale)


def _fitted(sample: Sample) -> tuple[Sample, str]:
    """Return the sample at its working size (area average, labels nearest), and that in words."""
    height, width = sample.image.shape[:2]
    size = working_size(height, width)
    if size == (height, width):
        return sample, f"{width} x {height} pixels"
    labels, instances, people = sample.labels, sample.instances, sample.people
    fitted = replace(
        sample,
        image=resize_image(sample.image, size),
        labels=None if labels is None else resize_map(labels, size),
        instances=None if instances is None else resize_map(instances, size),
        people=people and tuple(resized(one, (height, width), size) for one in people),
    )
    return fitted, f"{width} x {height} pixels, made {size[1]} x {size[0]} for the networks"


def pixel_key(image: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of an image's shape and pixels, 64 hexadecimal digits."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def upload_fingerprint(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of an uploaded file."""
    return hashlib.sha256(content).hexdigest()[:16]
