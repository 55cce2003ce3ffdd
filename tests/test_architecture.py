"""Imports point one way: who may import whom, as a table, and a checker that is itself tested."""

import ast
import importlib
from pathlib import Path

import pytest

import gsto_viz

PACKAGE = Path(gsto_viz.__file__).parent

LEAVES = {
    "errors", "types", "anatomy", "words", "colors", "files", "settings", "text_table", "gains",
    "torch_utils", "distributed", "joints",
}  # fmt: skip
PURE = {"errors", "types", "anatomy", "words", "colors", "files", "joints"}

# A room is a folder or module directly in the package. It may import itself and these rooms.
ALLOWED: dict[str, set[str]] = {
    # Leaves know nobody; all may raise the one error.
    "errors": set(),
    "types": {"errors"},
    "text_table": set(),
    "joints": {"types"},
    "anatomy": {"errors", "types"},
    "files": {"errors"},
    "words": {"errors"},
    "colors": {"errors"},
    "settings": {"errors"},
    "gains": {"errors"},
    "torch_utils": {"errors"},
    "distributed": {"errors", "torch_utils"},
    # Pure functions on arrays and tables.
    "activity": PURE | {"look"},
    "look": {"errors", "types", "files", "joints"},
    "regions": PURE | {"activity"},
    "stats": PURE | {"activity", "regions"},
    "models": LEAVES,
    # One thing each: read, look inside, draw.
    "data": PURE,
    "capture": LEAVES | {"activity"},
    "plots": PURE | {"activity", "look", "stats"},
    # Compositions.
    "calibrate": LEAVES | {"capture"},
    "nulls": LEAVES | {"models"},
    "evaluate": LEAVES | {"data", "models", "regions", "stats"},
    "doctor": LEAVES | {"activity", "capture", "models"},
    "census": LEAVES | {"data", "regions"},
    "network": LEAVES | {"activity", "calibrate", "capture", "evaluate", "look", "models", "stats"},
    "attribution": LEAVES
    | {
        "activity",
        "calibrate",
        "capture",
        "data",
        "evaluate",
        "models",
        "network",
        "nulls",
        "regions",
        "stats",
    },
    "train": LEAVES
    | {"calibrate", "capture", "data", "evaluate", "models", "network", "regions", "stats"},
    "report": LEAVES
    | {
        "activity",
        "attribution",
        "calibrate",
        "capture",
        "data",
        "evaluate",
        "look",
        "models",
        "network",
        "nulls",
        "regions",
    }
    | {"plots", "stats"},
    "demo": LEAVES | {"data", "network", "report"},
    "explorer": LEAVES
    | {"activity", "attribution", "capture", "data", "evaluate", "look", "models"}
    | {"network", "plots", "regions", "report", "stats"},
    "bench": LEAVES
    | {"activity", "attribution", "data", "evaluate", "models", "network", "regions"}
    | {"report", "stats"},
    # Shells.
    "cli": {"errors", "commands"},
    "__main__": {"cli"},
    "__init__": set(),
}
# A command may call any room below it, and never the frame that calls it.
ALLOWED["commands"] = set(ALLOWED) - {"cli", "__main__", "__init__"}

# Heavy or side-effect-laden libraries, and the only rooms that may import them.
LIBRARIES: dict[str, set[str]] = {
    "torch": {
        "torch_utils", "distributed", "gains", "models", "capture", "calibrate", "evaluate",
        "network", "doctor", "train", "commands", "demo", "explorer", "nulls", "attribution",
        "report", "bench",
    },
    "captum": {"attribution"},
    "pycocotools": {"data"},
    "safetensors": {"models", "explorer"},
    "matplotlib": {"plots", "explorer", "report"},
    "streamlit": {"explorer"},
    "matplotlib.pyplot": set(),
}  # fmt: skip


def imported(source: str) -> set[str]:
    """Every absolute module that a source imports, anywhere in it, functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {node.module or ""}
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def violations(room: str, source: str) -> set[str]:
    """What a source in ``room`` imports and must not."""
    if room not in ALLOWED:
        return {f"{room} is not in the table: say what it may import"}
    found = set()
    for name in imported(source):
        first, *rest = name.split(".")
        if first == "gsto_viz":
            target = rest[0] if rest else ""
            known = target in ALLOWED and target != "__init__"
            if known and target != room and target not in ALLOWED[room]:
                found.add(f"{room} imports {target}")
            if target and not known and not target.startswith("_"):
                found.add(f"{room} imports {target}, which is not in the table")
        for library, users in LIBRARIES.items():
            if (name + ".").startswith(library + ".") and room not in users:
                found.add(f"{room} imports {library}")
    return found


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert violations(room, path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("plots", "from gsto_viz.models import build_model", "plots imports models"),
        ("plots", "import gsto_viz.models.hrnet as h", "plots imports models"),
        ("plots", "def f():\n    from torch import nn", "plots imports torch"),
        ("stats", "from gsto_viz import models", "stats imports models"),
        ("stats", "import matplotlib.figure", "stats imports matplotlib"),
        ("capture", "import gsto_viz.models", "capture imports models"),
        ("models", "from gsto_viz.data.classes import read_class_list", "models imports data"),
        ("data", "import torch.nn.functional as F", "data imports torch"),
        ("types", "from gsto_viz.files import write_text", "types imports files"),
        ("commands", "from gsto_viz.cli import main", "commands imports cli"),
        ("explorer", "import matplotlib.pyplot", "explorer imports matplotlib.pyplot"),
        ("explorer", "from matplotlib import pyplot", "explorer imports matplotlib.pyplot"),
        ("attic", "", "attic is not in the table: say what it may import"),
        ("train", "import gsto_viz.attic", "train imports attic, which is not in the table"),
    ],
)
def test_a_planted_violation_is_found(room: str, source: str, expected: str) -> None:
    assert violations(room, source) == {expected}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.glob("**/__init__.py")), ids=lambda p: p.parent.name
)
def test_every_public_name_is_where_its_room_says(path: Path) -> None:
    """Names that a room loads on first use too."""
    room = importlib.import_module(".".join(path.parent.relative_to(PACKAGE.parent).parts))
    for name in getattr(room, "__all__", ()):
        assert getattr(room, name) is not None


def test_what_is_allowed_is_not_reported() -> None:
    source = "import numpy as np\nimport torchmetrics\nfrom gsto_viz import __version__\n"
    assert violations("stats", source) == set()
    assert violations("evaluate", "from gsto_viz.models.losses import resize_logits") == set()


def test_the_table_has_no_cycles_and_no_ghosts() -> None:
    rooms = {p.relative_to(PACKAGE).with_suffix("").parts[0] for p in modules()}
    assert set(ALLOWED) - rooms == set()
    left = {room: set(targets) for room, targets in ALLOWED.items()}
    while left:
        free = {room for room, targets in left.items() if not targets & set(left)}
        assert free, f"a cycle among {sorted(left)}"
        left = {room: targets for room, targets in left.items() if room not in free}
