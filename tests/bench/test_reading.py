"""The measurement of reading speed: what it reads, and that it counts what was read."""

import numpy as np
import pytest

from gsto_viz.bench import reading as module
from gsto_viz.bench.reading import measure_throughput, read_batch
from gsto_viz.data import DATA_SETS, Augmentation

open_split = DATA_SETS["cityscapes"].open


@pytest.fixture
def _small(monkeypatch):
    monkeypatch.setattr(module, "IMAGE_SIZE", (64, 128))
    monkeypatch.setattr(module, "CROP", (32, 64))


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_all_combinations_are_measured_and_leave_nothing(monkeypatch, tmp_path):
    written = []

    def write(root, count):
        module_write(root, count)
        written.append(open_split(root, "train")[0])

    module_write = module.write_street_images
    monkeypatch.setattr(module, "write_street_images", write)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    found = measure_throughput(0.05, 2, repeats=1)
    assert list(found) == [("png", 1), ("png", 2), ("cache", 1), ("cache", 2)]
    for times in found.values():
        assert len(times.wall) == len(times.cpu) == 1
        assert times.wall[0] > 0
        assert times.cpu[0] > 0
    assert written[0].image.shape == (64, 128, 3)
    assert len(set(np.unique(written[0].labels)) - {255}) > 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_small")
def test_times_are_per_image_and_worker(monkeypatch, tmp_path):
    """Two workers read 60 and 20 images in 8 s by the clock, with 4 s and 2 s of their own."""

    class Pool:
        def __init__(self, workers, context, *args):
            assert workers == 2

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def map(self, work, orders):
            return [(60, 4.0), (20, 2.0)][: len(orders)]

    clock = iter([100.0, 108.0])
    monkeypatch.setattr(module, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    assert module._measure([None] * 8, 2, 1.0) == (8.0 / 80, 6.0 / 80 / 2)


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
