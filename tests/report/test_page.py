"""The page of a report: figures as inert SVG, G in words, few pairs, worst pairs."""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.report.examples import worst_pairs
from gsto_viz.report.headline import headline_value
from gsto_viz.report.inline import inline_svg
from gsto_viz.report.linked import viewer_json
from gsto_viz.report.page import page
from gsto_viz.stats import Estimate, selectivity_words
from gsto_viz.words import OBJECTS

HOSTILE = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="9pt" height="9pt" viewBox="0 0 9 9" onload="alert(1)">
 <script>alert(2)</script><metadata>about</metadata>
 <defs><style>@import url(//host/a.css);</style><path id="m1" d="M 1.23456 2 L 3 4"/></defs>
 <g id="figure_1"><use xlink:href="#m1" style="fill: #000000; background: url(//host/b)"/>
 <use xlink:href="//host/c.svg#m1"/><image href="https://host/d.png"/>
 <a href="javascript:alert(3)"><text>link</text></a>
 <text x="1" onclick="alert(4)">a &lt;b&gt; c</text></g></svg>"""


def test_an_inline_figure_fetches_nothing_runs_nothing_and_keeps_its_text():
    made = inline_svg(HOSTILE, "toys", 'Toys "here"')
    root = ET.fromstring(made)
    assert root.attrib == {
        "role": "img", "aria-label": 'Toys "here"', "viewBox": "0 0 9 9",
    }  # fmt: skip
    assert not re.search(r"host|script|alert|metadata|import", made)
    assert "".join(root.itertext()).strip() == "a <b> c"
    assert root.find(".//path").attrib == {"d": "M 1.23 2 L 3 4", "id": "toys-m1"}
    assert [one.attrib for one in root.iter("use")] == [
        {"href": "#toys-m1", "style": "fill:currentColor"},
        {},
    ]
    with pytest.raises(GstoVizError, match="figure toys is not an SVG"):
        inline_svg("PNG", "toys", "")


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (-0.045, -0.058, -0.031, "slightly the wrong way round"),
        (-0.3, -0.4, -0.2, "open the wrong way round"),
        (0.05, 0.01, 0.09, "slightly the right way round"),
        (0.01, -0.02, 0.03, "not told apart"),
        (0.2, None, None, "Without an interval"),
        (None, None, None, "not estimated"),
    ],
)
def test_g_is_said_in_words(value, low, high, expected):
    assert expected in selectivity_words(Estimate(value, low, high, 24, 100))


def test_an_index_of_few_pairs_is_not_written_as_a_number():
    one = Estimate(1.0, None, None, 1, 1, "one image")
    assert headline_value(one) == "too few pairs to say (1 pair)"
    assert headline_value(one, OBJECTS).startswith("1.000")
    assert headline_value(Estimate(0.25, 0.2, 0.3, 9, 20)) == "0.250 [0.200, 0.300]"


def test_the_worst_pair_is_the_widest_gap_times_error():
    # Region 1 against 2: 5 octaves and 0.1; against 3: 3 octaves and 1.0, which is worse.
    table = pd.DataFrame(
        {
            "image": "i",
            "region": [1, 2, 3],
            "area_px": [4**3, 4**8, 4**6],
            "size_octave": [3.0, 8.0, 6.0],
            "q": [1.0, 0.9, 0.0],
            "qualifies": True,
        }
    )
    (found,) = worst_pairs(table, "A")
    assert (found.small_region, found.large_region, found.error) == (1, 3, 3.0)


def test_the_policy_names_the_script_that_the_page_has(analysis):
    text = page(analysis, ())
    (script,) = re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in text
    assert "export default function mount(" in script
    assert text.index('id="answer"') < text.index('id="images"') < text.index('id="method"')


def test_the_viewer_has_the_numbers_of_the_examples(analysis):
    values = json.loads(viewer_json(analysis))
    assert [one["image"] for one in values["images"]] == [
        one.sample.id for one in analysis.examples
    ][: len(values["images"])]
    one, example = values["images"][0], analysis.examples[0]
    tile = one["modes"]["per_map"]["B"][3]
    numbers = base64.b64decode(one["pool"][tile["numbers"]])
    assert numbers == example.looks["B"].raw[3].astype("<f4").tobytes()
    table = analysis.table("A")
    row = table[(table["image"] == one["image"]) & table["q"].notna()].iloc[0]
    fact = one["facts"][str(row["region"])]
    assert fact["area"] == row["area_px"]
    assert fact["q"]["A"] == pytest.approx(row["q"], abs=5e-4)
