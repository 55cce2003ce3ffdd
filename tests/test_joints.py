"""COCO's joints against its own evaluation code, and as a skeleton."""

import numpy as np
import pytest

from gsto_viz.joints import COCO_JOINTS, joints_named
from gsto_viz.types import ClassInfo, ClassList


def test_joints_are_those_of_coco_in_its_order() -> None:
    names = COCO_JOINTS.classes.names
    assert len(COCO_JOINTS) == 17
    assert names[:3] == ("nose", "left eye", "right eye")
    assert names[5::6] == ("left shoulder", "left hip")
    assert names[-1] == "right ankle"


def test_sigmas_are_those_of_the_evaluation_of_coco() -> None:
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    np.testing.assert_allclose(COCO_JOINTS.sigmas, cocoeval.Params("keypoints").kpt_oks_sigmas)


def test_a_mirror_image_exchanges_left_and_right() -> None:
    names, order = COCO_JOINTS.classes.names, COCO_JOINTS.classes.flip_order
    swapped = {"left": "right", "right": "left"}
    for k, name in enumerate(names):
        side, _, part = name.partition(" ")
        assert names[order[k]] == (f"{swapped[side]} {part}" if part else name)


def test_the_skeleton_hangs_together_and_is_symmetric() -> None:
    reached = {0}
    for _ in COCO_JOINTS.limbs:
        reached |= {b for a, b in COCO_JOINTS.limbs if a in reached}
        reached |= {a for a, b in COCO_JOINTS.limbs if b in reached}
    assert reached == set(range(17))
    order = COCO_JOINTS.classes.flip_order
    mirrored = {frozenset((order[a], order[b])) for a, b in COCO_JOINTS.limbs}
    assert mirrored == {frozenset(pair) for pair in COCO_JOINTS.limbs}
    assert COCO_JOINTS.upper == tuple(range(11))


def test_joints_are_found_by_their_names() -> None:
    same = ClassList("of a checkpoint", COCO_JOINTS.classes.classes)
    fewer = ClassList("two", COCO_JOINTS.classes.classes[:2])
    other = ClassList("other", (ClassInfo(0, "road", (1, 2, 3), thing=False),))
    assert joints_named(same) is COCO_JOINTS
    assert [joints_named(one) for one in (fewer, other, None)] == [None] * 3
