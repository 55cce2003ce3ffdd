"""Scenes whose maps come with the package, so that the first view waits for no network.

``python -m gsto_viz.explorer.gallery`` writes them anew, which is needed whenever the shipped
weights or the scenes change; files that do not fit are left aside and the networks run instead.
"""

import functools
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsto_viz.explorer.checkpoints import SHIPPED_PAIR
from gsto_viz.explorer.pictures import Picture, scene_picture
from gsto_viz.explorer.shown import look
from gsto_viz.files import atomic_path
from gsto_viz.look import Look, load_arrays, save_arrays, unpacked

SCENES = (0, 3, 7, 12, 18, 25)
"""The scenes of the gallery."""
THUMB_WIDTH = 256


def folder() -> Path:
    """Return where the files lie."""
    return Path(str(resources.files("gsto_viz") / "explorer" / "gallery"))


def gallery_scenes() -> tuple[int, ...]:
    """Return the scenes that have a thumbnail."""
    return tuple(scene for scene in SCENES if thumbnail_path(scene).is_file())


def thumbnail_path(scene: int) -> Path:
    """Return the PNG of a scene, 256 pixels wide."""
    return folder() / f"scene-{scene}.png"


@functools.lru_cache(maxsize=64)
def stored_inspection(picture_key: str, sha256: str) -> Look | None:
    """Return what a checkpoint shows for an image, when it comes with the package.

    Args:
        picture_key: ``Picture.key``.
        sha256: Of the checkpoint's file.
    """
    path = folder() / f"{picture_key[:12]}-{sha256[:12]}.npz"
    if not path.is_file():
        return None
    arrays, about = load_arrays(path)
    if (about["picture"], about["sha256"]) != (picture_key, sha256):
        return None
    return unpacked(arrays, about, "")


def save_inspection(path: Path, shown: Look, picture: Picture, sha256: str) -> None:
    """Write what a checkpoint shows for an image; ``shown`` has logits."""
    arrays, about = shown.packed()
    save_arrays(path, arrays, {"picture": picture.key, "sha256": sha256, **about})


def save_thumbnail(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write a PNG, 256 pixels wide."""
    height = round(image.shape[0] * THUMB_WIDTH / image.shape[1])
    small = Image.fromarray(image).resize((THUMB_WIDTH, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())


def write_gallery(
    scenes: Sequence[int] = SCENES, checkpoints: Sequence[str] = SHIPPED_PAIR
) -> None:
    """Write thumbnails and maps of the scenes through the shipped pair, over what is there."""
    from gsto_viz.models import load_model

    for old in (*folder().glob("*.npz"), *folder().glob("*.png")):
        old.unlink()
    folder().mkdir(exist_ok=True)
    models = [load_model(name) for name in checkpoints]
    for scene in scenes:
        picture = scene_picture(scene)
        save_thumbnail(thumbnail_path(scene), picture.sample.image)
        for model in models:
            assert model.info is not None
            sha256 = str(model.info.sha256)
            path = folder() / f"{picture.key[:12]}-{sha256[:12]}.npz"
            save_inspection(path, look(model, picture), picture, sha256)


if __name__ == "__main__":
    write_gallery()
