"""Every figure of an analysis, the page, the commands and the scripts, on a real small analysis."""

import re
import runpy
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError
from gsto_viz.report import analyze, load_report
from gsto_viz.report.catalogue import KINDS, write_figures
from gsto_viz.report.page import ANSWER, METHOD, page

ANALYSIS = Path(__file__).parent.parent.parent / "analysis"


LEFT_OUT = {
    "listening": "no model has relations",
    "branch_by_size": "analyze --attribution",
    "skeletons": "no model is for pose",
    "enlargement": "analyze --atlas",
}
"""Figures that an analysis of these networks, without these options, has nothing for."""


@pytest.fixture(scope="module")
def written(analysis):
    return {one.kind.name: one for one in write_figures(analysis, formats=("png", "svg"))}


def test_every_figure_is_written_with_its_data(analysis, written):
    assert list(written) == list(KINDS)
    for name, one in written.items():
        if name in LEFT_OUT:
            assert LEFT_OUT[name] in one.reason
            continue
        assert one.reason is None, name
        assert one.alt
        assert [f.suffix for f in one.files] == [".png", ".svg", ".csv"]
        assert all(f.parent == analysis.folder / "figures" for f in one.files)
        assert len(pd.read_csv(one.files[-1])) > 0


def test_the_data_of_figures_are_the_numbers_of_the_summary(analysis, written):
    table = pd.read_csv(analysis.folder / "figures/sci_by_gap.csv")
    for key in "AB":
        values = table.loc[table["model"] == key, "value"].to_numpy()
        assert values == pytest.approx(
            analysis.frame(key, "sci_by_gap")["value"].astype(float).to_numpy(), nan_ok=True
        )
    pairs = pd.read_csv(analysis.folder / "figures/worst_pairs.csv")
    assert (pairs["gap_octaves"] >= 1).all()
    assert (pairs["q_large"] < pairs["q_small"]).all()


def test_a_report_is_enough_for_the_main_figure(analysis):
    from gsto_viz.plots import figure_scale_confusion

    figure = figure_scale_confusion(analysis)
    labels = {ax.get_label() for ax in figure.axes}
    assert {"input", "A branch 0", "B branch 3"} <= labels
    with pytest.raises(GstoVizError, match="needs what networks show"):
        figure_scale_confusion(analysis.examples[0].sample)


def test_one_figure_leaves_the_others_and_unknown_ones_are_refused(analysis, written):
    before = sorted(p.name for p in (analysis.folder / "figures").iterdir())
    write_figures(analysis, formats=("png",), only=["costs"])
    assert sorted(p.name for p in (analysis.folder / "figures").iterdir()) == before
    with pytest.raises(GstoVizError, match="no figure 'cost'; there are figure1_percentile"):
        write_figures(analysis, only=["cost"])
    with pytest.raises(GstoVizError, match="cannot write figures as 'gif'"):
        write_figures(analysis, formats=("gif",), only=["costs"])


