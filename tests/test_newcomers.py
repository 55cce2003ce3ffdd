"""What CONTRIBUTING promises: a new thing is one function in a file of its own, and one row.

Toys of every kind are written to a module outside the package, and their rows put into the
registers. Everything else, from the help to the report, must find them by itself.
"""

import contextlib
import io
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gsto_viz.cli import main
from gsto_viz.data import DATA_SETS, load_data
from gsto_viz.data.base import DataSet
from gsto_viz.data.spec import spec_table
from gsto_viz.errors import GstoVizError
from gsto_viz.models import (
    ARCHITECTURES,
    Architecture,
    ModelInfo,
    build_model,
    initialize,
    save_checkpoint,
)
from gsto_viz.plots import sci_dots_data
from gsto_viz.report import load_report
from gsto_viz.report.catalogue import KINDS, Kind
from gsto_viz.report.folder import shown
from gsto_viz.report.headline import headline_markdown, headline_rows, rows_text
from gsto_viz.stats import Estimate
from gsto_viz.words import INDICES, METHODS, NULLS, Index, Method, NullModel

PYRAMID = Path(__file__).parent / "helpers" / "pyramid.py"
SOURCE = """
from matplotlib.figure import Figure

from gsto_viz.report.catalogue import Drawn


def find_toys(row, root, split, purpose):
    row.check_folders(root / "images")
    return row.labelled(row.images_in(root / "images"), root / "labels")


def second_prefers_larger(of):
    return of.preference("z_1")


def mirrored_maps(regions, maps):
    for turn in (1, 2):
        yield regions, [one[::-1, :: (-1) ** turn] for one in maps]


def brightness(asked, layers, settings):
    return [asked.image * settings.steps]


def count_toys(report):
    counts = report.table(report.keys[0]).groupby("image", as_index=False).size()
    figure = Figure()
    figure.subplots().bar(counts["image"], counts["size"])
    return Drawn(figure, counts)
"""
INDEX = Index(
    "a_second",
    "A second",
    "the second branch prefers the larger object",
    function="toys:second_prefers_larger",
    reads=("z_1",),
)
NULL = NullModel(
    "N0", "N0 mirrored maps", "maps mirrored", "near 0.5", function="toys:mirrored_maps"
)
METHOD = Method(
    "brightness",
    "brightness",
    "brightness, toy lux",
    "{methods}: red is bright.",
    "image",
    "toys:brightness",
)


@pytest.fixture(scope="module", name="toys")
def _toys(tmp_path_factory, make_folder):
    """The registers with a row for each toy; the folder of the toy data set."""
    place = tmp_path_factory.mktemp("newcomers")
    (place / "toys.py").write_text(PYRAMID.read_text("utf-8") + SOURCE)
    data = make_folder(place / "data", count=10, size=(64, 96))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        import toys

        row = DataSet(
            "toys", "Toys", ("val",), "a folder of toys", toys.find_toys, data / "classes.json"
        )
        patch.setitem(DATA_SETS, "toys", row)
        sizes = {"w6": toys.PyramidConfig(6)}
        network = Architecture("pyramid", "two branches", toys.Pyramid, sizes)
        patch.setitem(ARCHITECTURES, "pyramid", network)
        patch.setitem(INDICES, INDEX.key, INDEX)
        patch.setitem(METHODS, METHOD.key, METHOD)
        patch.setitem(NULLS, NULL.key, NULL)
        patch.setitem(KINDS, "toys", Kind("toys", "Toys of each image", toys.count_toys))
        yield data
    sys.modules.pop("toys")


