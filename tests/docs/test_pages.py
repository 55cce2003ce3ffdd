"""Documentation that shows numbers: its code is run and its output compared."""

import ast
import contextlib
import io
import json
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from gsto_viz.cli import main
from gsto_viz.data import DATA_SETS, load_data, read_image, write_png
from gsto_viz.explorer.checkpoints import list_choices
from gsto_viz.report.tables import TABLES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDE = ROOT / "gsto_viz" / "guide"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *GUIDE.glob("*.md"))
RENEW = runpy.run_path(str(DOCS / "renew.py"))
HOOKS = runpy.run_path(str(DOCS / "hooks.py"))
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def without_code(text: str) -> str:
    """Return a page without its code: what looks like a link there is none."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S))


def anchor(heading: str) -> str:
    """Return what a code host and the site make of a heading."""
    words = re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()).strip()
    return re.sub(r"\s", "-", words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(without_code(page.read_text(encoding="utf-8"))):
        target, _, part = (match[1] or match[2]).partition("#")
        if target.startswith(("https:", "http:")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), target
        if part:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            assert part in {anchor(heading) for heading in headings}, f"{target}#{part}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_table_has_a_head(page: Path) -> None:
    """Without one its rows are shown as text."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", [*table.splitlines(), ""][1]), table


def test_every_page_is_in_the_navigation_and_none_is_missing() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/.]+\.md)\b", text.partition("nav:")[2]))
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} < named
    for page in named:
        homes = [path for path, home in HOOKS["HOMES"].items() if home == page]
        room = re.fullmatch(r"api/(\w+)\.md", page)
        rooms = room and [f"gsto_viz/{room[1]}.py", f"gsto_viz/{room[1]}/__init__.py"]
        places = [f"docs/{page}", page.removeprefix("repository/"), *homes, *(rooms or ())]
        assert any((ROOT / place).is_file() for place in places), page


def test_links_of_the_repository_become_links_of_the_site() -> None:
    rewritten = HOOKS["rewritten"]
    assert rewritten("README.md", "[a](docs/files.md#networks)") == "[a](files.md#networks)"
    guide = "gsto_viz/guide/how_to_read_sci.md"
    assert rewritten("docs/files.md", f"[a](../{guide})") == "[a](how_to_read_sci.md)"
    picture = "![a](repository/gsto_viz/guide/worked_example.png)"
    assert rewritten(guide, "![a](worked_example.png)") == picture
    room = "[a](../../gsto_viz/stats/__init__.py)"
    assert rewritten("docs/api/index.md", room) == "[a](stats.md)"
    code = "```sh\n[a](docs/files.md)\n```"
    assert rewritten("README.md", code) == code
    assert rewritten("README.md", "[a](https://x/docs/files.md)") == "[a](https://x/docs/files.md)"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_what_the_package_says(page: Path) -> None:
    """``python docs/renew.py`` writes them."""
    text = page.read_text(encoding="utf-8")
    assert text == RENEW["renewed"](text)
    assert text.count("<!-- table: ") == len(RENEW["BLOCK"].findall(text))


def test_every_table_has_its_place() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in RENEW["BLOCKS"]:
        assert text.count(f"<!-- table: {name} -->") == 1


def test_the_picture_of_the_worked_example_is_the_example() -> None:
    assert np.array_equal(read_image(GUIDE / "worked_example.png"), RENEW["example_picture"]())


def templates() -> set[str]:
    """Return every text of the package's code, ``…`` for what is filled in."""
    found = set()
    for path in (ROOT / "gsto_viz").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.add("".join(getattr(part, "value", "") if isinstance(part, ast.Constant)
                                  else "…" for part in node.values))  # fmt: skip
    return found


def test_messages_are_those_of_the_code() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    assert len(quoted) > 30
    known = templates()
    for message in quoted:
        form = re.compile(".*".join(map(re.escape, message.split("…"))), re.S)
        assert any(form.fullmatch(one) for one in known), message


