"""Compare two folders of outputs value by value: floats by their bits, NaN equal to NaN.

Every file becomes named values: the columns of a table, the arrays of an archive, the leaves of a
JSON file, the lines of a text. So one comparison serves all kinds, and a difference has a place.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image

Values = dict[str, Any]

LEFT_OUT = {
    "time": "when something was done",
    "seconds": "how long it took",
    "calibration_seconds": "how long it took",
    "images_per_s": "how fast it went",
    "versions": "of Python and packages",
}
"""Keys and columns that are not compared, at any depth, and why."""
LINES_LEFT_OUT = {
    "time ": "how long training took",
    "memory ": "peak memory of training",
}
"""Beginnings of lines on the screen that are not compared, and why."""
FILES_LEFT_OUT = {
    ".pdf": "drawn, and dated; the numbers are in the CSV beside it",
    ".svg": "drawn; the numbers are in the CSV beside it",
    ".png": "drawn; the numbers are in the CSV beside it",
    ".html": "drawn from summary.json, comparison.json and the pictures",
    ".tensorboard": "events of the log, dated; log.jsonl holds the same numbers",
}
"""Endings of files that are not compared, and why."""
CANCELLED = 1e-15
"""What reordered sums leave of a difference of equal numbers; allowed where a tolerance is."""
PIXELS = ("scenes/",)
"""Folders of data: PNG files in them are compared pixel by pixel."""


@dataclass(frozen=True)
class Difference:
    """One value that is not what it was."""

    place: str
    old: str
    new: str


@dataclass
class Compared:
    """One file of both folders.

    Attributes:
        file: Its path in the folder.
        values: How many values were compared.
        differing: How many differ.
        largest: Largest relative difference of numbers; infinite where something else differs.
        shown: The first ``most`` differences.
    """

    file: str
    most: int = 5
    values: int = 0
    differing: int = 0
    largest: float = 0.0
    shown: list[Difference] = field(default_factory=list)

    def differ(self, place: str, old: object, new: object) -> None:
        """Count one difference and keep it if it is among the first."""
        self.differing += 1
        self.largest = max(self.largest, _relative(old, new))
        if len(self.shown) < self.most:
            self.shown.append(Difference(place, _text(old), _text(new)))


def is_left_out(name: str) -> bool:
    """Tell whether a file is not compared."""
    if name.endswith(".png") and name.startswith(PIXELS):
        return False
    ending = ".tensorboard" if "/tensorboard/" in name else Path(name).suffix
    return ending in FILES_LEFT_OUT


def compare_folders(
    base: Path,
    head: Path,
    *,
    rtol: float = 0.0,
    clean: Callable[[str], str] = str,
    most: int = 5,
) -> list[Compared]:
    """Compare all files of two folders that are not left out.

    Args:
        base: What was.
        head: What is.
        rtol: Floats may differ by so much of the larger one; where it is not 0, also by 1e-15.
        clean: Applied to every text first, to take out where the folders lie.
        most: Differences that are kept of each file.
    """
    names = sorted(
        {
            path.relative_to(folder).as_posix()
            for folder in (base, head)
            for path in folder.rglob("*")
            if path.is_file()
        }
    )
    return [
        compare_files(Compared(name, most), base / name, head / name, rtol=rtol, clean=clean)
        for name in names
        if not is_left_out(name)
    ]


def compare_files(
    result: Compared,
    base: Path,
    head: Path,
    *,
    rtol: float = 0.0,
    clean: Callable[[str], str] = str,
) -> Compared:
    """Compare one file of both folders and return the result filled in; one missing differs."""
    there = [path.is_file() for path in (base, head)]
    if not all(there):
        result.differ("file", *("there" if one else "missing" for one in there))
        return result
    old, new = (read_values(path, clean) for path in (base, head))
    if old.keys() == new.keys() and list(old) != list(new):
        result.differ("order", " ".join(old), " ".join(new))
    for place in {**old, **new}:
        if place in old and place in new:
            _compare(result, place, old[place], new[place], rtol)
        else:
            result.differ(place, *("there" if place in v else "missing" for v in (old, new)))
    return result


def read_values(path: Path, clean: Callable[[str], str] = str) -> Values:
    """Read a file as named values, without those that are left out.

    An ending that is not known is compared as bytes: nothing is passed over in silence.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        return {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}
    values = reader(path)
    kept = {name: value for name, value in values.items() if name not in LEFT_OUT}
    return {name: clean(v) if isinstance(v, str) else v for name, v in kept.items()}


