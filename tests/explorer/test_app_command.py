"""``gsto-viz app``: refusals, and a real server that is started and stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from gsto_viz.cli import main


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
