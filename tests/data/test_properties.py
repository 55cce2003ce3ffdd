"""Any class list, numbers, palette, form and suffix give the right scores, or are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import Options, evaluate
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD

SIZE = (6, 8)
COLORS = [(0, 0, 0), (10, 20, 30), (200, 0, 0), (0, 0, 99), (9, 9, 9), (1, 250, 3)]
STRANGE = (77, 66, 55)
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 40, 128, 254, 255, 256, 1000, 65535])


class Says(nn.Module):
    """Says the class that the red channel names."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        self.classes = classes

    def forward(self, image: Tensor) -> Tensor:
        red = (image[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
        guess = (red / 40).round().long()
        return nn.functional.one_hot(guess, self.classes).permute(0, 3, 1, 2) * self.one


def write(
    root: Path, maps: list[Image.Image], guesses: list[np.ndarray], count: int, **keys: Any
) -> str:
    """Write a folder; ``form`` is the suffix of its label maps."""
    form, suffix = keys.pop("form", "png"), keys.get("label_suffix", "")
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for k, (labels, guess) in enumerate(zip(maps, guesses, strict=True)):
        picture = np.repeat((guess * 40).astype(np.uint8)[..., None], 3, 2)
        Image.fromarray(picture).save(root / "images" / f"{k}.png")
        labels.save(root / "labels" / f"{k}{suffix}.{form}")
    classes = [
        {"id": k, "name": f"c{k}", "color": list(COLORS[k]), "kind": "stuff"} for k in range(count)
    ]
    value = {"name": "toy", "ignore": 255, "classes": classes, **keys}
    (root / "classes.json").write_text(json.dumps(value))
    return f"folder:{root}"


def scores(spec: str, count: int) -> np.ndarray | None:
    """Return the confusion matrix; None where the folder is refused."""
    try:
        result = evaluate(Says(count), load_data(spec), Options(skip_unreadable=True))
    except GstoVizError:
        return None
    assert not result.skipped
    return result.confusion


def counted(truths: list[np.ndarray], guesses: list[np.ndarray], count: int) -> np.ndarray:
    """Count pixel by pixel; 255 is no class."""
    matrix = np.zeros((count, count), np.int64)
    for truth, guess in zip(truths, guesses, strict=True):
        for a, b in zip(truth.ravel().tolist(), guess.ravel().tolist(), strict=True):
            if a != 255:
                matrix[a, b] += 1
    return matrix


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("folder")


def meanings(count: int, keys: dict[str, Any]) -> dict[int, int] | None:
    """Return class (or 255) by stored number as docs/labels.md says; None for what contradicts."""
    ignore = keys["ignore"]
    if "ids" in keys:
        if len(set(keys["ids"])) != count:
            return None
        said = {number: k for k, number in enumerate(keys["ids"])}
    else:
        said = {int(n): 255 if k == "ignore" else k for n, k in keys.get("map", {}).items()}
        if any(k != 255 and k >= count for k in said.values()):
            return None
    found = dict(said)
    for k in range(count):
        if k not in said.values():
            if k in said:
                return None
            found[k] = k
    if (
        ignore in found
        and found[ignore] != 255
        and not (ignore == 255 and ("ids" in keys or "map" in keys))
    ):
        return None
    return {255: 255, ignore: 255} | found


@st.composite
def lists(draw: Any) -> tuple[int, dict[str, Any]]:
    count = draw(st.integers(1, 5))
    keys: dict[str, Any] = {"ignore": draw(st.one_of(st.just(255), NUMBERS))}
    kind = draw(st.sampled_from(["plain", "ids", "map", "map"]))
    if kind == "ids":
        keys["ids"] = draw(st.lists(NUMBERS, min_size=count, max_size=count))
    if kind == "map":
        meaning = st.one_of(st.integers(0, count), st.just("ignore"))
        entries = draw(st.dictionaries(NUMBERS, meaning, max_size=6))
        keys["map"] = {str(n): k for n, k in entries.items()}
    return count, keys


@settings(max_examples=150, deadline=None)
@given(
    made=lists(),
    seed=st.integers(0, 999),
    form=st.sampled_from(["png", "tif"]),
    stray=st.integers(0, 9),
)
def test_numbers(place: Any, made: tuple, seed: int, form: str, stray: int) -> None:
    count, keys = made
    known = meanings(count, keys)
    rng = np.random.default_rng(seed)
    allowed = sorted(known) if known else [0, 1]
    values = [rng.choice(allowed, SIZE) for _ in range(2)]
    if stray == 0:
        values[1][2, 3] = 6
    wide = max(one.max() for one in values) > 255 or seed % 2
    kind = np.uint16 if wide else np.uint8
    guesses = [rng.integers(0, count, SIZE) for _ in range(2)]
    maps = [Image.fromarray(one.astype(kind)) for one in values]
    got = scores(write(place(), maps, guesses, count, form=form, **keys), count)
    if known is None or any(int(n) not in known for one in values for n in one.ravel()):
        assert got is None
        return
    truths = [np.vectorize(known.get)(one) for one in values]
    if all((one == 255).all() for one in truths):
        assert got is None or not got.any()
        return
    assert got is not None
    assert (got == counted(truths, guesses, count)).all()


@settings(max_examples=120, deadline=None)
@given(
    count=st.integers(2, 5),
    order=st.permutations(range(6)),
    changes=st.dictionaries(st.integers(0, 5), st.sampled_from([*COLORS, STRANGE]), max_size=2),
    ignored=st.booleans(),
    seed=st.integers(0, 99),
)
def test_palettes(
    place: Any, count: int, order: list[int], changes: dict, ignored: bool, seed: int
) -> None:
    # Number n has the colour of class order[n]; some colours are changed, missing or strange.
    palette = [COLORS[k] if k < count else STRANGE for k in order] + [STRANGE] * 250
    for number, color in changes.items():
        palette[number] = color
    rng = np.random.default_rng(seed)
    values = rng.integers(0, count, SIZE).astype(np.uint8)
    if ignored:
        values[0, :3] = 255
    image = Image.fromarray(values)
    image.putpalette([one for color in palette for one in color])
    guess = rng.integers(0, count, SIZE)
    got = scores(write(place(), [image], [guess], count), count)

    class_of = {COLORS[k]: k for k in range(count)}
    used = sorted(set(values.ravel().tolist()) - {255})
    shown = [class_of.get(palette[number]) for number in used]
    if all(k is None or k == number for number, k in zip(used, shown, strict=True)):
        truth = values
    elif None not in shown and (not ignored or palette[255] not in class_of):
        truth = values.copy()
        for number, k in zip(used, shown, strict=True):
            truth[values == number] = k
    else:
        assert got is None
        return
    assert got is not None
    assert (got == counted([truth], [guess], count)).all()


@settings(max_examples=60, deadline=None)
@given(
    suffix=st.text("_-.Lx\u00e9 2", max_size=4),
    decoy=st.text("_-.Lx\u00e9 2", max_size=4),
    seed=st.integers(0, 99),
)
def test_suffixes(place: Any, suffix: str, decoy: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, wrong = (rng.integers(0, 3, SIZE).astype(np.uint8) for _ in range(2))
    guess = rng.integers(0, 3, SIZE)
    root = place()
    spec = write(root, [Image.fromarray(values)], [guess], 3, label_suffix=suffix)
    path = root / "labels" / f"0{decoy}.png"
    if not path.exists():
        Image.fromarray(wrong).save(path)
    got = scores(spec, 3)
    assert got is not None
    assert (got == counted([values], [guess], 3)).all()


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["L", "1", "P", "I;16", "LA", "RGB", "RGBA", "F", "I"]),
    form=st.sampled_from(["png", "tif", "bmp", "gif"]),
    bits=st.sampled_from([1, 2, 4, 8]),
    seed=st.integers(0, 99),
)
def test_forms(place: Any, mode: str, form: str, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 2 if mode == "1" else min(4, 2**bits)
    values, guess = (rng.integers(0, count, SIZE).astype(np.uint8) for _ in range(2))
    image = {
        "1": lambda: Image.fromarray(values > 0),
        "I;16": lambda: Image.fromarray(values.astype(np.uint16)),
        "I": lambda: Image.fromarray(values.astype(np.int32)),
        "F": lambda: Image.fromarray(values.astype(np.float32)),
        "P": lambda: Image.fromarray(values),
    }.get(mode, lambda: Image.fromarray(values).convert(mode))()
    if mode == "P":
        image.putpalette([part for k in range(256) for part in (k, 3, 255 - k)])
    root = place()
    spec = write(root, [Image.fromarray(values)], [guess], count)
    path = root / "labels" / "0.png"
    path.unlink()
    try:
        image.save(path.with_suffix(f".{form}"), **({"bits": bits} if mode == "P" else {}))
    except (OSError, ValueError, SystemError, KeyError):
        return
    got = scores(spec, count)
    if got is None:
        assert mode in ("LA", "RGB", "RGBA", "F", "I") or form == "gif"
    else:
        # A GIF of two levels says 0 and 255, and 255 is no class.
        truth = values * 255 if (mode, form) == ("1", "gif") else values
        assert (got == counted([truth], [guess], count)).all()
