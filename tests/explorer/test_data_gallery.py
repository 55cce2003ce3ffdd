"""The gallery of Sizes and the analysis that begins there."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explorer_pages import page_app

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import analyses
from gsto_viz.explorer.analyses import Analysis
from gsto_viz.explorer.links import Link
from gsto_viz.explorer.values.images import (
    image_scores,
    miou_by_image,
    ordered,
    score_words,
)
from gsto_viz.explorer.values.sizes import Choices, Subject, of_report
from gsto_viz.report import load_report

DATA = "scenes:count=30,seed=5,size=64x96"


def links_of(app):
    parts = [c.proto for c in app.get("bidi_component")]
    return [
        one
        for proto in parts
        if proto.component_name == "gsto_viz_links"
        for one in json.loads(proto.json)["links"]
    ]


def test_a_data_set_is_shown_in_sheets(checkpoints, offer, address):
    offer(data=DATA)
    app = page_app("sizes", {"source": "data", "panel": "gallery"}).run()
    assert not app.exception
    first = links_of(app)
    assert len(first) == 24
    assert all(one["href"].startswith("./?source=data&image=scene-") for one in first)
    assert all(one["picture"].startswith("data:image/jpeg;base64,") for one in first)
    app.number_input(key="sheet").set_value(2).run()
    assert not app.exception
    rest = links_of(app)
    assert len(rest) == 6
    assert len({one["href"] for one in first + rest}) == 30
    assert address(app)["sheet"] == "2"
    assert any("--runs DIR" in text.value for text in app.markdown)


def test_the_gallery_of_an_analysis_is_sorted(checkpoints, analysis, offer):
    offer(data=analysis.data, runs=analysis.folder.parent)
    query = {"run": "run", "panel": "gallery", "order": "sci"}
    app = page_app("sizes", query).run()
    assert not app.exception
    report = load_report(analysis.folder)
    scores = image_scores(Subject(of_report(report, "x"), None, report), Choices())
    expected = scores.sort_values("sci", na_position="last").index.tolist()
    found = links_of(app)
    assert [one["label"] for one in found] == expected[:24]
    assert found[0]["note"].startswith(f"SCI {scores['sci'].min():+.2f}")


def test_scores_are_what_loops_give(analysis):
    report = load_report(analysis.folder)
    scores = image_scores(Subject(of_report(report, "x"), None, report), Choices())
    tables = {x: report.table(x) for x in "AB"}
    pixels = {x: report.rows("confusion", x) for x in "AB"}
    for image, row in scores.iterrows():
        sci, miou, q = {}, {}, {}
        for x in "AB":
            kept = tables[x][(tables[x]["image"] == image) & tables[x]["qualifies"]]
            regions = [r for r in kept.itertuples() if not np.isnan(r.q)]
            q[x] = {r.region: r.q for r in regions}
            wrong = [
                1.0 if big.q < small.q - 1e-9 else 0.5 if abs(big.q - small.q) <= 1e-9 else 0.0
                for big in regions
                for small in regions
                if big.area_px >= 4 * small.area_px
            ]
            sci[x] = np.mean(wrong) if wrong else np.nan
            counts = np.zeros((11, 11))
            for one in pixels[x][pixels[x]["image"] == image].itertuples():
                counts[one.label, one.predicted] += one.pixels
            known = [k for k in range(11) if counts[k].sum()]
            unions = [counts[k].sum() + counts[:, k].sum() - counts[k, k] for k in known]
            hits = [counts[k, k] for k in known]
            miou[x] = 100 * np.mean([h / u for h, u in zip(hits, unions, strict=True)])
        assert row["sci"] == pytest.approx(sci["B"] - sci["A"], nan_ok=True)
        assert row["miou"] == pytest.approx(miou["B"] - miou["A"])
        apart = [abs(q["A"][k] - q["B"][k]) for k in q["A"].keys() & q["B"].keys()]
        assert row["disagreement"] == pytest.approx(np.mean(apart))


def test_orders_put_what_is_unknown_last():
    scores = pd.DataFrame(
        {"sci": [0.1, np.nan, -0.2], "disagreement": [1.0, 3.0, np.nan], "miou": [0.0, 1.0, 2.0]},
        index=["a", "b", "c"],
    )
    assert ordered("abcd", scores, "sci") == ["c", "a", "b", "d"]
    assert ordered("abcd", scores, "disagreement") == ["b", "a", "c", "d"]
    assert ordered("abcd", scores, "data") == ordered("abcd", None, "sci") == list("abcd")
    assert score_words(scores, "b") == "mIoU +1.0 points, apart 3.00"
    assert score_words(scores, "d") == score_words(None, "a") == ""
    assert miou_by_image(pd.DataFrame()).empty


def test_a_link_has_the_address_of_its_page():
    hostile = "//host/pixel.png?a=1&b=<script>"
    assert Link("explore", {"image": hostile}, "x").href == (
        "./?image=%2F%2Fhost%2Fpixel.png%3Fa%3D1%26b%3D%3Cscript%3E"
    )
    assert Link("sizes", {"scene": "3"}, "x").href == "./sizes?scene=3"


def run_script(folder: Path, script: str) -> Analysis:
    """What ``start`` makes of a command, for a command of a few lines."""
    folder.mkdir()
    output, theirs = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", script], stderr=theirs)
    os.close(theirs)
    return Analysis(folder, process, output)


def ended(one: Analysis) -> Analysis:
    one.process.wait(timeout=60)
    one._reader.join(timeout=60)
    return one


BAR = "import sys; sys.stderr.write('\\rmeasuring:  0%|  | 0/4\\rmeasuring: 50%|##  | 2/4\\r');"


def test_an_analysis_says_how_far_it_is_and_why_it_failed(tmp_path):
    good = ended(run_script(tmp_path / "a", BAR))
    assert good.progress == ("measuring", 0.5)
    assert good.problem is None
    bad = ended(run_script(tmp_path / "b", f"{BAR} sys.exit('no labels; give some')"))
    assert bad.problem is not None
    assert bad.problem.endswith("no labels; give some")
    silent = ended(run_script(tmp_path / "c", "raise SystemExit(5)"))
    assert silent.problem == "gsto-viz analyze ended with 5."
    assert silent.progress == ("", 0.0)


def test_one_analysis_at_a_time_and_none_when_cancelled(tmp_path, monkeypatch):
    sleeping = run_script(tmp_path / "run", "import time; time.sleep(60)")
    monkeypatch.setattr(analyses, "_latest", [sleeping])
    assert analyses.latest() is sleeping
    with pytest.raises(GstoVizError, match="an analysis is running"):
        analyses.start(tmp_path, {}, DATA, 3, nulls=False)
    begun = time.monotonic()
    analyses.stop()
    assert time.monotonic() - begun < 10
    assert not sleeping.running
    assert not (tmp_path / "run").exists()
    assert "cancelled" in str(sleeping.problem)
    with pytest.raises(GstoVizError, match="give 1 to"):
        analyses.start(tmp_path, {}, DATA, 0, nulls=False)


def test_the_command_draws_bars_and_its_words_are_read(tmp_path, monkeypatch):
    """The command is told nothing of the page, and is at a terminal where there is one."""
    seen = tmp_path / "seen"
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {seen}\n[ -t 2 ] && echo tty >&2\nexit 2\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr(analyses, "_latest", [])
    one = ended(analyses.start(tmp_path, {}, DATA, 3, nulls=True))
    assert one.problem == "tty"
    words = seen.read_text().split("\n")
    assert words[:3] == ["-m", "gsto_viz", "analyze"]
    assert {f"--data={DATA}", "--limit=3", f"--out={one.folder}", "--nulls"} <= set(words)
