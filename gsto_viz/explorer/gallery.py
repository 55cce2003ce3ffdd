"""Scenes whose maps come with the package, so that the first view waits for no network.

``python -m gsto_viz.explorer.gallery`` writes them anew, which is needed whenever the shipped
weights or the scenes change; files that do not fit are left aside and the networks run instead.
"""

import functools
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsto_viz.explorer.checkpoints import SHIPPED_PAIR
from gsto_viz.explorer.pictures import Picture, scene_picture
from gsto_viz.files import atomic_path
from gsto_viz.types import Inspection

SCENES = (0, 3, 7, 12, 18, 25)
"""The scenes of the gallery."""
THUMB_WIDTH = 256
LOGITS = np.float16
"""Kept at half precision, here and by the pages: scores are read to two decimals."""
_ABOUT = "about"


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
def stored_inspection(picture_key: str, sha256: str) -> Inspection | None:
    """Return what a checkpoint shows for an image, when it comes with the package.

    Args:
        picture_key: ``Picture.key``.
        sha256: Of the checkpoint's file.
    """
    path = folder() / f"{picture_key[:12]}-{sha256[:12]}.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file[_ABOUT]))
        if (about["picture"], about["sha256"]) != (picture_key, sha256):
            return None
        return _inspection(file, about)


def _inspection(file: Any, about: dict[str, Any]) -> Inspection:
    def maps(kind: str) -> tuple[npt.NDArray[np.float32], ...]:
        return tuple(_fixed(file[f"{kind}{r}"]) for r in range(len(about["strides"])))

    limits = about["gate_range"]
    return Inspection(
        name=about["name"],
        network=about["network"],
        strides=tuple(about["strides"]),
        prediction=_fixed(file["prediction"]),
        raw=maps("raw"),
        activity=maps("activity"),
        gates={name: _fixed(file[f"gate{k}"]) for k, name in enumerate(about["gates"])},
        gate_range=None if limits is None else (limits[0], limits[1]),
        site=about["site"],
        logits=_fixed(file["logits"]),
        align_corners=about["align_corners"],
    )


def _fixed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


def save_inspection(path: Path, shown: Inspection, picture: Picture, sha256: str) -> None:
    """Write what a checkpoint shows for an image; ``shown`` has logits."""
    assert shown.logits is not None
    about = {
        "picture": picture.key,
        "sha256": sha256,
        "name": shown.name,
        "network": shown.network,
        "strides": list(shown.strides),
        "gates": list(shown.gates),
        "gate_range": shown.gate_range,
        "site": shown.site,
        "align_corners": shown.align_corners,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        _ABOUT: np.array(json.dumps(about)),
        "prediction": shown.prediction,
        "logits": shown.logits.astype(LOGITS),
    }
    arrays |= {f"raw{r}": values for r, values in enumerate(shown.raw)}
    arrays |= {f"activity{r}": values for r, values in enumerate(shown.activity)}
    arrays |= {f"gate{k}": values for k, values in enumerate(shown.gates.values())}
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


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
    from gsto_viz.inspection import inspect_image
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
            shown = inspect_image(model, picture.sample.image, logits=True)
            path = folder() / f"{picture.key[:12]}-{sha256[:12]}.npz"
            save_inspection(path, shown, picture, sha256)


if __name__ == "__main__":
    write_gallery()
