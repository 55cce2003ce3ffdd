"""The figure of a view: exact tiles, marks where the pixels are, words that do not collide."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gsto_viz.activity import gate_map, normalise
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import Marks, Panel, PanelRow, alt_text, figure_view, save_figure
from gsto_viz.words import RAW_BADGE

SIZE = (64, 96)
STRIDES = (4, 8, 16, 32)


@pytest.fixture
def view(make_sample, make_inspection):
    """Rows of a view, and its sample."""

    def make(size=SIZE, mode="percentile", name="net", title="Difference (12.3 %)"):
        sample = make_sample(size)
        a, b = make_inspection(size, name), make_inspection(size, name, seed=1)
        maps = normalise([a, b], mode)
        rows = [
            PanelRow(
                "",
                [
                    Panel("Input", pixels=sample.image),
                    Panel("Ground truth", labels=sample.labels),
                    Panel("Prediction", labels=a.prediction),
                    Panel(title, labels=sample.labels, unmarked="they agree"),
                ],
            )
        ]
        for letter, own in zip("AB", maps, strict=True):
            panels = [Panel(f"{letter} /{one.stride}", heat=one) for one in own]
            rows.append(PanelRow(f"{letter}: {name}", panels, note="a unit"))
        return sample, rows

    return make


def axes_of(figure, label):
    (ax,) = (ax for ax in figure.axes if ax.get_label() == label)
    return ax


def test_tiles_hold_the_arrays_at_native_cells(view, make_classes):
    sample, rows = view()
    figure = figure_view(rows, image=sample.image, classes=make_classes(5))
    (picture,) = axes_of(figure, "Input").images
    np.testing.assert_array_equal(picture.get_array(), sample.image)
    (labels,) = axes_of(figure, "Ground truth").images
    pixels = labels.get_array()
    for i, j in ((0, 0), (63, 95), (30, 40), (21, 32)):
        k = int(sample.labels[i, j])
        assert tuple(pixels[i, j]) == ((176, 176, 176) if k == 255 else (k, 255 - k, 7))
    for panel in (panel for row in rows[1:] for panel in row.panels):
        (image,) = axes_of(figure, panel.title).images
        np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), panel.heat.values)
        assert image.get_clim() == (panel.heat.low, panel.heat.high)
        rows_, columns = panel.heat.values.shape
        stride = panel.heat.stride
        assert tuple(image.get_extent()) == (0, columns * stride, rows_ * stride, 0)
    assert {i.get_interpolation() for ax in figure.axes for i in ax.images} == {"none"}


def test_vector_files_hold_one_pixel_per_cell(view, make_classes, tmp_path):
    sample, rows = view()
    figure = figure_view(rows, image=sample.image, classes=make_classes(5))
    svg, pdf = save_figure(figure, tmp_path / "view", formats=("svg", "pdf"))
    text = svg.read_text(encoding="utf-8")
    found = re.findall(r"data:image/png;base64,\s*([^\"]+)\"", text)
    sizes = [Image.open(io.BytesIO(base64.b64decode(one))).size for one in found]
    for stride in STRIDES:
        assert sizes.count((96 // stride, 64 // stride)) == 2
    assert sizes.count((96, 64)) == 4
    assert "A: net" in text
    content = pdf.read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


@pytest.mark.parametrize("opacity", [1.0, 0.3])
def test_maps_lie_over_the_image_in_its_colours(view, make_classes, opacity):
    sample, rows = view()
    figure = figure_view(rows, image=sample.image, classes=make_classes(5), opacity=opacity)
    images = axes_of(figure, "B /16").images
    assert len(images) == (1 if opacity == 1 else 2)
    assert images[-1].get_alpha() == opacity
    if opacity < 1:
        np.testing.assert_array_equal(images[0].get_array(), sample.image)
    assert len(axes_of(figure, "Ground truth").images) == 1


def test_marks_lie_where_the_pixels_are(view, make_classes):
    sample, rows = view()
    outline = np.zeros(SIZE, bool)
    outline[40:64, 70:96] = True
    outline[45:50, 80:85] = False
    marks = Marks(probe=(77, 31), pin=(0, 63), outline=outline)
    figure = figure_view(rows, image=sample.image, classes=make_classes(5), marks=marks)
    border = 0
    for y, x in np.argwhere(outline):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            inside = 0 <= y + dy < 64 and 0 <= x + dx < 96
            border += not (inside and outline[y + dy, x + dx])
    for label, stride in (("Input", 1), ("Prediction", 1), ("A /4", 4), ("B /32", 32)):
        ax = axes_of(figure, label)
        points = {line.get_marker(): line.get_xydata().tolist() for line in ax.lines}
        assert points == {"+": [[77.5, 31.5]], "s": [[0.5, 63.5]]}
        assert [line.get_markeredgecolor() for line in ax.lines] == ["black"] * 2 + ["white"] * 2
        lengths = []
        for patch in ax.patches:
            vertices = patch.get_path().vertices
            if len(vertices) != 5:
                steps = np.abs(np.diff(vertices.reshape(-1, 2, 2), axis=1)).sum()
                lengths.append(float(steps))
        assert lengths == [border, border]
        frames = [p.get_bbox().bounds for p in ax.patches if len(p.get_path().vertices) == 5]
        x, y = stride * (77 // stride), stride * (31 // stride)
        assert frames == ([(x, y, stride, stride)] * 2 if stride > 1 else [])
        assert (ax.get_xlim(), ax.get_ylim()) == ((0, 96), (64, 0))


def test_only_classes_that_are_there_are_named(view, make_classes, all_text):
    sample, rows = view()
    figure = figure_view(rows, image=sample.image, classes=make_classes(9))
    words = all_text(figure)
    assert {word for word in words if word.startswith("class ")} == {f"class {k}" for k in range(5)}
    caption = words[-1] if "Grey" in words[-1] else next(w for w in words if "Grey" in w)
    said = " ".join(caption.split())
    assert "Grey in Ground truth: not annotated." in said
    assert "Grey in Difference: they agree." in said


@pytest.mark.parametrize("mode", ["percentile", "shared", "per_map", "zscore"])
def test_rows_of_raw_maps_carry_the_badge(view, make_classes, all_text, mode):
    sample, rows = view(mode=mode)
    figure = figure_view(rows, image=sample.image, classes=make_classes(5))
    raw = mode in ("shared", "per_map")
    assert all_text(figure).count(RAW_BADGE) == (2 if raw else 0)
    assert all_text(figure).count("a unit") == (0 if raw else 2)


LONG, WORDS = "a-long-name-" * 30 + "$x_1$", "many words " * 40


@pytest.mark.parametrize(
    ("size", "name"),
    [(SIZE, "net"), (SIZE, LONG), ((40, 509), WORDS), ((256, 61), LONG), ((33, 33), WORDS)],
)
def test_words_never_collide(view, make_classes, check_text, size, name):
    title = "B where it differs from A (12.3 %)"
    sample, rows = view(size, "shared", name, title)
    figure = figure_view(
        rows,
        image=sample.image,
        classes=make_classes(40),
        caption=f"A: {name}. One cell of stride s covers s x s pixels.",
    )
    check_text(figure)
    assert figure.get_figwidth() == 8


def gate_rows(make_inspection, size, name, chosen):
    inspection = make_inspection(size, name, gated=True)
    rows = [PanelRow(f"A: {name}", []), PanelRow(f"B: {name}", [])]
    for module in ("stage4.m0", "stage4.m1"):
        panels = []
        for tap, values in inspection.gates.items():
            if not tap.startswith(module):
                continue
            source, target = int(tap[-5]), int(tap[-2])
            heat = gate_map(values, stride=STRIDES[source], limits=(0.5, 1.0))
            title = f"/{STRIDES[source]} → /{STRIDES[target]}"
            place = (source, target)
            panels.append(Panel(title, heat=heat, cell=place, chosen=tap == chosen))
        rows.append(PanelRow(f"Module {module}", panels, columns=4))
    return rows


@pytest.mark.parametrize("size", [SIZE, (256, 61)])
def test_blocks_stand_side_by_side_each_tile_at_its_cell(
    make_sample, make_inspection, make_classes, check_text, size
):
    sample = make_sample(size)
    chosen = "stage4.m1.gate[3->0]"
    rows = gate_rows(make_inspection, size, "b" * 200, chosen)
    figure = figure_view(rows, image=sample.image, classes=make_classes(5))
    check_text(figure)
    tiles = [ax for ax in figure.axes if ax.images]
    assert len(tiles) == 32
    middles = [(ax.get_position().x0 + ax.get_position().x1) / 2 for ax in tiles]
    tops = [ax.get_position().y1 for ax in tiles]
    for first in (0, 16):
        for k in range(16):
            row, column = divmod(k, 4)
            assert tops[first + k] == pytest.approx(tops[4 * row])
            assert middles[first + k] == pytest.approx(middles[first + column])
    assert max(middles[:16]) < min(middles[16:])
    assert min(tops[:4]) > max(tops[4:8])
    frames = [ax.spines["left"].get_linewidth() for ax in tiles]
    assert frames.index(max(frames)) == 16 + 12
    assert sorted(frames)[-2] < max(frames)


def test_the_alt_text_names_the_tiles(view, make_classes):
    sample, rows = view()
    figure = figure_view(rows, image=sample.image, classes=make_classes(5), caption="Scene 3.")
    said = alt_text(figure)
    for words in ("Ground truth", "A: net: A /4, A /8", "Scene 3."):
        assert words in said


def test_what_cannot_be_drawn_is_refused(view, make_classes):
    sample, rows = view()
    classes = make_classes(5)
    with pytest.raises(GstoVizError, match="is 0 of them"):
        Panel("empty")
    with pytest.raises(GstoVizError, match="is 2 of them"):
        Panel("both", pixels=sample.image, labels=sample.labels)
    with pytest.raises(GstoVizError, match="without tiles"):
        figure_view([PanelRow("A", [])], image=sample.image, classes=classes)
    with pytest.raises(GstoVizError, match="maps of this image"):
        figure_view(rows, image=sample.image[:-1], classes=classes)
    wrong = [PanelRow("", [Panel("A", heat=replace(rows[1].panels[0].heat, stride=8))])]
    with pytest.raises(GstoVizError, match="makes"):
        figure_view(wrong, image=sample.image, classes=classes)
