"""Scale transfer: the tables of resized images against resizing by hand."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from gsto_viz.attribution.receptive import OCTAVES, resized_size, sized_maps, sized_tables
from gsto_viz.calibrate import calibrate
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.models import ModelInfo
from gsto_viz.network import open_network
from gsto_viz.regions import find_regions, region_table
from gsto_viz.stats import scale_transfer, transfer_counts, transfer_rows
from gsto_viz.types import ClassInfo, ClassList, Sample

CLASSES = ClassList("toy", tuple(ClassInfo(k, f"c{k}", (k, 0, 0), False) for k in range(4)))


@pytest.fixture(name="case")
def _case(toy):
    model = toy.network().float()
    gains = calibrate(model, [toy.picture(k)[0].float() for k in range(2)])
    info = ModelInfo("toy", "gsto-hrnet-tiny", CLASSES, (0.5,) * 3, (0.2,) * 3)
    model.info = replace(info, gains=gains)
    image = np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    return model, Sample("a", image, toy.annotation())


def transfer_tables(model, sample, octaves=OCTAVES):
    return sized_tables(sized_maps(open_network(model), sample.image, octaves), sample)


def test_tables_against_resizing_by_hand(case):
    model, sample = case
    found = transfer_tables(model, sample, (-0.5, 1.0))
    ids = find_regions(sample.labels).ids
    base = region_table(sample.labels, open_network(model).look(sample.image).activity, image="a")
    pd.testing.assert_frame_equal(found.base.drop(columns="border_distance_px"), base)
    double = cv2.resize(sample.image, (202, 140), interpolation=cv2.INTER_LINEAR)
    labels = sample.labels.repeat(2, 0).repeat(2, 1)
    large = ids.repeat(2, 0).repeat(2, 1)
    table = region_table(
        labels, open_network(model).look(double).activity, instances=large, image="a"
    )
    pd.testing.assert_frame_equal(found.resized[1.0].drop(columns="border_distance_px"), table)
    border = [
        min(min(y, x, 139 - y, 201 - x) for y, x in np.argwhere(large == k))
        for k in table["instance_id"]
    ]
    assert found.resized[1.0]["border_distance_px"].tolist() == border
    half = cv2.resize(sample.image, (50, 35), interpolation=cv2.INTER_AREA)
    back = cv2.resize(half, (101, 70), interpolation=cv2.INTER_LINEAR)
    table = region_table(
        sample.labels, open_network(model).look(back).activity, instances=ids, image="a"
    )
    pd.testing.assert_frame_equal(found.blurred[1.0].drop(columns="border_distance_px"), table)
    assert set(found.resized) == set(found.blurred) == {-0.5, 1.0}
    assert found.coarsest == 32


def test_tables_feed_the_statistics(case):
    model, sample = case
    found = transfer_tables(model, sample, (1.0,))
    rows = transfer_rows(found.base, found.resized, border_px=2)
    control = transfer_rows(found.base, found.blurred, border_px=2)
    assert 0 < len(rows) <= len(control)
    assert 0 <= scale_transfer(transfer_counts(rows), 1.0).value <= 1


def test_errors(case):
    model, sample = case
    with pytest.raises(GstoVizError, match="a has no labels"):
        transfer_tables(model, replace(sample, labels=None))
    with pytest.raises(GstoVizError, match="m = 0 is the image as it is"):
        transfer_tables(model, sample, (0.0,))
    with pytest.raises(RefusedImageError, match=r"by -2 octaves: the image is 18x25 .* 32x32"):
        transfer_tables(model, sample, (-2.0,))
    assert resized_size((360, 480), 0.5) == (509, 679)