def _parquet(path: Path) -> Values:
    table = pq.read_table(path)
    return {
        name: table.column(name).combine_chunks().to_numpy(zero_copy_only=False)
        for name in table.column_names
    }


def _csv(path: Path) -> Values:
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    if not rows:
        return {}
    width = len(rows[0])
    if len(set(rows[0])) < width or any(len(row) != width for row in rows):
        return _lines(path)
    return {name: np.array([row[k] for row in rows[1:]]) for k, name in enumerate(rows[0])}


def _json(path: Path) -> Values:
    return dict(_leaves(json.loads(path.read_text(encoding="utf-8")), ""))


def _yaml(path: Path) -> Values:
    return dict(_leaves(yaml.safe_load(path.read_text(encoding="utf-8")), ""))


def _json_lines(path: Path) -> Values:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(_leaves([json.loads(line) for line in lines], ""))


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a JSON value with their places; an empty list or object is a leaf."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            if key not in LEFT_OUT:
                yield from _leaves(one, f"{place}.{key}" if place else key)
    elif isinstance(value, list) and value:
        for k, one in enumerate(value):
            yield from _leaves(one, f"{place}[{k}]")
    else:
        yield place, value


def _npz(path: Path) -> Values:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _safetensors(path: Path) -> Values:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    values: Values = {}
    for key, text in sorted(header.pop("__metadata__", {}).items()):
        try:
            values |= _leaves({key: json.loads(text)}, "metadata")
        except ValueError:
            values[f"metadata.{key}"] = text
    for name, entry in sorted(header.items()):
        first, end = entry["data_offsets"]
        kind = {"F32": "<f4", "F64": "<f8", "F16": "<f2"}.get(entry["dtype"], "u1")
        array = np.frombuffer(content[start + first : start + end], kind)
        values[name] = array.reshape(entry["shape"]) if kind != "u1" else array
    return values


def _png(path: Path) -> Values:
    with Image.open(path) as image:
        return {"pixels": np.asarray(image)}


def _lines(path: Path) -> Values:
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(tuple(LINES_LEFT_OUT))]
    return {f"line {k}": line for k, line in enumerate(kept, 1)}


READERS: Mapping[str, Callable[[Path], Values]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".png": _png,
    ".txt": _lines,
    ".yaml": _yaml,
}


def _compare(result: Compared, place: str, old: Any, new: Any, rtol: float) -> None:
    """Compare two values of one place: arrays element by element."""
    if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray):
        result.values += 1
        if not _same(old, new, rtol):
            result.differ(place, old, new)
        return
    texts = old.dtype.kind == new.dtype.kind == "U"
    if old.dtype != new.dtype and not texts:
        result.differ(f"{place}: type", old.dtype, new.dtype)
    elif old.shape != new.shape:
        result.differ(f"{place}: shape", old.shape, new.shape)
    else:
        result.values += old.size
        for at in np.argwhere(_suspects(old, new)):
            one, other = old[tuple(at)], new[tuple(at)]
            if not _same(one, other, rtol):
                result.differ(f"{place}[{','.join(map(str, at))}]", one, other)


def _suspects(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Mark elements that are not plainly the same; the others need no closer look."""
    if old.dtype.kind != "f":
        return np.asarray(old != new)
    bits = f"u{old.dtype.itemsize}"
    return np.ascontiguousarray(old).view(bits) != np.ascontiguousarray(new).view(bits)


def _same(old: Any, new: Any, rtol: float) -> bool:
    """Tell whether two values agree: floats by their bits or, if wanted, within ``rtol``."""
    if isinstance(old, float | np.floating) and isinstance(new, float | np.floating):
        if math.isnan(old) or math.isnan(new):
            return math.isnan(old) and math.isnan(new)
        same = old == new and math.copysign(1, old) == math.copysign(1, new)
        return same or _close(old, new, rtol)
    if type(old) is type(new) and old == new:
        return True
    return isinstance(old, str) and isinstance(new, str) and _close(old, new, rtol)


def _close(old: Any, new: Any, rtol: float) -> bool:
    """Tell whether two numbers, or texts of numbers, agree within a tolerance that is not 0."""
    if not rtol:
        return False
    relative = _relative(old, new)
    return relative <= rtol or (relative < math.inf and abs(float(old) - float(new)) <= CANCELLED)


def _relative(old: object, new: object) -> float:
    """Return |old - new| of the larger one; infinite where one of them is not a finite number."""
    try:
        one, other = (float(value) for value in (old, new))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.inf
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other)) if one != other else 0.0


def _text(value: object) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 90 else text[:87] + "..."
