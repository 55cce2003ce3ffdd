"""The judge refuses what is not a commit, and leaves nothing behind when it is stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import judge
import pytest

PLACE = "gsto_viz_judge_*"


def worktrees() -> str:
    return judge.git("worktree", "list").stdout


def test_what_is_not_a_commit_is_refused_before_anything_runs(capsys):
    assert judge.main(["--base", "no-such-commit"]) == 2
    assert "'no-such-commit' is not a commit" in capsys.readouterr().err


def test_without_camvid_its_chain_is_left_out_with_the_reason(monkeypatch, capsys):
    monkeypatch.delenv("GSTO_VIZ_CAMVID", raising=False)
    assert judge.chosen_chains(None) == list(judge.CHAINS[1:])
    assert "GSTO_VIZ_CAMVID" in capsys.readouterr().out
    assert judge.chosen_chains(["compare"]) == [judge.CHAINS[3]]


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_nothing_stays_when_it_is_stopped(tmp_path: Path, sign: signal.Signals):
    before = worktrees()
    words = ["--base", "HEAD", "--only", "compare", "--no-cache"]
    process = subprocess.Popen(
        [sys.executable, str(judge.HERE / "judge.py"), *words],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 300
    while not list(tmp_path.glob(f"{PLACE}/head/analyze")) and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.2)
    assert worktrees() != before
    process.send_signal(sign)
    assert process.wait(60) in (130, 143)
    assert worktrees() == before
    assert list(tmp_path.glob(PLACE)) == []
