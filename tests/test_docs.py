"""Documentation that shows numbers: its code is run and its output compared."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

from gsto_viz.cli import main
from gsto_viz.data import DATA_SETS, load_data, spec_table, write_png
from gsto_viz.regions.columns import REGION_COLUMNS
from gsto_viz.report.tables import TABLES

DOCS = Path(__file__).parent.parent / "docs"


def test_the_worked_example_of_sci_prints_what_the_page_shows() -> None:
    text = (DOCS / "how_to_read_sci.md").read_text(encoding="utf-8")
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


def test_the_data_dictionary_holds_every_column_as_the_code_describes_it() -> None:
    lines = (DOCS / "data_dictionary.md").read_text(encoding="utf-8").splitlines()
    at = lines.index("| column | unit | range | null | meaning |") + 2
    rows = [line.strip("| ").split(" | ") for line in lines[at : at + len(REGION_COLUMNS)]]
    expected = [
        [f"`{one.name}`", one.unit, one.range, one.null, one.meaning] for one in REGION_COLUMNS
    ]
    assert rows == expected
    assert not lines[at + len(REGION_COLUMNS)]


def test_the_data_dictionary_lists_the_tables_of_the_register() -> None:
    lines = (DOCS / "data_dictionary.md").read_text(encoding="utf-8").splitlines()
    expected = [
        f"| `{one.name}.parquet` | {', '.join(one.key)} | {one.meaning} |"
        for one in TABLES.values()
    ]
    at = lines.index("| file | one row per | what for |") + 2
    assert lines[at : at + len(expected)] == expected
    assert ".parquet" not in lines[at + len(expected)]


def test_the_data_sets_are_those_of_the_register() -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    assert "\n\n" + "\n".join(spec_table()) + "\n\n" in text
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for name, row in DATA_SETS.items():
        assert f"`{name}`" in readme
        assert f"`{name}:PATH[:" + ("SPLIT" if name == "folder" else "|".join(row.splits)) in text


def test_another_data_set_is_made_as_the_page_shows(tmp_path: Path) -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "bring_your_own_model.md").read_text(encoding="utf-8")
    factory, analysis = re.findall(r"```python\n(.*?)```", text, re.S)
    shown = re.findall(r"```text\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    Path("my_network.py").write_text(factory, encoding="utf-8")
    assert main(["doctor", "my_network.py:build", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert printed.out == shown[0]
    assert printed.err == "gsto-viz doctor: running the code of my_network.py:build\n"
    scope: dict = {}
    exec(factory + analysis, scope)
    assert capsys.readouterr().out == shown[1]