def test_attribution_from_python_adds_up() -> None:
    text = (DOCS / "attribution.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    scope: dict = {}
    exec(code, scope)
    table = scope["table"].dropna(subset=["psi_0"])
    assert len(table) > 5
    for name, total in (("psi", table["margin"] - table["margin_base"]), ("phi", 1)):
        parts = table[[f"{name}_{r}" for r in range(4)]]
        assert np.allclose(parts.sum(axis=1), total, atol=1e-4)


def test_label_maps_are_converted_as_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS / "labels.md").read_text(encoding="utf-8")
    start, colours, numbers, look = re.findall(r"```python\n(.*?)```", text, re.S)
    (classes,) = re.findall(r"```json\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    Path("masks").mkdir()
    Path("data").mkdir()
    Path("data/classes.json").write_text(classes, encoding="utf-8")
    ids = np.random.default_rng(0).integers(0, 3, (40, 50))
    write_png(Path("data/images/a.png"), np.zeros((40, 50, 3), np.uint8))
    palette = np.array([one["color"] for one in json.loads(classes)["classes"]], np.uint8)
    write_png(Path("masks/a.png"), palette[ids])
    exec(start + colours, {})
    exec(look, {})
    assert np.array_equal(load_data("folder:data")[0].labels, ids)
    stored = np.array([0, 1, 7, 11], np.uint8)[np.append(3, ids[0, 1:])[None].repeat(40, axis=0)]
    write_png(Path("masks/a.png"), stored)
    exec(start + numbers, {})
    read = load_data("folder:data")[0].labels
    for old, new in {0: 255, 1: 0, 7: 1, 11: 2}.items():
        assert (read[stored == old] == new).all()
    write_png(Path("masks/a.png"), stored + 100)
    with pytest.raises(AssertionError, match="which the table does not name"):
        exec(start + numbers, {})


def test_the_worked_example_of_sci_prints_what_the_page_shows() -> None:
    text = (GUIDE / "how_to_read_sci.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)
    shown = re.search(r"```text\n(.*?)```", text, re.S)
    assert code is not None
    assert shown is not None
    printed = io.StringIO()
    scope: dict = {}
    with contextlib.redirect_stdout(printed):
        exec(code[1], scope)
    assert printed.getvalue() == shown[1]
    table = scope["gv"].region_table(
        scope["labels"], [-scope["fine"], -scope["coarse"]], strides=(4, 8)
    )
    assert scope["gv"].stats.sci(table).value == pytest.approx(2 / 3)


def test_the_data_dictionary_lists_the_tables_of_the_register() -> None:
    lines = (DOCS / "data_dictionary.md").read_text(encoding="utf-8").splitlines()
    expected = [
        f"| `{one.name}.parquet` | {', '.join(one.key)} | {one.meaning} |"
        for one in TABLES.values()
    ]
    at = lines.index("| file | one row per | what for |") + 2
    assert lines[at : at + len(expected)] == expected
    assert ".parquet" not in lines[at + len(expected)]


def test_every_data_set_has_its_section() -> None:
    text = (DOCS / "data_sets.md").read_text(encoding="utf-8")
    for name, row in DATA_SETS.items():
        assert f"`{name}:PATH[:" + ("SPLIT" if name == "folder" else "|".join(row.splits)) in text


def test_another_data_set_is_made_as_the_page_shows(tmp_path: Path) -> None:
    text = (DOCS / "data_sets.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from gsto_viz.data import DATA_SETS.*?)```", text, re.S)
    before = dict(DATA_SETS)
    try:
        exec(code, {})
        write_png(tmp_path / "val" / "a.png", np.zeros((4, 6, 3), np.uint8))
        write_png(tmp_path / "masks" / "a.png", np.full((4, 6), 7, np.uint8))
        assert load_data(f"toys:{tmp_path}")[0].labels.tolist() == [[7] * 6] * 4
    finally:
        DATA_SETS.clear()
        DATA_SETS.update(before)


def test_bring_your_own_model_runs_and_prints_what_the_page_shows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = (DOCS / "bring_your_own_model.md").read_text(encoding="utf-8")
    factory, analysis, deep = re.findall(r"```python\n(.*?)```", text, re.S)
    (taps,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    shown = re.findall(r"```text\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    Path("my_network.py").write_text(factory, encoding="utf-8")
    assert main(["doctor", "my_network.py:build", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert printed.out == shown[0]
    assert caplog.messages == ["running the code of my_network.py:build"]
    scope: dict = {}
    exec(factory + analysis, scope)
    assert capsys.readouterr().out == shown[1]
    Path("taps.yaml").write_text(taps, encoding="utf-8")
    Path("deep.py").write_text(deep, encoding="utf-8")
    lines = "".join(re.findall(r"```sh\n(.*?)```", text, re.S)).splitlines()
    assert len(lines) == 3
    for line in lines:
        assert main([*shlex.split(line)[1:], "--device", "cpu"]) == 0, line
    assert main([*shlex.split(lines[-1].replace("--output 1 ", ""))[1:]]) == 2
    assert "say which one is meant: --output" in capsys.readouterr().err


def test_a_loop_of_your_own_makes_a_file_that_everything_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    section = text[text.index("## A loop of your own") :]
    code = re.search(r"```python\n(.*?)```", section, re.S)
    commands = re.search(r"```sh\n(.*?)```", section, re.S)
    assert code is not None
    assert commands is not None
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(code[1], scope)
    evaluate, analyze, app = (shlex.split(line) for line in commands[1].splitlines())
    assert main([*evaluate[1:], "--json", "e.json"]) == 0
    assert main([*analyze[1:], "--device", "cpu"]) == 0
    choices, left_out = list_choices(Path(app[-1]))
    assert left_out == ()
    (mine,) = [one for one in choices if one.key == "mine.safetensors"]
    assert mine.classes == scope["data"].classes
    # Other classes start from it.
    tuning = text[text.index("## Fine-tuning") :]
    line = re.search(r"```sh\n(.*?)```", tuning, re.S)
    assert line is not None
    names = mine.classes.to_json()["classes"][:3]
    for index, sample in enumerate(load_data("scenes:count=2,size=64x96")):
        write_png(Path(f"toys/images/{index}.png"), sample.image)
        write_png(Path(f"toys/labels/{index}.png"), sample.labels % 3)
    classes = json.dumps({"name": "toys", "ignore": 255, "classes": names})
    Path("toys/classes.json").write_text(classes, encoding="utf-8")
    words = shlex.split(line[1].replace("\\\n", " "))
    assert main([*words[1:], "--device", "cpu"]) == 0
    # The file is the network: own predictions with the loop's normalisation give the scores.
    model, right, seen = scope["model"].eval(), 0, 0
    for sample in load_data("scenes:count=4,size=64x96", purpose="eval"):
        values = (sample.image / 255 - np.array(scope["MEAN"])) / np.array(scope["STD"])
        batch = torch.from_numpy(values.transpose(2, 0, 1)[None]).float()
        with torch.no_grad():
            logits = torch.nn.functional.interpolate(
                model(batch).logits, sample.labels.shape, mode="bilinear", align_corners=False
            )
        known = sample.labels != 255
        right += int((logits[0].argmax(0).numpy() == sample.labels)[known].sum())
        seen += int(known.sum())
    scores = json.loads(Path("e.json").read_text(encoding="utf-8"))
    assert scores["pixel_accuracy"] == pytest.approx(100 * right / seen, abs=0.01)
