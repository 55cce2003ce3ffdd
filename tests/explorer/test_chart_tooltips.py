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
    field = r"(?:field|title)=[\"']{0}[\"']|[\"']{0}(?::[NOQT])?[\"']\s*(?=[,\]])"
    # What a tooltip takes for a picture, and what opens an address.
    for name in ("image", "href", "url"):
        for path in drawn:
            tips = re.findall(r"tooltip=\[.*?\]", path.read_text(), re.DOTALL)
            assert not any(re.search(field.format(name), tip) for tip in tips), (path, name)
            assert f"{name}=alt." not in path.read_text(), (path, name)


def contrast(text: str, ground: str) -> float:
    """Contrast of two colours after WCAG 2."""
    light = []
    for color in (text, ground):
        parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_text_of_charts_can_be_read():
    assert contrast("#808495", "#ffffff") < 4.5
    assert contrast(size_charts.TEXT["light"], "#ffffff") > 7
    assert contrast(size_charts.TEXT["dark"], "#0e1117") > 7
    spec = alt.Chart(pd.DataFrame({"x": [1]})).mark_point().encode(x="x:Q").to_dict()
    assert spec["config"]["axis"]["labelColor"] == size_charts.TEXT["light"]