class Reader(HTMLParser):
    """Collects what a page would fetch, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and not (value or "").startswith(("data:", "#")):
                self.fetched.append(value)
            if name in ("alt", "aria-label") and tag in ("img", "svg"):
                self.alts.append(value)

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_fetches_nothing_and_shows_names_as_text(analysis, written):
    reader = Reader()
    reader.feed(page(analysis, tuple(written.values())))
    assert reader.fetched == []
    assert reader.tags.count("script") == 2  # the viewer, and its numbers
    on_page = [one for one in written.values() if not one.kind.viewed and one.reason is None]
    assert reader.tags.count("svg") == len(on_page)
    assert reader.alts == [one.alt for one in sorted(on_page, key=lambda w: w.kind.name != ANSWER)]
    assert all(reader.alts)
    text = " ".join(" ".join(reader.text).split())
    for sentence in METHOD:
        assert sentence in text
    assert len(METHOD) == 5
    for key in "AB":
        sci = analysis.headline(key).sci
        assert f"{sci.value:.3f} [{sci.low:.3f}, {sci.high:.3f}]" in text
        assert analysis.verdict(key).words in text
    assert "N3: random weights" in text


def test_a_caution_stands_where_layout_alone_does_as_well(analysis):
    from types import SimpleNamespace

    from gsto_viz.report import Null
    from gsto_viz.report.text import layout_caution
    from gsto_viz.stats import Estimate

    def report(high: float, null: float | None) -> SimpleNamespace:
        sci = Estimate(0.3, 0.25, high, 20, 100)
        mean = Estimate(null, None, None, 20, 100)
        return SimpleNamespace(
            index=lambda key, name: sci,
            nulls=lambda key: {"sci": {"N2": Null((0.4,), mean)}},
            layout_adjusted=lambda key, name: None,
        )

    assert "N2 0.320" in layout_caution(report(0.35, 0.32), "A")
    assert layout_caution(report(0.35, 0.4), "A") is None
    assert layout_caution(report(0.55, 0.5), "A") is None
    assert layout_caution(report(0.35, None), "A") is None


def test_markup_in_names_stays_text(networks, scenes, tmp_path):
    models = {"A": networks["A"]}
    info = models["A"].info
    try:
        models["A"].info = type(info)("<script>alert(1)</script>", info.network, info.classes)
        report = analyze(models, scenes, tmp_path / "run", limit=2)
    finally:
        models["A"].info = info
    text = page(report, write_figures(report, formats=("png",)))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_one_model_without_nulls_is_enough(networks, scenes, tmp_path):
    report = analyze({"A": networks["A"]}, scenes, tmp_path / "run", limit=3)
    reasons = {one.kind.name: one.reason for one in write_figures(report, formats=("png",))}
    assert reasons["gate_by_size"] == "no model has gates"
    assert reasons["specification"] == "there is one model only"
    assert [name for name, reason in reasons.items() if reason is None] == [
        name for name in KINDS if name not in ("gate_by_size", "specification", *LEFT_OUT)
    ]


def test_commands_work_on_the_folder(analysis, capsys):
    folder = str(analysis.folder)
    assert main(["compare", folder]) == 0
    shown = capsys.readouterr().out
    assert "confirmatory (p adjusted by Holm)" in shown
    assert "not about a method" in shown
    assert (analysis.folder / "comparison.json").is_file()
    assert main(["figures", folder, "--format", "png", "--only", "costs"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("costs.csv")
    assert main(["compare", folder, "A", "A"]) == 2
    assert main(["compare", folder, "A", "C"]) == 2
    assert main(["figures", str(analysis.folder / "nothing")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "gsto-viz compare: cannot compare A with itself; analyze two models"
    assert errors[1].startswith("gsto-viz compare: no model 'C' in")
    assert errors[2].startswith("gsto-viz figures: no folder")


def script(monkeypatch, *words: str) -> int:
    """Run analysis/figures.py in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["figures.py", *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ANALYSIS / "figures.py"), run_name="__main__")
    return stop.value.code


def test_the_script_draws_chosen_figures_of_several_folders(
    analysis, monkeypatch, capsys, tmp_path
):
    other = shutil.copytree(analysis.folder, tmp_path / "other")
    folders = [str(analysis.folder), str(other)]
    assert script(monkeypatch, *folders, "--only", "costs", "--format", "png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{d}/figures/costs.{suffix}" for d in folders for suffix in ("png", "csv")]
    # The analysis has no Shapley values: asked for, that is an error; among all, a note.
    assert script(monkeypatch, folders[0], "--only", "branch_by_size", "--format", "png") == 2
    assert "branch_by_size: left out, no Shapley values" in capsys.readouterr().err
    assert script(monkeypatch, folders[0], "--only", "cost") == 2
    assert "no figure 'cost'" in capsys.readouterr().err
    assert script(monkeypatch, folders[0], "--readme") == 2
    assert "also needs folders called camvid-causal, demo, scenes" in capsys.readouterr().err


def test_every_figure_and_every_picture_has_its_line():
    readme = (ANALYSIS / "README.md").read_text("utf-8")
    for name in KINDS:
        assert f"| `{name}` |" in readme
    pictures = runpy.run_path(str(ANALYSIS / "figures.py"))["PICTURES"]
    pages = "".join(page.read_text("utf-8") for page in (ANALYSIS.parent / "docs").glob("*.md"))
    shown = re.findall(r"[(\"]images/(\w+)\.png", pages)
    assert set(pictures) == {name for name in shown if not name.startswith("explorer_")}
    assert {kind for _, kind in pictures.values()} <= set(KINDS)


def test_reading_back_gives_the_same_examples(analysis):
    report = load_report(analysis.folder)
    assert next(one.role for one in report.examples) == "example"
    for one in report.examples:
        for pair in one.pairs:
            assert pair.image == one.sample.id
            assert {pair.small_region, pair.large_region} <= set(one.regions.ravel().tolist())
