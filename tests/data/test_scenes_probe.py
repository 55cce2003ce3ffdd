"""Scale probes: the drawn object has the wanted size and place, and nothing else changes."""

import math

import numpy as np
import pytest

from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import PROBE_CLASSES, probe_room, scale_probe
from gsto_viz.errors import GstoVizError


def measured(sample):
    """Return side, box middle (x, y) and classes of instance 1, by literal counting."""
    rows, columns = np.nonzero(sample.instances == 1)
    middle = (
        (columns.min() + columns.max() + 1) / 2,
        (rows.min() + rows.max() + 1) / 2,
    )
    return np.sqrt(len(rows)), middle, set(sample.labels[rows, columns].tolist())


@pytest.mark.parametrize("name", PROBE_CLASSES)
@pytest.mark.parametrize("size", [4, 7.5, 16, 45])
def test_size_place_and_class(name, size):
    sample = scale_probe(name, size, (250.0, 130.0))
    side, middle, classes = measured(sample)
    assert abs(side / size - 1) <= 0.05
    assert abs(middle[0] - 250) <= 1.5
    assert abs(middle[1] - 130) <= 1.5
    assert classes == {CAMVID_CLASSES.names.index(name)}
    assert sample.instances.max() == 1


@pytest.mark.parametrize("size", [128, 256])
def test_large_cars(size):
    for seed in range(3):
        side, _, _ = measured(scale_probe("car", size, seed=seed))
        assert abs(side / size - 1) <= 0.05


@pytest.mark.parametrize("name", PROBE_CLASSES)
@pytest.mark.parametrize("size", [6, 40])
def test_the_room_of_a_probe_is_what_it_takes(name, size):
    for seed in (0, 3):
        wide, high = probe_room(name.lower(), size, seed)
        corner = math.ceil(0.53 * wide + 1.5), math.ceil(0.53 * high + 1.5)
        drawn = scale_probe(name, size, corner, seed=seed)
        assert measured(drawn)[0] == pytest.approx(size, rel=0.05)
        for x, y in [(0.47 * wide - 1.5, 128), (256, 256 - (0.47 * high - 1.5))]:
            with pytest.raises(GstoVizError, match="does not fit"):
                scale_probe(name, size, (x, y), seed=seed)


def test_a_probe_fits_where_its_box_fits():
    sizes = [size for size in range(90, 150) if probe_room("Bicyclist", size)[1] <= 256]
    assert sizes == list(range(90, sizes[-1] + 1))
    scale_probe("Bicyclist", 0.98 * sizes[-1])
    with pytest.raises(GstoVizError, match="does not fit"):
        scale_probe("Bicyclist", 1.02 * sizes[-1] + 1)
    with pytest.raises(GstoVizError, match="negative"):
        probe_room("Car", 20, -1)
    with pytest.raises(GstoVizError, match="cannot probe 'Sky'"):
        probe_room("Sky", 20)


def test_only_the_object_changes_with_its_size():
    small, large = scale_probe("Car", 8), scale_probe("Car", 32)
    outside = np.ones(small.labels.shape, dtype=bool)
    rows, columns = np.nonzero(large.instances)
    # The lens blurs at most a few pixels around the object.
    outside[rows.min() - 6 : rows.max() + 7, columns.min() - 6 : columns.max() + 7] = False
    assert (small.image[outside] == large.image[outside]).all()
    assert (small.labels[outside] == large.labels[outside]).all()


def test_seed_changes_the_object_and_not_the_background():
    first, second = (scale_probe("Pedestrian", 30, seed=k) for k in (0, 1))
    changed = (first.image != second.image).any(axis=2)
    assert changed.any()
    rows, columns = np.nonzero((first.instances > 0) | (second.instances > 0))
    inside = np.zeros_like(changed)
    inside[rows.min() - 6 : rows.max() + 7, columns.min() - 6 : columns.max() + 7] = True
    assert not (changed & ~inside).any()


def test_same_arguments_same_probe():
    first, second = (scale_probe("Tree", 40, (100, 90), seed=4) for _ in range(2))
    assert (first.image == second.image).all()
    assert first.id == second.id == "probe-Tree-40-100-90-seed4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Road", 20), "cannot probe 'Road': it is not an object .* choose Pole"),
        (("Dog", 20), "cannot probe 'Dog': it is not a class of scenes"),
        (("Car", 1), "at least 2 px"),
        (("Car", float("nan")), "at least 2 px"),
        (("Pedestrian", 250), "does not fit into 256x512"),
        (("Car", 60, (10, 128)), "does not fit"),
        (("Car", 20, (900, 128)), "does not fit"),
    ],
)
def test_wrong_wishes_are_refused(arguments, message):
    with pytest.raises(GstoVizError, match=message):
        scale_probe(*arguments)


def test_wrong_options_are_refused():
    with pytest.raises(GstoVizError, match="negative"):
        scale_probe("Car", 20, seed=-1)
    with pytest.raises(GstoVizError, match="40x512"):
        scale_probe("Car", 20, height=40)
