"""What tests of several rooms share: one thread, a small annotated folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

FolderMaker = Callable[..., Path]


def draw_sample(rng: np.random.Generator, size: tuple[int, int], classes: int) -> tuple:
    """A label map of rectangles, and an image that shows the labels under noise."""
    height, width = size
    labels = np.zeros(size, dtype=np.uint8)
    for label in range(1, classes):
        top, left = int(rng.integers(0, height - 8)), int(rng.integers(0, width - 8))
        labels[top : top + int(rng.integers(8, 24)), left : left + int(rng.integers(8, 24))] = label
    labels[:2, :2] = 255
    noise = rng.integers(0, 60, (*size, 3))
    image = (noise + (labels[..., None] % 7) * np.array([30, 20, 25])).astype(np.uint8)
    return image, labels


@pytest.fixture(scope="session")
def make_folder() -> FolderMaker:
    """Write ``images/ labels/ classes.json`` for a small data set and return the folder."""

    def make(
        root: Path,
        count: int = 8,
        size: tuple[int, int] = (40, 56),
        classes: int = 3,
        seed: int = 0,
    ) -> Path:
        rng = np.random.default_rng(seed)
        (root / "images").mkdir(parents=True)
        (root / "labels").mkdir()
        for k in range(count):
            image, labels = draw_sample(rng, size, classes)
            Image.fromarray(image).save(root / "images" / f"{k:03d}.png")
            Image.fromarray(labels).save(root / "labels" / f"{k:03d}.png")
        entries = [
            {"id": k, "name": f"c{k}", "color": [k, 2 * k, 3 * k], "kind": "thing"}
            for k in range(classes)
        ]
        content = {"name": "toy", "ignore": 255, "classes": entries}
        (root / "classes.json").write_text(json.dumps(content))
        return root

    return make


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute in one thread: sums do not depend on the machine, and tiny tensors do not wait."""
    torch.set_num_threads(1)
