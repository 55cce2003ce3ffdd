"""The analyze folder: settings, chunks, tables and plain values, written whole and merged in order.

A chunk is a folder ``parts/000012/`` of Parquet files that appears whole or not at all, so a run
that was killed goes on with the chunks that are missing, and any number of processes may share the
work: the merged tables depend on neither.

A data frame of every image, with a hundred columns and twenty rows, takes longer to make than its
numbers do.
"""

import hashlib
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path, check_target, new_folder, read_small_text, write_json
from gsto_viz.stats.inference import P_FLOOR, Estimate

SCHEMA_VERSION = 1
"""Of analyze folders; a folder of another version is refused."""

CALIBRATION_IMAGES = 64
"""Gains are measured on the first so many images by id."""
MAX_REGIONS = 256
"""Rows of one image and model."""
SHIFTS = 10
"""Draws of N1 (shifted annotation) per image."""
PERMUTATIONS = 10
"""Draws of N4 (permuted sizes)."""
RANDOM_DRAWS = 5
"""Draws of N3 (random weights)."""
DOUBLED = 1.0
"""STP is read where objects are one octave larger: the step between neighbouring branches."""
CHUNK_IMAGES = 8
"""Images that are measured and written together; also one row group."""


@dataclass(frozen=True)
class Settings:
    """All that decides what an analysis computes.

    Attributes:
        data: SPEC of the images.
        size: ``HxW`` to which images were resized, None for their native size.
        images: How many, after the limit.
        ids_sha256: Fingerprint of their ids.
        calibration: SPEC of the images whose first 64 by id give the gains.
        models: By key, what the network is (name, network, sha256, taps, strides).
        nulls: Whether null models are computed.
        attribution: Whether Shapley values and scale transfer are computed.
        atlas: Whether the features of the branches are described.
        seed: Of nulls, bootstrap and reservoir.
        random_draws: Draws of N3.
        shifts: Draws of N1.
        max_regions: Rows kept of one image and model.
        block: Consecutive images of a film that make one cluster; None: as the data set says.
    """

    data: str
    size: str | None
    images: int
    ids_sha256: str
    calibration: str
    models: dict[str, dict[str, Any]]
    nulls: bool = False
    attribution: bool = False
    atlas: bool = False
    seed: int = 0
    random_draws: int = RANDOM_DRAWS
    shifts: int = SHIFTS
    max_regions: int = MAX_REGIONS
    block: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the version of the folder's schema."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def fingerprint(ids: tuple[str, ...]) -> str:
    """Return the SHA-256 of ids in their order."""
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def check_schema(values: dict[str, Any], where: str) -> None:
    """Refuse a folder that another version wrote.

    Raises:
        GstoVizError: With both versions.
    """
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise GstoVizError(
            f"{where} is an analyze folder of schema version {version}, this is version "
            f"{SCHEMA_VERSION}; analyze the data again with this version of gsto-viz"
        )


def check_same(settings: Settings, values: dict[str, Any], where: str) -> None:
    """Refuse to resume an analysis with other settings.

    Raises:
        GstoVizError: With the first setting that differs.
    """
    check_schema(values, where)
    # Settings that a version added later have their default in folders from before.
    values = {field.name: field.default for field in fields(Settings)} | values
    for name, value in settings.to_json().items():
        other_order = name == "models" and list(values.get(name, ())) != list(value)
        if values.get(name) != value or other_order:
            raise GstoVizError(
                f"{where} was begun with {name}={values.get(name)!r} and now {name} is {value!r}; "
                "use the same settings, another folder, or --overwrite"
            )


PARTS = "parts"
TABLES = (
    "regions",
    "images",
    "values",
    "classes",
    "gates",
    "profile",
    "random",
    "moved",
    "confusion",
    "transfer",
    "atlas",
)
"""Tables that a chunk may hold, one Parquet file each."""


def chunk_folder(out: Path, number: int) -> Path:
    """Return where a chunk lies."""
    return out / PARTS / f"{number:06d}"


def is_done(out: Path, number: int) -> bool:
    """Say whether a chunk is there."""
    return chunk_folder(out, number).is_dir()


