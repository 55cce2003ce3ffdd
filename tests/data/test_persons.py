"""Persons as the only regions: masks, boxes where there are none, and the rest as crowds."""

from dataclasses import dataclass

import numpy as np

from gsto_viz.data import shipped_classes, with_persons
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.types import CROWD, IGNORE, Person, Sample

JOINTS = np.zeros((17, 3), dtype=np.float32)


@dataclass
class OneImage:
    sample: Sample
    name: str = "one"
    ids: tuple[str, ...] = ("a",)
    joints: object = COCO_JOINTS

    @property
    def classes(self):
        return shipped_classes("person")

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.sample


def person(box, instance):
    return Person(JOINTS, box, box[2] * box[3], instance)


def sample(labels=None, instances=None, people=()):
    return Sample("a", np.zeros((8, 10, 3), np.uint8), labels, instances, people=people)


def test_a_person_is_its_mask_or_its_box_and_smaller_boxes_lie_on_larger_ones():
    labels = np.zeros((8, 10), np.uint8)
    instances = np.zeros((8, 10), np.int32)
    labels[0:3, 0:3], instances[0:3, 0:3] = 1, 5  # a mask
    labels[7, 0:4], instances[7, 0:4] = 1, 4  # of a person without joints
    instances[6, 0:2] = 3  # of no person
    labels[6, 9] = IGNORE
    people = (
        person((5.5, 0.5, 2, 2), 0),  # pixels 6, 7 and 1, 2
        person((-0.5, -0.5, 3, 3), 5),
        person((1.5, 0.5, 8, 4), 0),  # pixels 2 .. 9 and 1 .. 4
        person((-0.5, 4.5, 9, 3), CROWD),
    )
    before = labels.copy(), instances.copy()
    cut = with_persons(OneImage(sample(labels, instances, people)))[0]
    expected, classes = np.full((8, 10), CROWD), np.zeros((8, 10))
    for y in range(8):
        for x in range(10):
            if 1 <= y <= 4 and 2 <= x <= 9:
                expected[y, x], classes[y, x] = 6, 1
            if 1 <= y <= 2 and 6 <= x <= 7:
                expected[y, x] = 7
            if y < 3 and x < 3:
                expected[y, x], classes[y, x] = 5, 1
    expected[6, 9], classes[6, 9] = 0, IGNORE
    expected[7, 0:4], classes[7, 0:4] = 4, 1
    np.testing.assert_array_equal(cut.instances, expected)
    np.testing.assert_array_equal(cut.labels, classes)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(instances, before[1])


def test_persons_of_an_image_without_label_map_are_their_boxes():
    cut = with_persons(OneImage(sample(people=(person((2.5, 3.5, 2, 1), 0),))))[0]
    rows, columns = np.nonzero(cut.instances == 1)
    assert list(zip(rows, columns, strict=True)) == [(4, 3), (4, 4)]
    np.testing.assert_array_equal(cut.labels, cut.instances == 1)
    assert (cut.instances[cut.labels == 0] == CROWD).all()


def test_data_and_images_without_persons_are_left_as_they_are():
    bare = OneImage(sample(people=None))
    assert with_persons(bare)[0] is bare.sample
    jointless = OneImage(sample(), joints=None)
    assert with_persons(jointless) is jointless
