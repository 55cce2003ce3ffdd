"""Links: what they hold comes back, and nothing that they hold can do harm."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gsto_viz.explorer.safe_text import plain, safe_name
from gsto_viz.explorer.view_state import MAX_SCENE, MODES, ViewState, parse_query

KEYS = ("one", "two/best.safetensors")
DEFAULT = ViewState(a="one", b="two/best.safetensors")

states = st.builds(
    ViewState,
    scene=st.integers(0, MAX_SCENE),
    a=st.sampled_from(KEYS),
    b=st.sampled_from(KEYS),
    mode=st.sampled_from(MODES),
    upload=st.none() | st.text("0123456789abcdef", min_size=16, max_size=16),
)
texts = st.text(max_size=40) | st.sampled_from(
    ["abc", "-1", "1e3", "9" * 5000, "٣", "0x1", " 1", "1\n", "../../etc/passwd", "<script>"]
)


@given(states)
def test_a_link_brings_its_view_back(state):
    assert parse_query(state.to_query(), DEFAULT, KEYS) == (state, ())


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["scene", "a", "b", "mode", "upload", "x"]) | texts, texts))
def test_whatever_a_link_holds_a_valid_view_comes_out(query):
    state, notices = parse_query(query, DEFAULT, KEYS)
    assert 0 <= state.scene <= MAX_SCENE
    assert state.a in KEYS
    assert state.b in KEYS
    assert state.mode in MODES
    assert state.upload is None or re.fullmatch("[0-9a-f]{16}", state.upload)
    # What was not left out is in the new link.
    kept = state.to_query()
    wrong = [key for key in ("a", "b", "mode", "upload") if kept.get(key) != query.get(key)]
    wrong = [key for key in wrong if key in query]
    text = query.get("scene", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        wrong.append("scene")
    assert sum("setting '" in notice for notice in notices) == len(wrong)


def test_each_bad_setting_is_named_and_changes_nothing():
    query = {"scene": "abc", "a": "../one", "b": "<script>", "mode": "jet", "upload": "zz"}
    query["elsewhere"] = "1"
    state, notices = parse_query(query, DEFAULT, KEYS)
    assert state == DEFAULT
    assert [re.findall(r"'(\w+)'", n) for n in notices[:5]] == [
        ["scene"],
        ["a"],
        ["b"],
        ["mode"],
        ["upload"],
    ]
    assert "does not know" in notices[5]
    assert "script" not in " ".join(notices)


def test_a_bad_setting_does_not_spoil_a_good_one():
    state, notices = parse_query({"scene": "12", "mode": "nonsense"}, DEFAULT, KEYS)
    assert (state.scene, state.mode, len(notices)) == (12, "percentile", 1)


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
