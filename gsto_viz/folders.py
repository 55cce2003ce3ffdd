"""Result folders that appear whole or not at all, and never swallow somebody else's files."""

import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from gsto_viz.errors import GstoVizError


def check_target(target: Path, own: Collection[str], *, overwrite: bool) -> None:
    """Refuse a result folder that is taken.

    Args:
        target: Where the results shall appear.
        own: Names of all entries that such a folder can have; a folder with any other entry is
            somebody else's and is never replaced.
        overwrite: Whether an earlier result may be replaced.

    Raises:
        GstoVizError: The target is no folder, is not empty, holds something foreign, or cannot be
            looked at.
    """
    if not target.name:
        raise GstoVizError(f"cannot write to '{target}'; give the name of a new folder")
    try:
        if not target.exists() and not target.is_symlink():
            return
        if not target.is_dir() or target.is_symlink():
            raise GstoVizError(f"{target} exists and is no folder; choose another place")
        present = {entry.name for entry in target.iterdir()}
    except OSError as error:
        raise GstoVizError(
            f"cannot use {target}: {error.strerror}; choose another place"
        ) from error
    if present and not overwrite:
        raise GstoVizError(
            f"{target} is not empty; --overwrite replaces it, or choose another place"
        )
    foreign = sorted(present - set(own))
    if foreign:
        raise GstoVizError(
            f"{target} holds '{foreign[0]}', which this command never writes; choose another place"
        )


def check_creatable(target: Path) -> None:
    """Refuse a result folder that could not be made, before any work is done.

    A folder is made for a moment where the work would begin: permissions alone do not say whether
    that succeeds.

    Raises:
        GstoVizError: The operating system refused.
    """
    try:
        work = _work_folder(target.absolute())
        probe = next(p for p in work.parents if p.exists()) / work.name
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot write {target}: {reason}; choose another place") from error


def _work_folder(target: Path) -> Path:
    """Return a new name beside ``target`` for the results while they are written."""
    return target.parent / f".{target.name}-{uuid.uuid4().hex[:12]}"


@contextmanager
def new_folder(target: Path, own: Collection[str], *, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder beside ``target``; it takes the target's place when the block succeeds.

    An earlier result is moved aside first and comes back if the move fails. When the block fails,
    nothing of it stays.

    Raises:
        GstoVizError: As ``check_target``, or the operating system refused the write; the message
            names ``target``, not the temporary folder.
    """
    check_target(target, own, overwrite=overwrite)
    work = _work_folder(target)
    try:
        work.mkdir(parents=True)
        yield work
        _put_in_place(work, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot write {target}: {reason}; free or choose a place") from error
    except GstoVizError as error:
        raise GstoVizError(str(error).replace(str(work), str(target))) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put_in_place(work: Path, target: Path) -> None:
    if not target.exists():
        work.rename(target)
        return
    old = work.with_name(f"{work.name}-old")
    target.rename(old)
    try:
        work.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
