"""Skeletons: which limbs are drawn, where, and in whose colour."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS, Joints
from gsto_viz.plots import draw_skeletons, paint_skeletons
from gsto_viz.plots.panels import frame_image
from gsto_viz.plots.skeletons import limb_halves
from gsto_viz.types import ClassInfo, ClassList

COLORS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
CHAIN = Joints(
    ClassList("chain", tuple(ClassInfo(k, f"j{k}", c, False) for k, c in enumerate(COLORS))),
    limbs=((0, 1), (1, 2)),
    sigmas=(0.1, 0.1, 0.1),
    upper=(0,),
)
PERSON = np.array([[[4.0, 8.0, 1.0], [24.0, 8.0, 0.9], [24.0, 28.0, 0.1]]])


def test_limbs_are_two_halves_between_sure_joints() -> None:
    rng = np.random.default_rng(0)
    people = rng.uniform(0, 50, (3, 17, 3))
    people[..., 2] /= 50
    pieces, ends = limb_halves(people, COCO_JOINTS, 0.4)
    expected = []
    for person in people:
        for a, b in COCO_JOINTS.limbs:
            if person[a, 2] > 0.4 and person[b, 2] > 0.4:
                middle = [(person[a, k] + person[b, k]) / 2 for k in (0, 1)]
                expected += [(a, [person[a, 0], person[a, 1]], middle)]
                expected += [(b, [person[b, 0], person[b, 1]], middle)]
    assert ends.tolist() == [joint for joint, _, _ in expected]
    np.testing.assert_allclose(pieces, [[start, end] for _, start, end in expected])


def test_each_half_of_a_painted_limb_has_the_colour_of_its_joint() -> None:
    image = np.full((40, 40, 3), 200, dtype=np.uint8)
    before = image.copy()
    painted = paint_skeletons(image, PERSON, CHAIN, least=0.2)
    np.testing.assert_array_equal(image, before)
    for x, color in ((4, 0), (8, 0), (20, 1), (24, 1)):
        np.testing.assert_allclose(painted[8, x], COLORS[color], atol=25)  # edges are smoothed
    # The third joint is not sure, so nothing lies between it and the second.
    np.testing.assert_array_equal(painted[13:], before[13:])
    whole = paint_skeletons(image, PERSON, CHAIN)
    np.testing.assert_allclose(whole[24, 24], COLORS[2], atol=25)
    np.testing.assert_allclose(whole[12, 24], COLORS[1], atol=25)


def test_nobody_and_joints_beside_the_image_are_no_fault() -> None:
    image = np.full((20, 20, 3), 9, dtype=np.uint8)
    np.testing.assert_array_equal(paint_skeletons(image, PERSON[:0], CHAIN), image)
    beside = PERSON + np.array([-300.0, 5000.0, 0.0])
    np.testing.assert_array_equal(paint_skeletons(image, beside, CHAIN), image)


def test_drawn_limbs_lie_on_the_centres_of_their_pixels_and_axes_stay() -> None:
    ax = frame_image(Figure().add_subplot(), (40, 40))
    draw_skeletons(PERSON, CHAIN, ax=ax)
    assert ax.get_xlim() == (0, 40)
    assert ax.get_ylim() == (40, 0)
    edge, lines = (c for c in ax.collections if isinstance(c, LineCollection))
    (dots,) = (c for c in ax.collections if not isinstance(c, LineCollection))
    for collection in (edge, lines):
        assert [part.tolist() for part in collection.get_segments()] == [
            [[4.5, 8.5], [14.5, 8.5]],
            [[24.5, 8.5], [14.5, 8.5]],
            [[24.5, 8.5], [24.5, 18.5]],
            [[24.5, 28.5], [24.5, 18.5]],
        ]
    colors = np.rint(lines.get_colors()[:, :3] * 255).astype(int)
    assert [tuple(color) for color in colors] == [COLORS[k] for k in (0, 1, 1, 2)]
    assert dots.get_offsets().tolist() == [[4.5, 8.5], [24.5, 8.5], [24.5, 28.5]]
    orders = [c.get_zorder() for c in ax.collections]
    assert all(a <= b for a, b in pairwise(orders))


def test_skeletons_of_other_joints_are_refused() -> None:
    with pytest.raises(GstoVizError, match=r"are \(P, 17, 3\), not \(1, 3, 3\)"):
        limb_halves(PERSON, COCO_JOINTS)
