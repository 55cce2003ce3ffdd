"""Exports of the other pages: what the menu offers, and that a saved view is replayed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsto_viz.cli import main


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch) -> None:
    """Figures are tested elsewhere."""
    monkeypatch.setattr("gsto_viz.explorer.exports.files._figure", lambda *_: b"drawn")


def opened(app: Any) -> Any:
    """Open the menu."""
    app.session_state["export_menu"] = True
    app.run()
    assert not app.exception
    assert not app.error
    return app


def made(buttons: dict[str, Any], end: str) -> bytes:
    (make,) = (make for name, make in buttons.items() if name.endswith(f"-{end}"))
    content: bytes = make()
    return content


def replayed(buttons: dict[str, Any], checkpoints: Path, place: Path, capsys: Any) -> dict:
    """Save the view, replay it on the command line, and return what was saved."""
    (place / "view.json").write_bytes(made(buttons, "view.json"))
    words = ["export", "--view", str(place / "view.json"), "--out", str(place / "files")]
    assert main([*words, "--checkpoints", str(checkpoints), "--quiet"]) == 0
    assert "the numbers of the view" in capsys.readouterr().out
    saved, anew = (json.loads((place / p).read_text()) for p in ("view.json", "files/view.json"))
    for key in ("page", "view", "image", "checkpoints", "display"):
        assert saved[key] == anew[key]
    names = {p.relative_to(place / "files").as_posix() for p in (place / "files").rglob("*.*")}
    ends = {name.partition("-tiles-")[2] for name in buttons if "-tiles-" in name}
    assert {f"tiles/{end}" for end in ends} <= names
    if saved["page"] != "sizes":
        assert {"view.png", "view.svg", "view.pdf"} <= names
    return saved


@pytest.mark.parametrize("method", ["shapley", "gradcam"])
def test_attribution(checkpoints, open_app, buttons, tmp_path, capsys, method) -> None:
    query = {"scene": "1", "x": "40", "y": "200", "pick": "region", "method": method}
    app = opened(open_app("attribution", **query))
    if method == "gradcam":
        assert not any(name.endswith("-maps.npz") for name in buttons)
        assert not any(name.endswith("-view.json") for name in buttons)
        next(b for b in app.button if b.key == "run-method").click()
        buttons.clear()
        app.run()
        assert not app.exception
    saved = replayed(buttons, checkpoints, tmp_path, capsys)
    numbers = saved["numbers"]
    for row in numbers["branches"]:
        if row["quantity"] == "Shapley value, logits":
            score = numbers["scores"][row["network"]]
            total = sum(row[f"/{stride}"] for stride in (4, 8, 16, 32))
            assert total == pytest.approx(score["present"] - score["absent"], abs=1e-6)
    assert set(numbers["map_sums"]) == {"A", "B"}
    with np.load(tmp_path / "files" / "maps.npz", allow_pickle=False) as file:
        total = float(np.nansum(file["B_stride16"].astype(np.float64)))
    assert numbers["map_sums"]["B"]["/16"] == pytest.approx(total, rel=1e-4)


def test_a_click_while_the_menu_is_open_is_in_the_files(checkpoints, open_app, buttons) -> None:
    query = {"scene": "1", "x": "40", "y": "200", "pick": "region"}
    app = opened(open_app("attribution", **query))
    turn = app.session_state["probe_turn"]
    app.session_state["attribution-viewer"] = {"point": {"x": 300, "y": 180, "turn": turn}}
    buttons.clear()
    app.run()
    assert not app.exception
    view = json.loads(made(buttons, "view.json"))["view"]
    assert (view["x"], view["y"]) == (300, 180)


def test_gates(checkpoints, open_app, buttons, tmp_path, capsys) -> None:
    opened(open_app("gates", scene="1", x="40", y="200", force="1", value="0"))
    saved = replayed(buttons, checkpoints, tmp_path, capsys)
    assert saved["numbers"]["held"]["what"].endswith("held at 0")


def test_sizes_of_one_image(checkpoints, open_app, buttons, tmp_path, capsys) -> None:
    opened(open_app("sizes", scene="1", gap="2", size="inscribed"))
    saved = replayed(buttons, checkpoints, tmp_path, capsys)
    assert saved["view"]["gap"] == 2
    assert [row["what"] for row in saved["numbers"]["sci"]] == ["A", "B", "B - A"]
    words = ["export", "--view", str(tmp_path / "view.json"), "--out", str(tmp_path / "files")]
    assert main([*words, "--checkpoints", str(checkpoints), "--overwrite", "--quiet"]) == 0