def write_chunk(
    out: Path,
    number: int,
    tables: Mapping[str, pa.Table],
    *more: Callable[[Path], None],
) -> None:
    """Write the tables of a chunk.

    Args:
        out: The analyze folder.
        number: Of the chunk.
        tables: By name.
        *more: What else is written into the chunk's folder.

    Raises:
        GstoVizError: The operating system refused it; nothing of the chunk stays.
    """
    own = [f"{name}.parquet" for name in TABLES]
    with new_folder(chunk_folder(out, number), own, overwrite=True) as work:
        for name, table in tables.items():
            # Read once, and soon: what matters is that it is written fast.
            path = work / f"{name}.parquet"
            pq.write_table(table, path, compression="lz4", use_dictionary=False)
        for write in more:
            write(work)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one table as Parquet, to stay."""
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file to stay; words are few and repeat, measured numbers hardly ever do."""
    words = [field.name for field in schema if pa.types.is_large_string(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=words)


def read_table(path: Path, columns: Sequence[str] | None = None, **filters: Any) -> pd.DataFrame:
    """Read a Parquet table, only some columns, only rows whose columns have given values.

    Args:
        path: The file.
        columns: Which; None for all.
        **filters: Values by column, e.g. ``model="A"``.

    Raises:
        GstoVizError: It is missing or no Parquet file.
    """
    chosen = [(name, "=", value) for name, value in filters.items()] or None
    try:
        table = pq.read_table(
            path, columns=None if columns is None else list(columns), filters=chosen
        )
    except (OSError, pa.ArrowException) as error:
        raise GstoVizError(
            f"cannot read {path}: {' '.join(str(error).split())}; analyze the data again"
        ) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def own_branches(table: pd.DataFrame, branches: int) -> pd.DataFrame:
    """Drop columns of branches that a network does not have, because another one has more."""
    ends = [(str(name), str(name).rpartition("_")[2]) for name in table.columns]
    other = [name for name, end in ends if end.isdecimal() and int(end) >= branches]
    return table.drop(columns=other)


def chunk_tables(out: Path, name: str, count: int) -> Iterator[Path]:
    """Give the files of one table in the order of the chunks; chunks without it are passed over."""
    for number in range(count):
        path = chunk_folder(out, number) / f"{name}.parquet"
        if path.is_file():
            yield path


def merge(out: Path, name: str, count: int) -> Path | None:
    """Join the files of one table to ``NAME.parquet``, a row group per chunk.

    Only one chunk is in memory at a time. Columns that some chunks lack (gates of images without
    any) are null there.

    Args:
        out: The analyze folder.
        name: Of the table.
        count: Number of chunks.

    Returns:
        The file; None when no chunk has the table.
    """
    paths = list(chunk_tables(out, name, count))
    if not paths:
        return None
    schemas = [pq.read_schema(path) for path in paths]
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    target = out / f"{name}.parquet"
    with atomic_path(target) as temporary, parquet_writer(temporary, schema) as writer:
        for path in paths:
            part = pq.read_table(path)
            missing = [field for field in schema if field.name not in part.column_names]
            for field in missing:
                part = part.append_column(field, pa.nulls(part.num_rows, field.type))
            if part.num_rows:
                writer.write_table(part.select(schema.names).cast(schema))
    return target


def remove_parts(out: Path) -> None:
    """Remove the chunks of a finished analysis."""
    shutil.rmtree(out / PARTS, ignore_errors=True)


SETTINGS, SUMMARY, MANIFEST, GAINS = (
    "settings.json",
    "summary.json",
    "manifest.json",
    "gains.safetensors",
)
OWN_ENTRIES = (
    SETTINGS,
    SUMMARY,
    MANIFEST,
    GAINS,
    PARTS,
    *(f"{name}.parquet" for name in (*TABLES, "layout")),
    "examples",
    "comparison.json",
    "comparison.csv",
    "specification.csv",
    "figures",
    "report.html",
)
"""Everything that an analyze folder can hold; a folder with anything else is somebody else's."""
MAX_SUMMARY_BYTES = 256 * 2**20


def check_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse an ``--out`` that is taken, before any work is done.

    Raises:
        GstoVizError: It holds something, and neither resuming nor overwriting was asked for.
    """
    if resume and overwrite:
        raise GstoVizError("resume and overwrite exclude each other; choose one")
    if resume and out.is_dir() and any(out.iterdir()):
        if not (out / SETTINGS).is_file():
            raise GstoVizError(
                f"{out} holds no analysis that could be resumed; choose another place"
            )
        return
    check_target(out, OWN_ENTRIES, overwrite=overwrite)


def begin(out: Path, settings: Settings, *, resume: bool, overwrite: bool) -> None:
    """Make the folder of an analysis, or check that it can be resumed.

    Raises:
        GstoVizError: It is taken, or was begun with other settings.
    """
    check_free(out, resume=resume, overwrite=overwrite)
    if resume and (out / SETTINGS).is_file():
        check_same(settings, read_json(out / SETTINGS), str(out))
        return
    if overwrite and out.is_dir():
        # The manifest goes first: without it the folder is no result any more.
        (out / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(out)
    write_json(out / SETTINGS, settings.to_json())


def is_finished(out: Path) -> bool:
    """Say whether an analysis is complete."""
    return (out / MANIFEST).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that this package wrote.

    Raises:
        GstoVizError: Missing or damaged.
    """
    text = read_small_text(path, "the analysis file", max_bytes=MAX_SUMMARY_BYTES)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GstoVizError(f"{path} is damaged ({error}); analyze the data again") from error
    if not isinstance(values, dict):
        raise GstoVizError(f"{path} is damaged: it holds no object; analyze the data again")
    return values


def open_finished(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and summary of a finished analysis.

    Raises:
        GstoVizError: No such folder, an analysis that is not finished, or another version.
    """
    if not out.is_dir():
        raise GstoVizError(f"no folder {out}; make one with gsto-viz analyze --out {out}")
    if not is_finished(out):
        hint = (
            "resume it with gsto-viz analyze --resume"
            if (out / SETTINGS).is_file()
            else ("give the --out of gsto-viz analyze")
        )
        raise GstoVizError(f"{out} holds no finished analysis; {hint}")
    manifest = read_json(out / MANIFEST)
    check_schema(manifest, str(out))
    return manifest, read_json(out / SUMMARY)


Columns = Mapping[str, npt.NDArray[Any]]
"""Columns of one table by name, at least one, all of one length."""


def rows_in(columns: Columns) -> int:
    """Return the number of rows."""
    return int(next(iter(columns.values())).size)


def filled(count: int, **values: str | int) -> dict[str, npt.NDArray[Any]]:
    """Return columns of ``count`` equal values each."""
    return {name: np.full(count, value) for name, value in values.items()}


def joined(parts: Sequence[Columns]) -> pa.Table:
    """Put parts below each other.

    Args:
        parts: At least one; a column that a part lacks is null there.

    Returns:
        The columns of all parts in the order in which they first occur; NaN is null.
    """
    names = dict.fromkeys(name for part in parts for name in part)
    return pa.table({name: _joined_column(name, parts) for name in names})


def _joined_column(name: str, parts: Sequence[Columns]) -> pa.Array:
    """Put one column of all parts below each other."""
    dtype = np.result_type(*(part[name] for part in parts if name in part))
    if dtype.kind == "f":
        pieces = [
            part[name] if name in part else np.full(rows_in(part), np.nan, dtype) for part in parts
        ]
        return pa.array(np.concatenate(pieces), from_pandas=True)
    kind = pa.large_string() if dtype.kind == "U" else pa.from_numpy_dtype(dtype)
    values: list[Any] = []
    for part in parts:
        values += part[name].tolist() if name in part else [None] * rows_in(part)
    return pa.array(values, kind)


def arrow_table(frame: pd.DataFrame) -> pa.Table:
    """Return a data frame as a table, without pandas' notes on its index."""
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def plain(value: Any) -> Any:
    """Turn results into what strict JSON can hold.

    Dataclasses become objects, tables lists of rows, arrays lists; NaN and infinity become null.
    """
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.astype(object).to_dict("records")]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is pd.NA or value is pd.NaT:
        return None
    return value


def as_estimate(values: Mapping[str, Any]) -> Estimate:
    """Read an estimate that :func:`plain` wrote; further keys are passed over."""
    return Estimate(**{field.name: values[field.name] for field in fields(Estimate)})


def shown(estimate: Estimate, digits: int = 3) -> str:
    """Write an estimate for people: ``0.412 [0.380, 0.447]``, or why there is none."""
    if estimate.value is None:
        return estimate.reason or "not estimated"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} (no interval: {estimate.reason})"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def shown_p(p: float | None, tested: float | None = None) -> str:
    """Write a p value for people: ``0.0123``; ``<= 0.0001`` at the floor of the test.

    Args:
        p: Of a sign-flip test, adjusted or not; None or NaN, written ``-``: not estimated.
        tested: p before it was adjusted, where it was: what rests on a floor is a bound, too.
    """
    if p is None or math.isnan(p):
        return "-"
    bound = (p if tested is None else tested) <= P_FLOOR
    return f"<= {p:.4f}" if bound else f"{p:.4f}"


_BLOCK = "/block"
"""Groups of frames are called ``FILM/blockN``."""


def clusters_of(images: pd.DataFrame, block: int | None) -> dict[str, str]:
    """Return the cluster of every image.

    Args:
        images: ``image`` and ``group``, the group that the data set gave it (its own name when it
            is independent of all others), one row or several for each image.
        block: So many consecutive images of a film, in the order of their names, make a cluster
            instead. Images with a name of their own as group are then frames of one film. None
            keeps the groups.
    """
    groups = dict(zip(images["image"], images["group"], strict=True))
    if block is None:
        return groups
    films: dict[str, list[str]] = defaultdict(list)
    for image in sorted(groups):
        film, mark, _ = groups[image].rpartition(_BLOCK)
        films[film if mark else ("" if groups[image] == image else groups[image])].append(image)
    return {
        image: f"{film}{_BLOCK}{position // block}"
        for film, frames in films.items()
        for position, image in enumerate(frames)
    }
