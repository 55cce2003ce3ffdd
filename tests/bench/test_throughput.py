"""The measurement of reading speed: what it reads, and that it counts what was read."""

import numpy as np
import pytest

from gsto_viz.bench import throughput as module
from gsto_viz.bench.throughput import Throughput, measure_throughput, read_batch
from gsto_viz.data import DATA_SETS, Augmentation

open_split = DATA_SETS["cityscapes"].open


@pytest.fixture
def _small(monkeypatch):
    monkeypatch.setattr(module, "IMAGE_SIZE", (64, 128))
    monkeypatch.setattr(module, "CROP", (32, 64))


@pytest.mark.usefixtures("_small")
def test_all_combinations_in_order(tmp_path):
    found = measure_throughput(
        workers=(1, 2), kinds=("threads",), seconds=0.05, count=2, folder=tmp_path
    )
    assert [(t.source, t.workers) for t in found] == [
        ("png", 1), ("png", 2), ("cache", 1), ("cache", 2),
    ]  # fmt: skip
    for one in found:
        assert one.images % module.BATCH == 0
        assert one.images >= one.workers * module.BATCH
        assert one.seconds >= 0.05
        assert one.cpu_seconds > 0
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 4
    data = open_split(tmp_path / "data", "train")
    assert data[0].image.shape == (64, 128, 3)
    assert len(set(np.unique(data[0].labels)) - {255}) > 2


def test_rates():
    one = Throughput("png", "processes", 2, images=60, seconds=2.0, cpu_seconds=4.0)
    assert (one.images_per_s, one.images_per_cpu_s) == (30.0, 15.0)


@pytest.mark.usefixtures("_small")
def test_processes_read_too_and_leave_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (one,) = measure_throughput(
        workers=(1,), kinds=("processes",), sources=("cache",), seconds=0.05, count=1
    )
    assert one.images > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_small")
def test_a_batch_is_the_augmented_samples(tmp_path):
    module.write_street_images(tmp_path, 2)
    data = open_split(tmp_path, "train")
    augment = Augmentation((32, 48), (0.5, 2.0), window_first=True)
    images, labels = read_batch(data, augment, [0, 1, 5])
    assert (images.shape, labels.shape) == ((3, 32, 48, 3), (3, 32, 48))
    sample = data[1]
    image, mask = augment(sample.image, sample.labels, np.random.default_rng((0, 5)))
    assert np.array_equal(images[2], image)
    assert np.array_equal(labels[2], mask)
