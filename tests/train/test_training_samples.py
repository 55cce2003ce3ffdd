"""Batches: an order that nothing but seed and epoch decides, loading in threads, the cache."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsto_viz.data import Augmentation, load_data
from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError
from gsto_viz.train.folder import RunLog
from gsto_viz.train.reading import Readers, SampleReader
from gsto_viz.train.step import AHEAD, TrainingSamples
from gsto_viz.types import ClassInfo, ClassList, Sample

SIDE = 40


class Noise:
    """Random images that count how often and by whom they are read."""

    name = "noise"
    classes = ClassList("two", tuple(ClassInfo(k, f"c{k}", (k, k, k), thing=True) for k in (0, 1)))

    def __init__(self, count: int = 11, bad: int | None = None) -> None:
        self.ids = tuple(f"n{k}" for k in range(count))
        self.bad = bad
        self.reads: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        self.reads.append(index)
        self.threads.add(threading.current_thread().name)
        if index == self.bad:
            raise GstoVizError(f"{self.ids[index]} is unreadable; take another copy")
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        labels = rng.integers(0, 2, (SIDE, SIDE)).astype(np.uint8)
        labels[0] = 255
        # Of a time that differs, so that threads finish in another order than they started.
        time.sleep(0.001 * (index % 3))
        return Sample(self.ids[index], image, labels)


def samples(
    data: Any,
    *,
    threads: int = 1,
    processes: int = 0,
    cache_bytes: int = 2**30,
    seed: int = 4,
    paste: float = 0.0,
    **options: Any,
) -> TrainingSamples:
    augmentation = Augmentation((32, 32), (0.8, 1.2), brightness=0.2)
    reader = SampleReader(data, augmentation, seed, paste, cache_bytes)
    readers = Readers(reader, threads=threads, processes=processes)
    return TrainingSamples(readers, seed=seed, **{"batch_size": 3, **options})


def test_an_epoch_is_a_permutation_cut_into_whole_batches() -> None:
    made = samples(Noise(11))
    assert made.batches_per_epoch == 3
    for epoch in range(4):
        order = made.order(epoch)
        assert [len(batch) for batch in order] == [3, 3, 3]
        flat = [index for batch in order for index in batch]
        assert len(set(flat)) == 9
        assert set(flat) <= set(range(11))
    assert made.order(0) == samples(Noise(11), threads=4).order(0)
    assert made.order(0) != made.order(1)
    assert made.order(0) != samples(Noise(11), seed=5).order(0)


@pytest.mark.parametrize("paste", [0.0, 0.5])
@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_threads_cache_and_start_change_nothing(
    threads: int, cache_bytes: int, paste: float
) -> None:
    reference = list(samples(Noise(), paste=paste).batches(2))
    made = samples(Noise(), threads=threads, cache_bytes=cache_bytes, paste=paste)
    for start in range(4):
        got = list(made.batches(2, start))
        assert [b.ids for b in got] == [b.ids for b in reference[start:]]
        for ours, theirs in zip(got, reference[start:], strict=True):
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.targets, theirs.targets)


def test_a_share_of_the_crops_is_pasted_into_and_the_others_stay() -> None:
    plain = SampleReader(Noise(200), Augmentation((32, 32), (0.8, 1.2)), 4)
    mixed = SampleReader(Noise(200), plain.augmentation, 4, paste=0.3)
    changed = 0
    for index in range(200):
        before, after = plain.crop(1, index), mixed.crop(1, index)
        labels_are_new = not np.array_equal(before.target, after.target)
        assert labels_are_new == (not np.array_equal(before.image, after.image))
        changed += labels_are_new
        # Two random classes: one of them goes over, which is the rarer one of the other crop.
        assert set(np.unique(after.target[before.target != after.target])) <= {0, 1}
    assert 0.2 < changed / 200 < 0.4  # three standard errors


def test_processes_read_what_threads_read_and_say_what_threads_say(
    make_folder: Any, tmp_path: Path
) -> None:
    root = make_folder(tmp_path / "data")
    data = load_data(f"folder:{root}")
    reference = samples(data, paste=0.5)
    made = samples(data, processes=2, paste=0.5)

    def read_on_and_on() -> None:
        for epoch in range(100):
            list(made.batches(epoch))

    with closing(made.readers):
        for start in (0, 1):
            expected = list(reference.batches(2, start))
            for ours, theirs in zip(made.batches(2, start), expected, strict=True):
                assert ours.ids == theirs.ids
                assert torch.equal(ours.images, theirs.images)
                assert torch.equal(ours.targets, theirs.targets)
        assert made.count_pixels().tolist() == reference.count_pixels().tolist()
        workers = [p.pid for p in multiprocessing.active_children() if p.pid is not None]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGTERM)  # they end when this process does, and no sooner
        assert len(list(made.batches(3))) == 2
        image = root / "images" / f"{data.ids[0]}.png"
        whole = image.read_bytes()
        image.write_bytes(b"torn")
        fresh = samples(data, processes=1)
        with closing(fresh.readers), pytest.raises(GstoVizError, match=data.ids[0]):
            list(fresh.batches(0)) + list(fresh.batches(1))
        image.write_bytes(whole)  # the worker that is left may come to it before the loss is seen
        os.kill(workers[0], signal.SIGKILL)
        with pytest.raises(GstoVizError, match="a loading process has ended"):
            read_on_and_on()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("killed", [0, 1])
def test_a_pool_that_lost_any_of_its_processes_ends(killed: int) -> None:
    """An idle process holds the lock of the queue; killed, it leaves the other waiting for it."""
    made = samples(Noise(), processes=2)
    with closing(made.readers):
        list(made.batches(0))
        workers = [p.pid for p in multiprocessing.active_children() if p.pid is not None]
        os.kill(workers[killed], signal.SIGKILL)
        with pytest.raises(GstoVizError, match="a loading process has ended"):
            for _ in chain.from_iterable(made.batches(epoch) for epoch in range(100)):
                pass
    assert not multiprocessing.active_children()


def test_a_loading_process_starts_without_torch() -> None:
    code = "import sys, gsto_viz.train.reading; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_shares_of_parts_make_up_the_batch_in_order() -> None:
    """A batch of 12 in 2 parts for 3 processes: part by part, process by process."""
    worlds = [World(rank, 3, 3) for rank in range(3)]
    made = [samples(Noise(12), batch_size=12, world=w, parts=2) for w in worlds]
    batch = made[0].order(0)[0]
    shares = [one.share(batch) for one in made]
    assert [s[:2] for s in shares] + [s[2:] for s in shares] == [
        batch[start : start + 2] for start in range(0, 12, 2)
    ]
    with pytest.raises(GstoVizError, match="cannot be shared by 3 processes in 2 parts each"):
        samples(Noise(12), batch_size=9, world=worlds[0], parts=2)


def test_a_batch_is_made_of_the_samples_that_it_names() -> None:
    made = samples(Noise())
    for indices, batch in zip(made.order(1), made.batches(1), strict=True):
        assert batch.ids == tuple(f"n{i}" for i in indices)
        assert batch.images.shape == (3, 32, 32, 3)
        assert batch.images.dtype == batch.targets.dtype == torch.uint8
        for place, index in enumerate(indices):
            sample = Noise()[index]
            assert sample.labels is not None
            image, labels = made.readers.reader.augmentation(
                sample.image, sample.labels, np.random.default_rng((4, 1, index))
            )
            assert np.array_equal(batch.targets[place].numpy(), labels)
            assert np.array_equal(batch.images[place].numpy(), image)


def test_the_cache_reads_once_and_stays_within_its_bytes() -> None:
    data = Noise(9)
    made = samples(data, threads=4)
    for epoch in range(3):
        list(made.batches(epoch))
    assert sorted(data.reads) == list(range(9))
    one = SIDE * SIDE * 4
    data = Noise(9)
    made = samples(data, threads=4, cache_bytes=2 * one + 5)
    for epoch in range(3):
        list(made.batches(epoch))
    assert len(made.readers.reader._cache) == 2
    assert made.readers.reader._free_bytes == 5
    assert len(data.reads) == 9 + 7 + 7


def test_decoded_copies_on_disk_are_not_kept_in_memory_too(
    tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    """Each would keep a file open, and a process may open about a thousand."""
    folder = make_folder(tmp_path / "data", count=6)
    plain = samples(load_data(f"folder:{folder}"))
    cached = samples(load_data(f"folder:{folder}", cache=tmp_path / "cache"))
    for ours, theirs in zip(cached.batches(0), plain.batches(0), strict=True):
        assert torch.equal(ours.images, theirs.images)
    assert cached.readers.reader._cache == {}
    assert len(plain.readers.reader._cache) == 6


def test_samples_are_read_in_threads_of_the_loader() -> None:
    data = Noise()
    list(samples(data, threads=3).batches(0))
    assert all(name.startswith("samples") for name in data.threads)


def test_a_bad_sample_is_raised_when_its_batch_is_due_and_no_thread_is_left() -> None:
    before = threading.active_count()
    order = samples(Noise()).order(0)
    for place, indices in enumerate(order):
        made = samples(Noise(bad=indices[1]), threads=2)
        seen = []
        with pytest.raises(GstoVizError, match=f"n{indices[1]} is unreadable"):
            seen.extend(batch.ids for batch in made.batches(0))
        assert len(seen) <= place
        assert threading.active_count() == before


def test_a_reader_who_stops_leaves_no_thread_and_no_work() -> None:
    before = threading.active_count()
    data = Noise(60)
    with closing(samples(data, threads=2).batches(0)) as batches:
        next(batches)
    assert threading.active_count() == before
    assert len(data.reads) <= 3 * (AHEAD + 1)


def test_pixels_are_counted_and_kept() -> None:
    data = Noise(5)
    made = samples(data)
    counts = made.count_pixels()
    expected = [0, 0]
    for index in range(5):
        labels = Noise()[index].labels
        assert labels is not None
        for value in labels.ravel().tolist():
            if value != 255:
                expected[value] += 1
    assert counts.tolist() == expected
    list(made.batches(0))
    assert len(data.reads) == 5


def test_too_few_images() -> None:
    with pytest.raises(GstoVizError, match="2 images, fewer than one batch of 3"):
        samples(Noise(2))


def test_a_log_keeps_what_its_state_knows(tmp_path) -> None:
    with RunLog(tmp_path) as log:
        log.write("train", 1, loss=0.5)
        kept = log.bytes_written
        log.write("train", 2, loss=0.25)
    with RunLog(tmp_path, start=kept, step=1) as log:
        assert log.bytes_written == kept
        log.write("val", 2, iou=[1.0, None])
    assert (tmp_path / "log.jsonl").read_text() == (
        '{"kind": "train", "step": 1, "loss": 0.5}\n'
        '{"kind": "val", "step": 2, "iou": [1.0, null]}\n'
    )
    # A log that lost its end with the power does not grow zeros.
    with RunLog(tmp_path, start=10_000) as log:
        assert log.bytes_written == (tmp_path / "log.jsonl").stat().st_size < 200


def test_a_log_on_a_full_disk_gives_one_sentence(tmp_path) -> None:
    with RunLog(tmp_path) as log:
        log._file.close()
        log._file = open("/dev/full", "ab", buffering=0)  # noqa: PTH123, SIM115
        with pytest.raises(GstoVizError, match=r"log\.jsonl: No space left on device"):
            log.write("train", 1, loss=0.5)
