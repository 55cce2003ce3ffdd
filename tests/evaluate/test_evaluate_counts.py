"""Counts and scores of a whole data set against loops, in threads and in processes."""

import json
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, label
from torch import Tensor, nn

from gsto_viz.data import shipped_classes
from gsto_viz.errors import GstoVizError, RefusedImageError, UnreadableImageError
from gsto_viz.evaluate import Options, Protocol, evaluate, evaluation_of, tally_images
from gsto_viz.evaluate.counting import map_ahead, thread_pool
from gsto_viz.stats import CITYSCAPES
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD
from gsto_viz.types import ClassInfo, ClassList, Sample

TOY = ClassList("toy", tuple(ClassInfo(k, f"c{k}", (k, k, k), thing=False) for k in range(3)))


class Painted:
    """Images that show in their red channel what the network shall say."""

    name = "painted"

    def __init__(self, count: int = 12, classes: ClassList = TOY, size: Any = (48, 64)) -> None:
        self.classes, self.size = classes, size
        self.ids = tuple(f"p{k:02d}" for k in range(count))
        self.unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def draw(self, index: int) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(index)
        labels = np.zeros(self.size, np.uint8)
        instances = np.zeros(self.size, np.int32)
        for number in range(1, 6):
            y, x = int(rng.integers(0, 40)), int(rng.integers(0, 50))
            box = slice(y, y + int(rng.integers(8, 20))), slice(x, x + int(rng.integers(8, 20)))
            labels[box] = kind = rng.integers(0, len(self.classes))
            instances[box] = number if self.classes.classes[kind].thing else 0
        guess = np.roll(labels, (1, 2), (0, 1))
        labels[:3, :20], instances[:3, :20] = 255, 0
        return labels, instances, guess

    def __getitem__(self, index: int) -> Sample:
        if index in self.unreadable:
            raise UnreadableImageError(f"{self.ids[index]}.png is truncated; copy it again")
        labels, instances, guess = self.draw(index)
        image = np.zeros((*self.size, 3), np.uint8)
        image[..., 0] = guess * 10
        with_instances = instances if self.classes is shipped_classes("cityscapes") else None
        return Sample(self.ids[index], image, labels, with_instances, group=f"g{index // 2}")


