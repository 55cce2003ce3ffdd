"""Scenes: same image whatever the circumstances, exact annotation, all sizes of objects."""

import hashlib
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from scipy import ndimage

from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import SceneDataset, render_scene, scene_seed
from gsto_viz.data.scenes.camera import THINGS
from gsto_viz.errors import GstoVizError

SMALL = (96, 160)


def digest(sample):
    parts = (sample.image, sample.labels, sample.instances)
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


@pytest.fixture(scope="module")
def scenes():
    """Sixty-four scenes of the usual size."""
    data = SceneDataset(64, seed=3)
    return [data[k] for k in range(len(data))]


def test_order_does_not_matter():
    forward = [digest(render_scene(5, k, *SMALL)) for k in range(5)]
    backward = [digest(render_scene(5, k, *SMALL)) for k in reversed(range(5))]
    assert forward == backward[::-1]
    assert len(set(forward)) == 5


def test_other_seeds_and_indices_give_other_images():
    assert digest(render_scene(5, 1, *SMALL)) != digest(render_scene(1, 5, *SMALL))


def test_global_generators_are_neither_read_nor_moved():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = digest(render_scene(5, 2, *SMALL))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert digest(render_scene(5, 2, *SMALL)) == first


@pytest.mark.parametrize("threads", ["1", "3"])
def test_another_process_with_other_threads_renders_the_same(threads):
    code = (
        "import hashlib, cv2, numpy as np\n"
        "from gsto_viz.data.scenes import render_scene\n"
        f"cv2.setNumThreads({threads})\n"
        "for k in (2, 0):\n"
        "    s = render_scene(9, k, 256, 512)\n"
        "    b = b''.join(p.tobytes() for p in (s.image, s.labels, s.instances))\n"
        "    print(hashlib.sha256(b).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PATH": ""},
    )
    assert done.stdout.split() == [digest(render_scene(9, k)) for k in (2, 0)]


def test_threads_of_one_process_do_not_disturb_each_other():
    before = cv2.getNumThreads()
    expected = [digest(render_scene(7, k, *SMALL)) for k in range(6)]
    found: dict[int, str] = {}

    def work(index):
        found[index] = digest(render_scene(7, index, *SMALL))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[k] for k in range(6)] == expected
    assert cv2.getNumThreads() == before


def test_types_and_ranges(scenes):
    for scene in scenes[:8]:
        assert scene.image.shape == (256, 512, 3)
        assert scene.image.dtype == np.uint8
        assert scene.labels.dtype == np.uint8
        assert scene.instances.dtype == np.int32
        assert scene.labels.max() < len(CAMVID_CLASSES)


def test_things_are_those_of_the_class_list():
    assert tuple(c.id for c in CAMVID_CLASSES if c.thing) == THINGS


def test_every_instance_is_one_thing_and_every_thing_pixel_has_an_instance(scenes):
    for scene in scenes:
        for number in range(1, int(scene.instances.max()) + 1):
            classes = set(scene.labels[scene.instances == number].tolist())
            assert len(classes) == 1, f"{scene.id}: instance {number} has classes {classes}"
            assert classes <= set(THINGS)
        is_thing = np.isin(scene.labels, THINGS)
        assert (is_thing == (scene.instances > 0)).all(), scene.id


def test_every_class_appears_and_most_scenes_show_a_street(scenes):
    present = np.array([np.bincount(s.labels.ravel(), minlength=11) > 0 for s in scenes])
    assert (present.sum(axis=0) >= 16).all(), present.sum(axis=0)
    assert present[:, 3].mean() > 0.95


def test_sizes_of_things_span_six_octaves(scenes):
    areas = [np.bincount(s.instances.ravel())[1:] for s in scenes]
    octave = np.log2(np.sqrt(np.concatenate(areas)))
    counts = np.histogram(octave, bins=np.arange(2, 9))[0]
    assert (counts[:-1] >= 20).all(), counts
    assert counts[-1] >= 1, counts
    assert octave.max() - octave.min() >= 6


