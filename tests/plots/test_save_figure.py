import resource
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, maps_figure, save_figure
from gsto_viz.plots.page import context, shorten, text_width, wrap

SCRIPT = """
import sys
import numpy as np
from gsto_viz.plots import maps_figure, save_figure
maps = {"stem": np.arange(128.0).reshape(8, 16)}
figure = maps_figure(maps, np.zeros((32, 64, 3), np.uint8), strides={"stem": 4})
save_figure(figure, sys.argv[1], formats=("pdf", "png", "svg"))
assert "matplotlib.pyplot" not in sys.modules
assert "torch" not in sys.modules
"""


def figure():
    maps = {"stem": np.arange(128.0).reshape(8, 16)}
    return maps_figure(maps, np.zeros((32, 64, 3), np.uint8), strides={"stem": 4})


def test_same_figure_same_bytes_in_another_process(tmp_path):
    files = save_figure(figure(), tmp_path / "here.v1", formats=("pdf", "png", "svg"))
    assert [file.name for file in files] == ["here.v1.pdf", "here.v1.png", "here.v1.svg"]
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "there")], check=True)
    for file in files:
        other = tmp_path / f"there{file.suffix}"
        assert file.read_bytes() == other.read_bytes(), file.suffix


def test_files_carry_alt_text_and_no_date(tmp_path):
    drawn = figure()
    pdf, png, svg = save_figure(drawn, tmp_path / "f", formats=("pdf", "png", "svg"))
    text = svg.read_text()
    assert alt_text(drawn) in text
    assert "<text" in text
    assert "<dc:date>" not in text
    assert alt_text(drawn).encode() in png.read_bytes()
    content = pdf.read_bytes()
    assert b"CreationDate" not in content
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content


def test_failures_leave_nothing_behind(tmp_path):
    with pytest.raises(GstoVizError, match="jpeg"):
        save_figure(figure(), tmp_path / "f", formats=("png", "jpeg"))
    with pytest.raises(GstoVizError, match="choose from"):
        save_figure(figure(), tmp_path / "f", formats=())
    (tmp_path / "f.png").mkdir()
    with pytest.raises(GstoVizError, match="cannot write"):
        save_figure(figure(), tmp_path / "f", formats=("png",))
    assert [p.name for p in tmp_path.iterdir()] == ["f.png"]


@pytest.mark.parametrize("name", ["pdf", "png", "svg"])
def test_a_full_disk_is_one_sentence(name, tmp_path):
    drawn = figure()
    drawn.canvas.draw()  # caches of fonts are written before
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        with pytest.raises(GstoVizError, match=rf"cannot write .*f\.{name}: File too large"):
            save_figure(drawn, tmp_path / "f", formats=(name,))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def _fail_in_style():
    with context():
        raise RuntimeError("stop")


def test_style_is_put_back_also_after_an_exception():
    before = dict(mpl.rcParams)
    with context():
        assert mpl.rcParams["pdf.fonttype"] == 42
    with pytest.raises(RuntimeError, match="stop"):
        _fail_in_style()
    assert dict(mpl.rcParams) == before
    figure()
    assert dict(mpl.rcParams) == before


def test_text_is_broken_and_shortened_to_the_width():
    text = "words of several lengths that need more than one line of text"
    broken = wrap(text, 1.0, 7.0)
    assert broken.replace("\n", " ") == text
    assert max(text_width(line, 7.0) for line in broken.split("\n")) <= 1.0
    short = shorten(text, 1.0, 7.0)
    assert text_width(short, 7.0) <= 1.0
    assert short.startswith("words")
    assert short.endswith("text")
    assert shorten("fits", 1.0, 7.0) == "fits"


def test_as_much_of_a_text_is_kept_as_fits():
    text = "frankfurt_000001_Will.AVToday-left"
    for width in (0.05, 0.3, 0.8, 1.3):
        fitting = ["…"]
        for keep in range(2, len(text)):
            tail = keep // 2
            candidate = text[: keep - tail] + "…" + text[len(text) - tail :]
            if text_width(candidate, 7.0) <= width:
                fitting.append(candidate)
        assert shorten(text, width, 7.0) == fitting[-1]
    assert len(shorten("x" * 100_000, 1.0, 7.0)) < 40
