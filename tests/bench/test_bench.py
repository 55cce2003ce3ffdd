"""Benchmarks: units, targets and structure; never how long anything takes."""

import json
import time

import numpy as np
import pytest
from scipy.ndimage import label

from gsto_viz.bench import BENCHMARKS, Measurement, run_benchmarks
from gsto_viz.bench import memory as attribution_memory
from gsto_viz.bench.analysis import rectangles
from gsto_viz.bench.memory import peak_mb, resident_mb
from gsto_viz.bench.timing import Times, interleaved, milliseconds, rate, ratio
from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError


def test_works_take_turns_after_a_warm_up():
    calls = []
    times = interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, warm_up=2
    )
    assert "".join(calls) == "ab" * 5
    assert [len(one.wall) for one in times.values()] == [3, 3]


def test_the_clock_and_the_processor_are_told_apart():
    times = interleaved({"sleep": lambda: time.sleep(0.05)}, 2, warm_up=0)
    assert min(times["sleep"].wall) >= 0.05
    assert max(times["sleep"].cpu) < 0.05


def test_figures_are_medians_in_their_unit():
    slow, fast = Times((2.0, 4.0, 9.0), (1.0, 2.0, 3.0)), Times((1.0, 1.0, 3.0), (1.0, 1.0, 1.0))
    one = milliseconds("a", slow, "", per=2, target=3000)
    assert (one.value, one.low, one.high, one.cpu, one.unit) == (2000, 1000, 4500, 1000, "ms")
    assert one.met is True
    assert (
        milliseconds("a", slow, "", target=1999).met is False
    )  # 4000 ms by the clock, 2000 by cpu
    one = ratio("b", slow, fast, "", target=3, bound="at least")
    assert (one.value, one.low, one.high, one.cpu, one.unit) == (3, 2, 4, 2, "x")
    assert one.met is True
    assert ratio("b", slow, fast, "", target=2.5).met is False
    one = rate("c", slow, "", count=8)
    assert (one.value, one.low, one.high, one.unit) == (2, 8 / 9, 4, "images/s")
    assert one.met is None
    assert rate("c", slow, "", count=8, target=2).met is True
    assert rate("c", slow, "", count=8, target=2.1).met is False
    assert ratio("d", slow, Times((1.0,) * 3, (0.0,) * 3), "").cpu is None


@pytest.mark.parametrize(("height", "width", "regions"), [(60, 90, 7), (128, 256, 40), (64, 64, 1)])
def test_label_maps_have_as_many_regions_as_asked(height, width, regions):
    labels = rectangles(height, width, regions)
    count = sum(label(labels == c, np.ones((3, 3)))[1] for c in np.unique(labels))
    assert (labels.shape, count) == ((height, width), regions)


@pytest.mark.slow
def test_quick_figures_have_a_unit_and_no_target(capsys):
    said = []
    found = run_benchmarks(quick=True, say=said.append)
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    assert set(names) == {
        "region_table",
        "region_table_peer",
        "region_table_speedup",
        "analysis_bare",
        "analysis_predict",
        "analysis",
        "analysis_over_bare",
        "analysis_over_predict",
        "analysis_calibration",
        "analysis_statistics",
        "shapley_plain",
        "shapley_plain_over_bare",
        "shapley_gated",
        "shapley_gated_over_bare",
        "integrated_last_estimate",
        "integrated_last_growth",
        "integrated_stem_estimate",
        "integrated_stem_growth",
        "memory_resident",
        "memory_growth",
        "reading_png",
        "reading_cache",
        "reading_two_over_one",
        "reading_cache_over_png",
        "scenes",
    }
    for one in found:
        assert one.unit in ("ms", "x", "MB", "images/s")
        assert one.low <= one.value <= one.high
        assert one.value > 0 or one.name.endswith("_growth")
        assert one.target is None
        assert one.what
    assert len(said) == len(BENCHMARKS) + 3  # and two estimates of memory, one piece of work more
    estimates = [line for line in said if "steps at once" in line]
    assert [line.split(":")[0] for line in estimates] == ["attribution-memory"] * 2
    assert capsys.readouterr().out == ""


def test_the_peak_remembers_what_is_gone():
    before = resident_mb()
    held = np.ones(64 * 2**17)  # 64 MB of float64
    assert held.sum() == 64 * 2**17
    del held
    assert peak_mb() >= before + 60


@pytest.mark.slow
def test_a_process_that_dies_is_one_sentence(tmp_path):
    (tmp_path / "net.py").write_text("import os\n\ndef dies():\n    os._exit(3)\n")
    with pytest.raises(GstoVizError, match="the process that integrated gradients ran in ended"):
        attribution_memory.measured(f"{tmp_path}/net.py:dies", (32, 32), "stem")


@pytest.fixture
def planted(monkeypatch):
    """A benchmark that takes no time and misses its target."""

    def bench(quick, say):
        say("planted: nothing")
        return [
            Measurement("planted", 12.345, "ms", "nothing", 12, 13, 2, cpu=11.0, target=10),
            Measurement("free", 1234.5, "MB", "nothing", 1, 2000, 1),
        ]

    monkeypatch.setitem(BENCHMARKS, "planted", bench)


def test_the_command_prints_a_table_and_writes_json(planted, tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert main(["bench", "--only", "planted", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == "planted: nothing\n"
    lines = out.splitlines()
    assert lines[1].split() == ["planted", "12.3", "ms", "at", "most", "10", "no", "12..13", "11"]
    assert lines[3].split() == ["free", "1234", "MB", "-", "-", "1..2000", "-"]
    assert max(map(len, lines)) <= 100
    report = json.loads(path.read_text())
    assert report["schema_version"] == 1
    assert report["measurements"][0]["met"] is False
    assert report["measurements"][1]["met"] is None
    assert "torch" in report["versions"]
    assert main(["bench", "--only", "planted", "--json", "-", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["measurements"] == report["measurements"]


def test_an_unknown_benchmark_is_named(capsys):
    with pytest.raises(GstoVizError, match="no benchmark 'speed'"):
        run_benchmarks(["speed"])
    assert main(["bench", "--only", "speed"]) == 2
    assert "choose region-table" in capsys.readouterr().err
