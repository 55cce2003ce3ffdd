"""Which images are independent: groups of the data set, or blocks of a film."""

import pandas as pd
import pytest

from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.report import analyze, load_report
from gsto_viz.report.folder import clusters_of
from gsto_viz.report.text import headline_text


def images(**groups: str) -> pd.DataFrame:
    """One row for each image and network, as an analysis keeps them."""
    rows = [(image, group) for image, group in groups.items() for _ in "AB"]
    return pd.DataFrame(rows, columns=["image", "group"])


def test_without_block_the_groups_of_the_data_set_stay():
    table = images(a="film/block0", b="film/block0", c="c")
    assert clusters_of(table, None) == {"a": "film/block0", "b": "film/block0", "c": "c"}


def test_blocks_are_cut_anew_within_each_film_in_the_order_of_names():
    table = images(x2="X/block0", y1="Y/block0", x1="X/block0", x3="X/block1", x4="X/block1")
    found = clusters_of(table, 3)
    together = {}
    for image, cluster in found.items():
        together.setdefault(cluster, set()).add(image)
    assert sorted(map(sorted, together.values())) == [["x1", "x2", "x3"], ["x4"], ["y1"]]


def test_images_of_their_own_are_frames_of_one_film_and_other_groups_stay_apart():
    found = clusters_of(images(a="a", b="b", c="c", d="town", e="town"), 2)
    assert found["a"] == found["b"] != found["c"]
    assert found["d"] == found["e"]
    assert len(set(found.values())) == 3
    assert len(set(clusters_of(images(a="a", b="b", d="town"), 1).values())) == 3


def test_an_analysis_resamples_the_blocks_that_were_asked_for(networks, tmp_path):
    data = load_data("scenes:count=22,seed=3,size=64x128")
    model = {"A": networks["A"]}
    with pytest.raises(GstoVizError, match="block 0"):
        analyze(model, data, tmp_path / "none", block=0)
    report = analyze(model, data, tmp_path / "r", block=2)
    assert len(set(report.clusters.values())) == 11
    assert report.clusters == load_report(tmp_path / "r").clusters
    assert report.summary["clusters"] == 11
    assert report.index("A", "sci").low is not None
    said = headline_text(report).splitlines()[1]
    assert said.startswith("  22 images (in 11 blocks of 2 consecutive ones")
    assert said.endswith(f"in {report.index('A', 'sci').n_images} of them")
    few = analyze(model, data, tmp_path / "few", block=3)
    assert few.index("A", "sci").low is None
    assert few.index("A", "sci").value == report.index("A", "sci").value
    with pytest.raises(GstoVizError, match="block=3 and now block is None"):
        analyze(model, data, tmp_path / "few", resume=True)
