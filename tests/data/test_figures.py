"""Procedural people: exact against loops over pixels, of all sizes, the same from any thread."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gsto_viz.data import (
    PersonDataset,
    ResizedDataset,
    check_dataset,
    joints_of,
    load_data,
    people_counts,
    with_objects,
)
from gsto_viz.data.scenes import render_figures, write_scenes
from gsto_viz.data.scenes.body import FOREARM, SHIN, THIGH, UPPER_ARM, sample_body
from gsto_viz.data.scenes.figures import sample_figures, size_octaves
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.types import Dataset, Sample

NUMBER = {name: k for k, name in enumerate(COCO_JOINTS.classes.names)}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [render_figures(11, index) for index in range(40)]


def test_masks_boxes_and_areas_are_exact(samples: list[Sample]) -> None:
    for sample in samples[:6]:
        assert sample.labels is not None
        assert sample.instances is not None
        assert np.array_equal(sample.labels == 1, sample.instances > 0)
        assert set(np.unique(sample.labels)) <= {0, 1}
        for place, person in enumerate(sample.people or (), 1):
            assert person.instance == place
            pixels = [
                (x, y)
                for y in range(256)
                for x in np.flatnonzero(sample.instances[y] == place).tolist()
            ]
            assert person.area == len(pixels)
            left, top = (min(one[k] for one in pixels) for k in (0, 1))
            right, bottom = (max(one[k] for one in pixels) for k in (0, 1))
            expected = (left - 0.5, top - 0.5, right - left + 1, bottom - top + 1)
            assert person.box == expected


def test_visible_joints_lie_in_the_mask_and_the_others_are_hidden(samples: list[Sample]) -> None:
    seen, astray = Counter[int](), 0
    for sample in samples:
        assert sample.instances is not None
        for person in sample.people or ():
            assert person.joints.shape == (17, 3)
            assert person.joints.dtype == np.float32
            for x, y, visibility in person.joints.tolist():
                seen[int(visibility)] += 1
                if visibility == 0:
                    assert (x, y) == (0, 0)
                    continue
                there = sample.instances[round(y), round(x)]
                if visibility == 2:
                    assert there == person.instance
                # Numbers rise from the back to the front. A limb may be too slim for a pixel.
                astray += int(there < person.instance)
    assert min(seen.values()) > 50
    assert seen[2] > 2 * seen[1] > 2 * seen[0]
    assert astray < 0.005 * seen.total()


def test_sizes_fill_five_octaves_evenly(samples: list[Sample]) -> None:
    people = [person for sample in samples for person in sample.people or ()]
    octaves = Counter(int(np.floor(0.5 * np.log2(person.area))) for person in people)
    inside = [octaves[k] for k in range(3, 8)]
    assert sum(inside) >= 0.98 * len(people)
    assert min(inside) > 0.13 * len(people)
    assert max(inside) < 0.3 * len(people)
    ends = [low for low, _ in size_octaves(256)]
    assert ends == [8, 16, 32, 64, pytest.approx(140.8)]
    assert size_octaves(512)[0] == (16, 32)
    assert size_octaves(64) == [(8, 16), (16, 32), (pytest.approx(35.2), pytest.approx(48))]


def test_joints_are_those_of_the_layout(samples: list[Sample]) -> None:
    for index, sample in enumerate(samples[:8]):
        seed, _ = np.random.SeedSequence((11, index)).spawn(2)
        figures = sample_figures(np.random.Generator(np.random.PCG64(seed)), 256, 256)
        for figure, person in zip(figures, sample.people or (), strict=True):
            for place, (x, y, visibility) in zip(figure.joints, person.joints, strict=True):
                inside = all(-0.5 <= value <= 255.5 for value in place.tolist())
                assert (visibility > 0) == inside
                if inside:
                    np.testing.assert_allclose((x, y), place, atol=1e-4)


def test_bones_keep_their_lengths_and_faces_their_sides() -> None:
    rng = np.random.default_rng(0)
    views = Counter[bool]()
    for _ in range(200):
        joints = sample_body(rng).joints
        for start, end, length in (
            ("shoulder", "elbow", UPPER_ARM),
            ("elbow", "wrist", FOREARM),
            ("hip", "knee", THIGH),
            ("knee", "ankle", SHIN),
        ):
            for side in ("left", "right"):
                bone = joints[NUMBER[f"{side} {end}"]] - joints[NUMBER[f"{side} {start}"]]
                assert np.linalg.norm(bone) == pytest.approx(length)
        left, right, nose = (joints[NUMBER[k]] for k in ("left eye", "right eye", "nose"))
        ears = 0.5 * (joints[NUMBER["left ear"]] + joints[NUMBER["right ear"]])
        brow = 0.5 * (left + right)
        # left x up = forward, in the coordinates x right, y down, z to the viewer.
        across, up, ahead = left - right, brow - nose, nose - ears
        flip = np.array([1, -1, 1])
        assert np.dot(np.cross(across * flip, up * flip), ahead * flip) > 0
        views[bool(nose[2] > ears[2])] += 1
    assert min(views.values()) > 40


def test_left_and_right_differ_in_hue() -> None:
    for index in range(20):
        for figure in sample_figures(np.random.default_rng(index), 256, 256):
            for part in ("upper arm", "thigh"):
                left, right = (np.array(figure.colors[f"{s} {part}"]) for s in ("left", "right"))
                assert np.abs(left / left.max() - right / right.max()).max() > 0.3


def test_an_image_depends_on_seed_and_index_alone(samples: list[Sample]) -> None:
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda index: render_figures(11, index), [3, 0, 3, 1]))
    for sample, index in zip(again, [3, 0, 3, 1], strict=True):
        same(sample, samples[index])
    assert not np.array_equal(render_figures(12, 0).image, samples[0].image)


def same(one: Sample, other: Sample) -> None:
    assert one.id == other.id
    for part in ("image", "labels", "instances"):
        assert np.array_equal(getattr(one, part), getattr(other, part))
    for mine, theirs in zip(one.people or (), other.people or (), strict=True):
        assert np.array_equal(mine.joints, theirs.joints)
        assert (mine.box, mine.area, mine.instance) == (theirs.box, theirs.area, theirs.instance)


def test_a_spec_names_them() -> None:
    data = load_data("figures:count=3,seed=2,size=64x96")
    assert (data.name, len(data)) == ("figures:count=3,seed=2,size=64x96", 3)
    assert data.classes.names == ("background", "person")
    assert joints_of(data) is COCO_JOINTS
    assert data.ids[1] == data[1].id == "figures-1000002-00001"
    assert data[1].image.shape == (64, 96, 3)
    training = load_data(data.name, purpose="train")
    assert not set(data.ids) & set(training.ids)
    assert not np.array_equal(data[0].image, training[0].image)
    assert load_data("figures").name == "figures:count=64,seed=0,size=256x256"
    assert check_dataset(data, quiet=True) == ()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "figures:decorrelated=1",
            "unknown setting 'decorrelated=1' of figures; write figures:cou",
        ),
        ("figures:cuont=1", "unknown setting 'cuont=1' of figures; did you mean 'count'"),
        ("figures:count=0", "count=0 of figures is not a whole number from 1 to"),
        ("figures:seed=1,seed=2", "'seed' of figures is given twice"),
        ("figures:size=32x64", "size 32x64 is not possible"),
        ("figure", "did you mean 'figures'"),
    ],
)
def test_wrong_specs(spec: str, words: str) -> None:
    with pytest.raises(GstoVizError, match=words):
        load_data(spec)


def test_evaluation_seeds_are_refused_for_training() -> None:
    with pytest.raises(GstoVizError, match="seed 1000000 is an evaluation seed"):
        load_data("figures:seed=1000000", purpose="train")
    with pytest.raises(GstoVizError, match="both must be 0 or more"):
        render_figures(-1, 0)


@pytest.fixture(scope="module")
def small() -> Dataset:
    return load_data("figures:count=4,size=64x96")


def test_persons_are_counted_without_rendering(small: Dataset) -> None:
    counts = people_counts(small)
    assert counts is not None
    assert list(counts) == [len(sample.people or ()) for sample in map(small.__getitem__, range(4))]
    assert people_counts(ResizedDataset(with_objects(small), (128, 128))) == counts


def test_one_sample_for_each_person(small: Dataset) -> None:
    data = PersonDataset(small)
    expected = [
        (f"{small.ids[k]}#{n}", k, n - 1)
        for k in range(4)
        for n in range(1, len(small[k].people or ()) + 1)
    ]
    assert data.ids == tuple(one[0] for one in expected)
    assert joints_of(data) is COCO_JOINTS
    for index, (id_, image, place) in enumerate(expected):
        sample, whole = data[index], small[image]
        assert (sample.id, sample.group) == (id_, whole.id)
        assert np.array_equal(sample.image, whole.image)
        (person,) = sample.people or ()
        assert np.array_equal(person.joints, (whole.people or ())[place].joints)
    assert data[-1].id == expected[-1][0]
    with pytest.raises(IndexError):
        data[len(data)]


class Counted:
    """Samples in memory that count how often they are read; some persons have no joint."""

    name, classes, joints = "counted", load_data("figures").classes, COCO_JOINTS
    ids = ("a", "b")

    def __init__(self, sample: Sample) -> None:
        self.reads = 0
        people = sample.people or ()
        bare = type(people[0])(np.zeros((17, 3), np.float32), (0, 0, 1, 1), 1.0)
        self.people = ((bare, people[0], people[1]), (bare,))
        self.sample = sample

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        return Sample(self.ids[index], self.sample.image, group="g", people=self.people[index])


def test_persons_of_data_that_only_images_tell(small: Dataset) -> None:
    base = Counted(small[0])
    data = PersonDataset(base)
    assert base.reads == 2
    assert data.ids == ("a#2", "a#3")
    assert data[1].group == "g"
    assert base.reads == 3
    base.people = ((), ())
    with pytest.raises(GstoVizError, match="counted has no person with key points in 2 images"):
        PersonDataset(base)
    with pytest.raises(GstoVizError, match=r"scenes:.* has no key points; take coco_keypoints"):
        PersonDataset(load_data("scenes:count=1,size=64x96"))


def test_persons_are_resized_with_their_image(small: Dataset) -> None:
    data = ResizedDataset(small, (32, 144))
    for index in range(2):
        for new, old in zip(data[index].people or (), small[index].people or (), strict=True):
            assert new.instance == old.instance
            assert new.area == pytest.approx(old.area * 0.5 * 1.5)
            for k in range(17):
                x, y, visibility = old.joints[k].tolist()
                if visibility:
                    x, y = (x + 0.5) * 1.5 - 0.5, (y + 0.5) * 0.5 - 0.5
                np.testing.assert_allclose(new.joints[k], (x, y, visibility), atol=1e-4)
            left, top, width, height = old.box
            edges = ((left + 0.5) * 1.5 - 0.5, (top + 0.5) / 2 - 0.5, width * 1.5, height / 2)
            assert new.box == pytest.approx(edges)
    assert with_objects(small)[0].people is not None


def test_they_are_written_as_a_folder(small: Dataset, tmp_path) -> None:
    folder = write_scenes(tmp_path / "out", small)
    again = load_data(f"folder:{folder}")
    assert np.array_equal(again[2].instances, small[2].instances)
    assert again.classes.names == small.classes.names


def test_no_figure_is_hidden_altogether() -> None:
    for index in range(40):
        for person in render_figures(3, index, 64, 64).people or ():
            assert person.area > 0
            assert min(person.box[2:]) >= 1
            assert (person.joints[:, 2] > 0).any()
