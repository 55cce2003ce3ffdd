"""No tooltip may have a field called ``image``: a browser fetches the picture that it names."""

import re
from pathlib import Path

import altair as alt
import pandas as pd

import gsto_viz.explorer
from gsto_viz.explorer import charts as size_charts


def names(spec, inside=False):
    """Yield every field and title of every tooltip of a chart."""
    if isinstance(spec, dict):
        if inside:
            yield from (spec[key] for key in ("field", "title") if key in spec)
        for key, value in spec.items():
            yield from names(value, inside or key == "tooltip")
    elif isinstance(spec, list):
        for value in spec:
            yield from names(value, inside)


def test_an_image_name_is_shown_and_not_fetched():
    url = "https://example.com/a.png"
    row = {"octave": 6.0, "q_A": 1.0, "image": url, "region": 1, "class": "car", "size_px": 64.0}
    chart = size_charts.scatter(pd.DataFrame([row]), "A", 0, ((5.0, 7.0), (0.0, 2.0)))
    spec = chart.to_dict()
    shown = list(names(spec))
    assert "of" in shown
    assert "image" not in shown
    values = [one for rows in spec["datasets"].values() for one in rows]
    assert [one["of"] for one in values] == [url]
    assert not any("image" in one for one in values)
    old = alt.Chart(pd.DataFrame([row])).mark_point().encode(tooltip=["image:N"]).to_dict()
    assert "image" in list(names(old))


def test_no_chart_of_the_explorer_has_a_field_called_image():
    folder = Path(gsto_viz.explorer.__file__).parent
    drawn = [path for path in folder.rglob("*.py") if "altair" in path.read_text()]
    assert len(drawn) > 4
    for path in drawn:
        assert not re.search(r"[\"']image:[NOQT]|field=[\"']image[\"']", path.read_text()), path
