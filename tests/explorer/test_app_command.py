"""``gsto-viz app``: refusals, and a real server that is started and stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsto_viz.calibrate import calibrate
from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.explorer import server
from gsto_viz.explorer.checkpoints import list_choices, opened
from gsto_viz.models import build_model, to_official_keys
from gsto_viz.torch_utils import image_to_tensor

Offered = tuple[str, tuple[str, ...], Any]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--port", "70000"], "1 to 65535"),
        (["--checkpoints", "no/such/folder"], "no/such/folder is not a folder"),
        (["--address", "no address"], "is not an address"),
    ],
)
def test_wrong_words_are_refused_before_anything_starts(words, what, capsys):
    assert main(["app", *words]) == 2
    output = capsys.readouterr()
    assert what in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_a_taken_port_is_refused(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 2
    output = capsys.readouterr()
    assert f"port {port}" in output.err
    assert output.out == ""


def wait_for(url: str, process: subprocess.Popen, seconds: float = 120) -> bytes:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"no answer from {url}; exit status {process.poll()}")


@pytest.mark.slow
def test_the_server_answers_on_loopback_and_ctrl_c_ends_it_quietly(tmp_path):
    port = free_port()
    words = ["app", "--port", str(port), "--no-browser", "--checkpoints", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gsto_viz", *words],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_for(f"http://127.0.0.1:{port}/_stcore/health", process) == b"ok"
        assert b"<div id=" in wait_for(f"http://127.0.0.1:{port}/", process)
        second = subprocess.run(
            [sys.executable, "-m", "gsto_viz", "app", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert second.returncode == 2
        assert "choose another --port" in second.stderr
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert out.splitlines()[0] == f"The explorer is at http://127.0.0.1:{port} (Ctrl-C stops it)"
    assert "Traceback" not in out + err
    assert err == ""


def opened_by(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Offered]:
    """Start the app and return the checkpoints that a page would offer, nothing being served."""
    found: list[Offered] = []

    def look(address: str, port: int, offers: server.Offers, *, open_browser: bool) -> None:
        for choice in list_choices(offers.checkpoints)[0]:
            if choice.path.parent == offers.checkpoints:
                model = opened(choice.path, choice.name)
                found.append((choice.key, choice.classes.names, model))

    monkeypatch.setattr(server, "serve", look)
    assert main(["app", "--port", str(free_port()), "--no-browser", *words]) == 0
    return found


def test_an_official_file_is_opened_with_classes_gains_and_its_options(
    tmp_path, monkeypatch, capsys
):
    torch.manual_seed(0)
    start = build_model("hrnetv2-tiny", num_classes=11, align_corners=True)
    torch.save({"state_dict": to_official_keys(start)}, tmp_path / "w.pth.tar")
    spec = "scenes:count=2,size=64x96"
    words = ["--model", f"mine={tmp_path / 'w.pth.tar'}", "--data", spec, "--align-corners"]
    ((key, names, model),) = opened_by(words, monkeypatch)
    assert key == "mine.safetensors"
    assert names == load_data(spec).classes.names
    assert model.config.align_corners
    own, image = start.eval(), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(model(image).logits, own(image).logits)
    expected = calibrate(own, [image_to_tensor(one.image) for one in load_data(spec)])
    for tap, gains in model.info.gains.items():
        assert np.array_equal(gains.sigma, expected[tap].sigma)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--align-corners"], "--align-corners and --inplace-abn are for networks of --model"),
        (["--model", "A=net.py:build"], "the explorer runs no code of a factory file"),
        (["--model", "A=no.pth"], "no checkpoint file no.pth; check the path"),
        (["--model", "no.pth"], "--model no.pth: write NAME=CHECKPOINT"),
    ],
)
@pytest.mark.parametrize("command", ["app", "export"])
def test_networks_that_cannot_be_shown_are_refused(command, words, what, tmp_path, capsys):
    if command == "export":
        view = Path(__file__).parents[1] / "judge" / "views" / "explore.json"
        words = [*words, "--view", str(view), "--out", str(tmp_path / "out")]
    assert main([command, *words]) == 2
    output = capsys.readouterr()
    assert what in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
