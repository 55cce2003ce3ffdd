"""Write scenes as a folder that every tool can read: PNG images and maps, and classes.json."""

import shutil
import sys
import uuid
from pathlib import Path

from tqdm import tqdm

from gsto_viz.data.reader import encode_instances, write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_json
from gsto_viz.types import Dataset

SUBFOLDERS = ("images", "labels", "instances")


def write_scenes(
    out: str | Path, dataset: Dataset, *, overwrite: bool = False, progress: bool = False
) -> Path:
    """Write a data set with labels and instances to a folder, whole or not at all.

    The folder holds ``images/ID.png`` (8-bit RGB), ``labels/ID.png`` (8-bit class ids),
    ``instances/ID.png`` (16-bit, 0 = none) and ``classes.json``. It is filled under another name
    beside ``out`` and renamed at the end.

    Args:
        out: The folder to make.
        dataset: What to write.
        overwrite: Replace ``out`` if it is a folder that was written by this function.
        progress: Show a progress bar on stderr.

    Returns:
        The folder.

    Raises:
        GstoVizError: ``out`` is taken, an image has more than 65535 instances, or the operating
            system refused the write.
    """
    target = Path(out)
    _check_target(target, overwrite)
    temporary = target.parent / f".{target.name}-{uuid.uuid4().hex[:12]}"
    try:
        for name in SUBFOLDERS:
            (temporary / name).mkdir(parents=True)
        indices = range(len(dataset))
        for index in tqdm(indices, unit="image", file=sys.stderr, disable=not progress):
            _write_sample(temporary, dataset, index)
        write_json(temporary / "classes.json", dataset.classes.to_json())
        _put_in_place(temporary, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot write {target}: {reason}; free or choose a place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse a target that holds something which was not meant to be replaced."""
    if not target.name:
        raise GstoVizError(f"cannot write scenes to '{target}': give the name of a new folder")
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise GstoVizError(f"{target} exists and is no folder; choose another place for the scenes")
    present = {entry.name for entry in target.iterdir()}
    if not present:
        return
    if not overwrite:
        raise GstoVizError(f"{target} exists and is not empty; give --overwrite or another place")
    if not present <= {*SUBFOLDERS, "classes.json"}:
        alien = sorted(present - {*SUBFOLDERS, "classes.json"})[0]
        raise GstoVizError(
            f"{target} holds '{alien}', which no scenes folder does; choose another place"
        )


def _write_sample(folder: Path, dataset: Dataset, index: int) -> None:
    sample = dataset[index]
    if sample.labels is None or sample.instances is None:
        raise ValueError(f"{sample.id} has no labels or no instances")
    write_png(folder / "images" / f"{sample.id}.png", sample.image)
    write_png(folder / "labels" / f"{sample.id}.png", sample.labels)
    write_png(folder / "instances" / f"{sample.id}.png", encode_instances(sample.instances))


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename the finished folder; an old one makes room first and comes back if that fails."""
    if not target.exists():
        temporary.rename(target)
        return
    old = temporary.with_name(f"{temporary.name}-old")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
