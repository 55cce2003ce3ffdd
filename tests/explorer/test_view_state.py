"""Links: what they hold comes back, and nothing that they hold can do harm."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsto_viz.explorer.texts import MAX_TEXT, box_ends, plain, safe_name, written_box, written_zoom
from gsto_viz.explorer.view_state import (
    ABSENT,
    COLORS,
    MAX_OBJECT,
    MAX_PIXEL,
    MAX_SCENE,
    MIN_OBJECT,
    ORDERS,
    PAGES,
    PANELS,
    PICKS,
    SCORES,
    SIZES,
    SOURCES,
    STEPS,
    TABS,
    Offered,
    ViewState,
    parse_query,
)
from gsto_viz.words import METHOD_LINKS, MODES

KEYS = ("one", "two/best.safetensors")
OFFERED = Offered(KEYS, images=("a", "b/c"), runs=(".", "x"))
DEFAULT = ViewState(a="one", b="two/best.safetensors")

shares = st.integers(0, 1000).map(lambda k: k / 1000)
pixels = st.integers(0, MAX_PIXEL)
names = st.none() | st.text(min_size=1, max_size=MAX_TEXT).filter(str.isprintable)
ends = st.floats(-110, 110)
boxes = st.builds(written_box, st.tuples(ends, ends), st.tuples(ends, ends))
zooms = st.builds(written_zoom, st.floats(0, 99), st.floats(-1, 2), st.floats(-1, 2))
fields = {
    "source": st.sampled_from(SOURCES),
    "scene": st.integers(0, MAX_SCENE),
    "image": st.none() | st.sampled_from(OFFERED.images),
    "upload": st.none() | st.text("0123456789abcdef", min_size=16, max_size=16),
    "a": st.sampled_from(KEYS),
    "b": st.sampled_from(KEYS),
    "more": st.none() | st.sampled_from(["one", "two/best.safetensors,one"]),
    "mode": st.sampled_from(tuple(MODES)),
    "colors": st.sampled_from(COLORS),
    "pick": st.sampled_from(PICKS),
    "opacity": st.integers(1, 10).map(lambda k: k / 10),
    "difference": st.booleans(),
    "relation": names,
    "head": st.none() | st.integers(0, 99),
    "gate": names,
    "force": st.booleans(),
    "value": shares,
    "run": st.none() | st.sampled_from(OFFERED.runs),
    "others": st.none() | st.sampled_from(["x", ".", ".,x"]),
    "size": st.sampled_from(SIZES),
    "cls": names,
    "gap": st.integers(1000, 4000).map(lambda k: k / 1000),
    "panel": st.sampled_from(PANELS),
    "method": st.sampled_from(tuple(METHOD_LINKS)),
    "target": names,
    "score": st.sampled_from(SCORES),
    "absent": st.sampled_from(ABSENT),
    "steps": st.sampled_from(STEPS),
    "object": names,
    "side": st.integers(MIN_OBJECT, MAX_OBJECT),
    "ox": shares,
    "oy": shares,
    "curves": st.booleans(),
    "tab": st.sampled_from(TABS),
    "zoom": zooms,
    "box_a": boxes,
    "box_b": boxes,
    "order": st.sampled_from(ORDERS),
    "sheet": st.integers(1, 9999),
}
points = st.none() | st.tuples(pixels, pixels)
texts = st.text(max_size=40) | st.sampled_from(
    ["abc", "-1", "1e3", "nan", "9" * 5000, "٣", "0x1", " 1", "1\n", "../../etc/passwd", "<script>"]
)


@given(st.fixed_dictionaries(fields), points, points, st.sampled_from(sorted(PAGES)))
def test_a_link_brings_its_view_back(values, probe, pin, page):
    x, y = probe or (None, None)
    px, py = pin or (None, None)
    state = ViewState(**values, x=x, y=y, px=px, py=py)
    back, notices = parse_query(state.to_query(page), page, DEFAULT, OFFERED)
    assert notices == ()
    for name in PAGES[page].settings:
        expected = getattr(state, name)
        assert getattr(back, name) == (getattr(DEFAULT, name) if expected is None else expected)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from([*fields, "x", "y", "px"]) | texts, texts),
    st.sampled_from(sorted(PAGES)),
)
def test_whatever_a_link_holds_a_valid_view_comes_out(query, page):
    state, notices = parse_query(query, page, DEFAULT, OFFERED)
    again, none = parse_query(state.to_query(page), page, DEFAULT, OFFERED)
    assert none == ()
    assert again == state
    assert (state.x is None) == (state.y is None)
    for name in set(ViewState.__dataclass_fields__) - set(PAGES[page].settings):
        assert getattr(state, name) == getattr(DEFAULT, name)
    for notice in notices:
        assert not any(text in notice for text in query.values() if len(text) > 20)


BAD = {
    "source": "ftp",
    "scene": "abc",
    "image": "../b",
    "upload": "zz",
    "a": "../one",
    "b": "<script>",
    "more": "one,/etc",
    "mode": "nonsense",
    "colors": "",
    "x": "-1",
    "y": "abc",
    "px": "1" * 400,
    "py": "1.5",
    "pick": "object",
    "difference": "yes",
    "opacity": "0",
    "relation": "x" * (MAX_TEXT + 1),
    "head": "-1",
    "gate": "a\x00b",
    "force": "2",
    "value": "nan",
    "run": "/etc",
    "others": "x,/etc",
    "size": "1",
    "cls": "x" * (MAX_TEXT + 1),
    "gap": "inf",
    "panel": "B - A",
    "method": "lime",
    "target": "\n",
    "score": "sum",
    "absent": "none",
    "steps": "17",
    "object": "",
    "side": "3",
    "ox": "1.1",
    "oy": "1e-1",
    "curves": "true",
    "tab": "Glossary",
    "zoom": "33,0,0",
    "box_a": "1,2,3",
    "box_b": "5,4,0,1",
    "order": "best",
    "sheet": "0",
}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_each_bad_setting_is_named_and_changes_nothing(page):
    query = {name: BAD[name] for name in PAGES[page].settings} | {"elsewhere": "1"}
    state, notices = parse_query(query, page, DEFAULT, OFFERED)
    assert state == DEFAULT
    named = [found for n in notices for found in re.findall(r"setting '(\w+)'", n)]
    assert sorted(named) == sorted(PAGES[page].settings)
    assert "does not know" in notices[-1]
    assert not re.search("script|etc|passwd|111", " ".join(notices))


@pytest.mark.parametrize(
    ("zoom", "left", "top", "expected"),
    [
        (1.5, 0.25, 0.1, "1.5,0.25,0.1"),
        (1.5, 0.9, -1.0, "1.5,0.3333,0"),
        (2.34567, 0.123456, 0.5, "2.346,0.1235,0.5"),
        (99.0, 0.5, 0.96875, "32,0.5,0.9688"),
        (2.0, 0.0, -0.0, "2,0,0"),
        (1.0, 0.0, 0.0, None),
        (1.0004, 0.0, 0.0, None),
        (0.0, 0.0, 0.0, None),
        (float("nan"), 0.0, 0.0, None),
        (2.0, float("inf"), 0.0, None),
    ],
)
def test_a_part_of_the_image_is_written_short_and_inside(zoom, left, top, expected):
    assert written_zoom(zoom, left, top) == expected


@pytest.mark.parametrize(
    "text", ["2", "2,0", "2,0,0,0", "1,0,0", "2,0.6,0", "2,0,-0", "a,0,0", "2,0,0\n", "1e1,0,0"]
)
def test_what_is_no_part_of_the_image_is_left_out(text):
    state, notices = parse_query({"zoom": text}, "explore", DEFAULT, OFFERED)
    assert state.zoom is None
    assert len(notices) == 1


def test_a_box_is_written_short_and_read_back():
    assert written_box((7.5, 3.25), (-0.12345, 1)) == "3.25,7.5,-0.123,1"
    assert written_box((0, 100), (0, 1)) is None
    assert written_box((0, float("nan")), (0, 1)) is None
    assert written_box((-0.0001, 1), (0, 1)) == "0,1,0,1"
    assert box_ends("3.25,7.5,-0.123,1") == ((3.25, 7.5), (-0.123, 1.0))


@pytest.mark.parametrize("text", ["", "x,", "x,x", ",".join("abcdef"), "x;."])
def test_runs_to_compare_with_are_each_offered_and_each_once(text):
    offered = Offered(KEYS, runs=(".", *"abcdefx"))
    state, notices = parse_query({"others": text}, "runs", DEFAULT, offered)
    assert state.others is None
    assert len(notices) == 1


@pytest.mark.parametrize("text", ["", "one,", "one,one", ",".join("abcdefg")])
def test_further_networks_are_each_offered_and_each_once(text):
    offered = Offered([*KEYS, *"abcdefg"])
    state, notices = parse_query({"more": text}, "explore", DEFAULT, offered)
    assert state.more is None
    assert "names checkpoints that are not offered here, or more than 6" in notices[0]
    state, notices = parse_query({"more": "a,b,c,d,e,f"}, "explore", DEFAULT, offered)
    assert (state.more, notices) == ("a,b,c,d,e,f", ())


def test_every_setting_belongs_to_a_page_and_says_what_it_means():
    on_pages = {name for page in PAGES.values() for name in page.settings}
    assert on_pages == set(ViewState.__dataclass_fields__)
    assert all(row.metadata["meaning"] for row in ViewState.__dataclass_fields__.values())


def test_a_bad_setting_does_not_spoil_a_good_one():
    query = {"scene": "12", "mode": "nonsense", "x": "5", "y": "abc"}
    state, notices = parse_query(query, "explore", DEFAULT, OFFERED)
    assert (state.scene, state.mode, len(notices)) == (12, "percentile", 2)
    # Half a point is no point.
    assert (state.x, state.y) == (None, None)


@given(st.text())
def test_safe_names_are_safe_everywhere(text):
    name = safe_name(text)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", name)
    assert not name.startswith((".", "-"))


def test_safe_name_keeps_ordinary_names():
    assert safe_name("0016E5_07959.jpg") == "0016E5_07959.jpg"
    assert safe_name("../../a $x$.png") == "a-x-.png"
    assert safe_name("???", "checkpoint") == "checkpoint"


def test_plain_text_has_no_markdown_left():
    assert plain("a *b* [c](d) $e$ :material/home: `f`\n# g") == (
        r"a \*b\* \[c\]\(d\) \$e\$ \:material/home\: \`f\` \# g"
    )