class Reader(nn.Module):
    """Says what the red channel shows."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.classes = classes

    def forward(self, image: Tensor) -> Tensor:
        red = (image[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
        guess = (red / 10).round().long()
        return nn.functional.one_hot(guess, self.classes).permute(0, 3, 1, 2) * self.scale


def keep(results: dict[str, Any], sample: Sample, labels: Any) -> None:
    """A sink that remembers."""
    results[sample.id] = labels


def boundary(mask: Any, width: int) -> Any:
    return mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)


def test_scores_by_size_at_boundaries_and_per_image() -> None:
    data = Painted()
    result = evaluate(Reader(), data, Options(outcome=True))
    assert result.outcome is not None
    width = round(0.02 * 80)
    recalls: dict[int, dict[str, list[float]]] = {}
    edges = np.zeros((3, 2))
    mious = []
    for index in range(len(data)):
        labels, _, guess = data.draw(index)
        known = labels != 255
        ious = []
        for k in range(3):
            true, said = labels == k, (guess == k) & known
            if (true | said).any():
                ious.append((true & said).sum() / (true | said).sum())
            a, b = boundary(true, width), boundary(said, width)
            edges[k] += (a & b).sum(), (a | b).sum()
            parts, count = label(true, np.ones((3, 3)))
            for part in range(1, count + 1):
                area = (parts == part).sum()
                if area >= 64:
                    octave = int(np.floor(np.log2(area) / 2))
                    image = recalls.setdefault(octave, {}).setdefault(data.ids[index], [])
                    image.append((guess[parts == part] == k).mean())
        mious.append(np.mean(ious))
    sizes = result.outcome.sizes
    rows = sizes[sizes["measure"] == "recall"].set_index("octave")
    assert sorted(rows.index) == sorted(recalls)
    for octave, images in recalls.items():
        expected = 100 * np.mean([np.mean(values) for values in images.values()])
        assert rows.loc[octave, "mean"] == pytest.approx(expected)
        assert rows.loc[octave, "n_images"] == len(images)
        assert rows.loc[octave, "n_regions"] == sum(map(len, images.values()))
    assert result.outcome.boundary_iou == pytest.approx(tuple(100 * edges[:, 0] / edges[:, 1]))
    image_miou = result.outcome.image_miou
    assert image_miou.value == pytest.approx(100 * np.mean(mious))
    # Six groups of two images: too few for an interval.
    assert image_miou.low is None
    assert "6 independent images" in str(image_miou.reason)
    value = result.to_json()
    assert value["boundary_iou"] == pytest.approx(np.mean(100 * edges[:, 0] / edges[:, 1]))
    assert {row["low"] for row in value["sizes"]} == {None}
    assert value["coco_bins"][0]["coco_bin"] in ("large", "medium", "small")


def test_threads_and_order_of_the_images_change_nothing() -> None:
    data = Painted()
    plain = evaluate(Reader(), data, Options(outcome=True)).to_json()
    seen: list[int] = []
    ahead = evaluate(
        Reader(), data, Options(outcome=True, workers=3), indices=range(11, -1, -1),
        progress=lambda: seen.append(1),
    )  # fmt: skip
    assert ahead.to_json() == plain
    assert len(seen) == len(data)


def test_unreadable_images_are_named_or_stop() -> None:
    data = Painted()
    data.unreadable = {3, 7}
    others = [k for k in range(12) if k not in data.unreadable]
    for workers in (0, 2):
        result = evaluate(Reader(), data, Options(skip_unreadable=True, workers=workers))
        assert result.images == 10
        assert [id_ for id_, _ in result.skipped] == ["p03", "p07"]
        assert result.skipped[0][1] == "p03.png is truncated; copy it again"
        whole = evaluate(Reader(), Painted(), indices=others)
        assert np.array_equal(result.confusion, whole.confusion)
        with pytest.raises(UnreadableImageError, match="p03"):
            evaluate(Reader(), data, Options(workers=workers))
    assert result.to_json()["skipped"][1]["id"] == "p07"
    data.unreadable = set(range(12))
    with pytest.raises(GstoVizError, match=r"none of 12 images can be scored, first: p00\.png"):
        evaluate(Reader(), data, Options(skip_unreadable=True))


def test_cityscapes_gets_categories_and_iiou_and_a_narrow_boundary() -> None:
    data = Painted(4, shipped_classes("cityscapes"))
    result = evaluate(Reader(19), data, Options(outcome=True))
    assert result.outcome is not None
    assert result.outcome.boundary_ratio == 0.005
    assert result.cityscapes is not None
    for k, (name, entry) in enumerate(CITYSCAPES.items()):
        if entry.instance_px is None:
            continue
        hit = missed = wrong = 0.0
        for index in range(4):
            labels, instances, guess = data.draw(index)
            wrong += ((guess == k) & (labels != k) & (labels != 255)).sum()
            for number in set(instances[labels == k].tolist()) - {0}:
                share = (guess[instances == number] == k).mean()
                hit += entry.instance_px * share
                missed += entry.instance_px * (1 - share)
        total = hit + missed + wrong
        expected = 100 * hit / total if total else None
        assert result.cityscapes.class_iiou[name] == pytest.approx(expected)
    assert result.cityscapes.iiou_class is not None
    assert result.cityscapes.iiou_class > 10
    assert result.to_json()["cityscapes"]["iou_category"] == result.cityscapes.iou_category


def test_a_sink_gets_every_prediction_and_labels_are_not_needed() -> None:
    data = Painted(3)
    got: dict[str, Any] = {}

    class Unlabelled(Painted):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            return Sample(sample.id, sample.image)

    tally = tally_images(
        Reader(), Unlabelled(3), Options(outcome=True, workers=2), sink=partial(keep, got)
    )
    assert tally.confusion.sum() == 0
    for index, id_ in enumerate(data.ids):
        assert np.array_equal(got[id_], data.draw(index)[2])
    with pytest.raises(GstoVizError, match="no labelled pixel"):
        evaluation_of(tally, data)
    with pytest.raises(GstoVizError, match="p00 has no labels"):
        evaluate(Reader(), Unlabelled(3))


def test_images_without_any_labelled_pixel_are_no_trouble() -> None:
    class Ignored(Painted):
        def draw(self, index: int) -> tuple[Any, Any, Any]:
            labels, instances, guess = super().draw(index)
            return (np.full_like(labels, 255) if index else labels), instances, guess

    result = evaluate(Reader(), Ignored(3), Options(outcome=True))
    alone = evaluate(Reader(), Painted(1), Options(outcome=True))
    assert result.images == 3
    assert np.array_equal(result.confusion, alone.confusion)
    assert result.outcome is not None
    assert alone.outcome is not None
    assert result.outcome.boundary_iou == alone.outcome.boundary_iou


def test_flip_swaps_the_pairs_of_the_data() -> None:
    """A network that calls the left half 1 and the right half 2: swapped, both looks agree."""

    class Halves(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            logits = torch.zeros(1, 3, *image.shape[-2:])
            middle = image.shape[-1] // 2
            logits[:, 1, :, :middle] = logits[:, 2, :, middle:] = 5.0
            return logits

    for pairs, agree in ((((1, 2),), True), ((), False)):
        data = Painted(1, ClassList("sides", TOY.classes, pairs))
        got: dict[str, Any] = {}
        options = Options(Protocol(flip=True))
        tally_images(Halves(), data, options, sink=partial(keep, got))
        left, right = got["p00"][:, :32], got["p00"][:, 32:]
        assert ((left == 1).all() and (right == 2).all()) == agree


def test_work_ahead_is_ordered_bounded_and_ends_with_an_error() -> None:
    taken: list[int] = []

    def items() -> Any:
        for k in range(10):
            taken.append(k)
            yield k

    with thread_pool(3) as pool:
        results = map_ahead(pool, lambda k: k * k, items(), depth=4)
        assert next(results) == 0
        assert taken == [0, 1, 2, 3, 4]
        assert list(results) == [k * k for k in range(1, 10)]
        with pytest.raises(ZeroDivisionError):
            list(map_ahead(pool, lambda k: 1 // (k - 5), items(), depth=2))
    with thread_pool(0) as pool:
        here = map_ahead(pool, lambda k: threading.get_ident(), items(), depth=9)
        assert set(here) == {threading.get_ident()}


WORLD = """
from gsto_viz.data import load_data
from gsto_viz.distributed import join_world
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import Options, Protocol, evaluate
from gsto_viz.models import load_model