@pytest.fixture(scope="module")
def told(toys, tmp_path_factory):
    """The folder of an analysis of two networks on the toys, and all that commands printed."""
    place = tmp_path_factory.mktemp("told")
    data = load_data(f"toys:{toys}")
    models = []
    for key, name in (("A", "hrnetv2-tiny"), ("B", "pyramid-w6")):
        with torch.random.fork_rng():
            torch.manual_seed(ord(key))
            model = build_model(name, num_classes=len(data.classes)).eval()
            initialize(model, "kaiming")
        path = place / f"{key}.safetensors"
        save_checkpoint(model, path, info=ModelInfo(key, name, data.classes))
        models.append(f"--model={key}={path}")
    out = place / "run"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for words in (
            ["analyze", *models, "--data", data.name, "--nulls", "--out", str(out), "--quiet"],
            ["compare", str(out), "--quiet"],
            ["figures", str(out), "--format", "png", "--quiet"],
        ):
            assert main(words) == 0
    return out, printed.getvalue()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("analyze", r"  toys:PATH\[:val\] +Toys, 3 classes\n"),
        ("figures", r"  toys +Toys of each image\n"),
        ("attribute", r"smooth_grad,\s+brightness\s+on the image"),
    ],
)
def test_help_lists_it(toys, command, line, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert re.search(line, capsys.readouterr().out)


def second_by_hand(table):
    """Share of pairs of objects whose larger one has more of the second branch, by image."""
    found = {}
    for image, rows in table[table["qualifies"]].groupby("image"):
        votes = [
            1.0 if x.z_1 > y.z_1 else 0.5 if x.z_1 == y.z_1 else 0.0
            for x in rows.itertuples()
            for y in rows.itertuples()
            if x.area_px >= 4 * y.area_px
        ]
        if votes:
            found[image] = (np.mean(votes), len(votes))
    return found


def test_an_index_is_in_tables_summary_and_every_text(told):
    folder, printed = told
    report = load_report(folder)
    values = pd.read_parquet(folder / "values.parquet").query("index == 'a_second'")
    for key in "AB":
        own = values[(values["model"] == key) & (values["null"] == "none")]
        found = {row.image: (row.value, row.pairs) for row in own.itertuples()}
        assert found == {k: pytest.approx(v) for k, v in second_by_hand(report.table(key)).items()}
        assert len(found) > 3
        mean = np.mean([value for value, _ in found.values()])
        assert report.headline(key).a_second.value == pytest.approx(mean)
        assert set(report.nulls(key)["a_second"]) == set(NULLS)
    assert isinstance(report.layout_adjusted("A", "a_second"), Estimate)
    line = f"  A second             {shown(report.index('A', 'a_second')):<24} the second branch"
    assert line in printed
    (compared,) = [one for one in report.differences() if one.index == "a_second"]
    assert compared.family == "exploratory"
    difference = report.headline("B").a_second.value - report.headline("A").a_second.value
    assert compared.difference.value == pytest.approx(difference)
    assert re.search(r"\n  A second +0\.\d+ +0\.\d+ ", printed)
    assert "a_second,exploratory," in (folder / "comparison.csv").read_text()
    assert "| A second |" in headline_markdown(report)
    page = (folder / "report.html").read_text()
    assert page.count("<th>A second</th>") == 2
    data = sci_dots_data({"A": report.headline("A")}, indices=["a_second"])
    assert data["value"].tolist() == [report.headline("A").a_second.value]


def test_a_null_model_stands_beside_the_indices(told):
    folder, printed = told
    report = load_report(folder)
    for name in ("sci", "a_last", "a_second"):
        assert len(report.nulls("A")[name]["N0"].values) == 2
    mirrored = report.nulls("A")["sci"]["N0"]
    assert f"N0 {mirrored.mean:.3f}" in printed
    assert "\nN0: maps mirrored\n" in printed
    assert "| N0 A / B |" in headline_markdown(report)
    assert "N0: maps mirrored" in (folder / "report.html").read_text()
    assert "N0" in set(pd.read_csv(folder / "figures" / "sci_dots.csv")["source"])


def test_an_analysis_from_before_an_index_opens(told, monkeypatch):
    folder, _ = told
    later = replace(INDEX, key="a_later", label="A later")
    monkeypatch.setitem(INDICES, later.key, later)
    report = load_report(folder)
    assert "A later" not in "\n".join(rows_text(headline_rows(report, "A")))
    with pytest.raises(GstoVizError, match="a headline has no index 'a_later'"):
        sci_dots_data({"A": report.headline("A")}, indices=["a_later"])


def test_a_figure_is_in_its_folder_and_on_the_page(told):
    folder, printed = told
    assert f"{folder}/figures/toys.png\n{folder}/figures/toys.csv\n" in printed
    counts = pd.read_csv(folder / "figures" / "toys.csv", dtype={"image": str})
    table = load_report(folder).table("A")
    assert dict(zip(counts["image"], counts["size"], strict=True)) == Counter(table["image"])
    page = (folder / "report.html").read_text()
    assert "<figcaption>Toys of each image (data: figures/toys.csv)</figcaption>" in page
    assert main(["figures", str(folder), "--only", "toys", "--format", "png", "--quiet"]) == 0


def test_a_data_set_is_read_named_and_refused_like_the_others(toys, told, tmp_path, capsys):
    folder, _ = told
    assert load_report(folder).data == f"toys:{toys}:val"
    assert f"<code>toys:{toys}:val</code>" in (folder / "report.html").read_text()
    assert any(line.startswith("| `toys` | Toys, 3 classes | val |") for line in spec_table())
    network = str(folder.parent / "A.safetensors")
    assert main(["evaluate", network, "--data", f"toys:{toys}", "--quiet"]) == 0
    assert "mIoU" in capsys.readouterr().out
    assert main(["evaluate", network, "--data", f"toys:{tmp_path}", "--quiet"]) == 2
    assert capsys.readouterr().err.endswith("images; a folder of toys\n")


def test_an_attribution_method_is_run_printed_and_kept(toys, told, tmp_path, capsys):
    folder, _ = told
    photo, network = toys / "images" / "000.png", str(folder.parent / "A.safetensors")
    asked = ["--target", "pixel:20,30", "--method", "brightness", "--out", str(tmp_path / "out")]
    assert main(["attribute", network, str(photo), *asked, "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "brightness" in printed
    assert set(pd.read_csv(tmp_path / "out" / "taps.csv")["method"]) == {"brightness"}
    with np.load(tmp_path / "out" / "maps.npz") as maps:
        assert "brightness/input" in maps


def test_a_network_is_listed_built_loaded_and_analyzed(told, capsys):
    folder, _ = told
    assert main(["models", "--size", "64x96", "--classes", "3"]) == 0
    assert re.search(r"\npyramid-w6 +0\.00", capsys.readouterr().out)
    report = load_report(folder)
    assert report.strides["B"] == (4, 8)
    assert report.model("B")["network"] == "pyramid-w6"
    assert "<td>pyramid-w6</td>" in (folder / "report.html").read_text()