def test_one_class_alone_spans_octaves(scenes):
    """Size must not give the class away: cars and people are seen from near and far."""
    for label, span in ((8, 5.0), (9, 3.5)):
        sizes = []
        for scene in scenes:
            numbers = np.unique(scene.instances[scene.labels == label])
            sizes += [float((scene.instances == k).sum()) for k in numbers]
        octaves = np.log2(np.sqrt(np.array(sizes)))
        assert np.quantile(octaves, 0.98) - np.quantile(octaves, 0.02) > span


def test_colour_alone_does_not_give_the_class_away(scenes):
    """A nearest-mean-colour classifier must be far from solving the task."""
    pixels = np.concatenate([s.image.reshape(-1, 3)[::37] for s in scenes[:24]]).astype(float)
    labels = np.concatenate([s.labels.ravel()[::37] for s in scenes[:24]])
    means = np.array([pixels[labels == c].mean(axis=0) for c in range(11)])
    guess = ((pixels[:, None] - means) ** 2).sum(-1).argmin(1)
    recall = [(guess[labels == c] == c).mean() for c in range(11)]
    assert np.mean(recall) < 0.4, recall


def test_edges_of_the_image_follow_the_labels(scenes):
    """Planted truth: the image changes more across label borders than elsewhere."""
    for scene in scenes[:6]:
        grey = ndimage.gaussian_filter(scene.image.astype(float).mean(axis=2), 1.0)
        step = np.abs(np.diff(grey, axis=1))
        border = np.diff(scene.labels.astype(int), axis=1) != 0
        assert step[border].mean() > 2 * step[~border].mean()


@pytest.mark.parametrize("size", [(64, 64), (67, 101), (129, 65), (512, 1024)])
def test_any_size_shows_the_same_scene(size):
    scene = render_scene(4, 1, *size)
    assert scene.image.shape == (*size, 3)
    assert scene.labels.shape == scene.instances.shape == size


def test_twice_the_size_is_the_same_scene():
    small, large = render_scene(4, 1, 128, 256), render_scene(4, 1, 256, 512)
    same = small.labels == large.labels[::2, ::2]
    assert same.mean() > 0.93
    difference = np.abs(
        small.image.astype(float)
        - cv2.resize(large.image, (256, 128), interpolation=cv2.INTER_AREA).astype(float)
    )
    assert difference.mean() < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 63, 512), "63x512"),
        ((0, 0, 256, 5000), "256x5000"),
        ((-1, 0), "0 or more"),
        ((0, -1), "0 or more"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(GstoVizError, match=message):
        render_scene(*arguments)


def test_training_and_evaluation_seeds_never_meet():
    train = {scene_seed(k, "train") for k in range(200)}
    evaluation = {scene_seed(k, "eval") for k in range(200)}
    assert max(train) < 1_000_000 <= min(evaluation)
    assert scene_seed(999_999, "train") == 999_999
    assert scene_seed(1_000_007, "eval") == 1_000_007 == scene_seed(7, "eval")


@pytest.mark.parametrize(
    ("seed", "split", "message"),
    [
        (1_000_000, "train", "evaluation seed"),
        (-1, "eval", "negative"),
        (0, "val", "unknown split 'val'"),
    ],
)
def test_wrong_seeds_are_refused(seed, split, message):
    with pytest.raises(GstoVizError, match=message):
        SceneDataset(4, seed, split=split)


def test_dataset_protocol():
    data = SceneDataset(3, seed=2, size=SMALL)
    assert data.name == "scenes:count=3,seed=2,size=96x160"
    assert data.classes is CAMVID_CLASSES
    assert len(data) == 3
    assert data.ids == tuple(f"scene-1000002-{k:05d}" for k in range(3))
    assert [data[k].id for k in range(3)] == list(data.ids)
    assert digest(data[1]) == digest(render_scene(1_000_002, 1, *SMALL))
    with pytest.raises(IndexError):
        data[3]
    with pytest.raises(IndexError):
        data[-1]
    with pytest.raises(GstoVizError, match="count 0"):
        SceneDataset(0)