def body(checkpoint, good, bad):
    with join_world("cpu") as (world, device):
        model = load_model(checkpoint)
        options = Options(Protocol(flip=True), outcome=True, skip_unreadable=True)
        result = evaluate(model, load_data(f"folder:{good}"), options, world=world).to_json()
        try:
            evaluate(model, load_data(f"folder:{bad}"), options, world=world)
            error = None
        except GstoVizError as raised:
            error = [type(raised).__name__, str(raised)]
        return {"result": result, "error": error}
"""


def test_processes_get_the_numbers_of_one(
    run_world: Any, make_folder: Any, tmp_path: Any, tiny_checkpoint: Any
) -> None:
    good = make_folder(tmp_path / "good", count=5)
    bad = make_folder(tmp_path / "bad", count=2)
    damaged = good / "images" / "003.png"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    torn = bad / "labels" / "001.png"  # the second process meets it
    torn.write_bytes((good / "images" / "000.png").read_bytes())
    namespace: dict[str, Any] = {}
    exec(WORLD, namespace)
    one = namespace["body"](tiny_checkpoint, good, bad)
    two = run_world(WORLD, 2, tiny_checkpoint, good, bad)
    assert one["result"]["images"] == 4
    assert [s["id"] for s in one["result"]["skipped"]] == ["003"]
    for rank, said in enumerate(two):
        assert said["result"] == json.loads(json.dumps(one["result"]))
        kind = "AgreedError" if rank == 0 else "SaidElsewhereError"
        assert said["error"] == [kind, one["error"][1]]
    assert "001.png is in colour" in one["error"][1]


def test_an_image_too_small_for_the_network_is_named_and_left_out() -> None:
    class OneTiny(Painted):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            if index != 1:
                return sample
            return Sample(sample.id, sample.image[:1, :1], np.zeros((1, 1), np.uint8))

    class Refuses(Reader):
        def forward(self, image: Tensor) -> Tensor:
            if image.shape[-1] < 32:
                raise RuntimeError("kernel larger than input")
            return super().forward(image)

    data = OneTiny(3)
    result = evaluate(Refuses(), data, Options(skip_unreadable=True))
    assert [id_ for id_, _ in result.skipped] == [data.ids[1]]
    assert result.images == 2
    with pytest.raises(RefusedImageError, match="kernel larger than input"):
        evaluate(Refuses(), data)
