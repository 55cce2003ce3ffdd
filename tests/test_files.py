"""Files appear whole or not at all, whatever fails."""

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.files import (
    atomic_path,
    check_creatable,
    check_target,
    remove_leftovers,
    sha256_of,
    write_json,
    write_text,
)


def everything(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_file_appears_with_the_block_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("x")
        assert not target.exists()
    assert everything(tmp_path) == {"a.txt": b"x"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_a_block_that_fails_leaves_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert everything(tmp_path) == {"a.txt": b"old"}


def test_a_full_disk_gives_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GstoVizError, match=r"cannot write .*a\.txt: No space left on device"):
        write_text(target, "new")
    assert everything(tmp_path) == {"a.txt": b"old"}


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x", tmp_path / "folder", tmp_path / ("n" * 300)):
        with pytest.raises(GstoVizError, match="cannot write"):
            write_text(path, "x")
    assert everything(tmp_path) == {"file": b""}


def test_what_cannot_be_made_is_known_before(tmp_path: Path) -> None:
    """Permissions do not say it: nobody can write to /proc, and nothing is left of the try."""
    (tmp_path / "file").write_text("")
    for place in ("/proc/nowhere", "/proc/nowhere/x.json", tmp_path / "file" / "x"):
        for inside in (False, True):
            with pytest.raises(GstoVizError, match=r"cannot write .*; choose another place"):
                check_creatable(Path(place), inside=inside)
    for place in ("new", "new/deep", "file"):
        check_creatable(tmp_path / place)
    assert everything(tmp_path) == {"file": b""}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_there_may_have_a_parent_that_may_not_be_written_to(
    tmp_path: Path,
) -> None:
    (tmp_path / "top" / "mounted").mkdir(parents=True)
    (tmp_path / "top").chmod(0o500)
    try:
        check_creatable(tmp_path / "top" / "mounted", inside=True)
        with pytest.raises(GstoVizError, match="cannot write"):
            check_creatable(tmp_path / "top" / "mounted")
    finally:
        (tmp_path / "top").chmod(0o700)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_rights_follow_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "x")
        assert os.umask(mask) == mask, "the process's umask is as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_many_threads_write_one_file_whole(tmp_path: Path) -> None:
    texts = [chr(97 + k) * 50_000 for k in range(8)]
    threads = [
        threading.Thread(target=lambda t=t: [write_text(tmp_path / "a", t) for _ in range(5)])
        for t in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in texts
    assert len(everything(tmp_path)) == 1


def test_json_is_strict_and_keeps_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Fußgänger"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "name": "Fußgänger"\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert "Fuß" in (tmp_path / "a.json").read_text("utf-8")


def test_leftovers_of_named_files_go_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "state.bin"
    kept = [".state.bin", ".state-notes.bin", ".other-0123456789abcdef.bin", "state.bin"]
    for name in [*kept, ".state-0123456789abcdef.bin"]:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path, [target.name])
    assert sorted(everything(tmp_path)) == sorted(kept)


def test_what_a_killed_process_left_may_be_replaced(tmp_path: Path) -> None:
    """But only what it was writing: other hidden files are somebody else's."""
    own = ["a.json", "parts"]
    (tmp_path / "a.json").write_text("")
    (tmp_path / ".a-0123456789abcdef.json").write_text("")
    (tmp_path / ".parts-0123456789abcdef").write_text("")
    check_target(tmp_path, own, overwrite=True)
    for name in (".b-0123456789abcdef.json", ".a-notes.json", ".a.json", ".parts-0123456789"):
        (tmp_path / name).write_text("")
        with pytest.raises(GstoVizError, match="which this command never writes"):
            check_target(tmp_path, own, overwrite=True)
        (tmp_path / name).unlink()


def test_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()
