"""Starting the explorer: checks first, then Streamlit's server with settings of our own."""

import contextlib
import importlib
import ipaddress
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsto_viz.errors import GstoVizError

UPLOAD_MB = 20
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Offers:
    """What the pages offer beside what the package ships.

    Attributes:
        checkpoints: Folder of more checkpoints, or None.
        data: SPEC of a data set whose images may be chosen, or None.
        runs: Folder of analyses and training runs, or None.
    """

    checkpoints: Path | None = None
    data: str | None = None
    runs: Path | None = None


_offers = Offers()


def offered() -> Offers:
    """Return what the pages of this process offer."""
    return _offers


def offer(what: Offers) -> None:
    """Set what the pages of this process offer."""
    global _offers
    _offers = what


def settings(address: str, port: int, *, open_browser: bool) -> dict[str, Any]:
    """Return Streamlit's settings: nothing is sent or fetched, small uploads, no file watching.

    Args:
        address: Where to listen.
        port: Where to listen.
        open_browser: Open a browser once the server answers.
    """
    return {
        "server.address": address,
        "server.port": port,
        "server.headless": not open_browser,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.maxUploadSize": UPLOAD_MB,
        "server.enableXsrfProtection": True,
        # A page of another site that makes its own name point here is refused. On an address that
        # others may reach under names unknown to us, every name is accepted.
        "server.allowedHosts": list(LOOPBACK_NAMES) if is_loopback(address) else [],
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "type",
        "runner.magicEnabled": False,
        # A full collection after every run takes a tenth of a second while torch is loaded, and
        # answers wait for it; what runs leave behind is collected soon enough without.
        "runner.postScriptGC": False,
        "logger.hideWelcomeMessage": True,
        "theme.light.primaryColor": "#0b5c8a",
        "theme.dark.primaryColor": "#6cb8e6",
    }


def is_loopback(address: str) -> bool:
    """Return whether only this computer reaches an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_place(address: str, port: int) -> None:
    """Refuse an address that is not of this computer and a port that is taken.

    Raises:
        GstoVizError: With what to choose instead.
    """
    if not 1 <= port <= 65535:
        raise GstoVizError(f"--port {port} is not possible; give 1 to 65535")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM
        )[0]
    except (OSError, UnicodeError) as error:
        raise GstoVizError(f"--address {address} is not an address; use 127.0.0.1") from error
    with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
        if os.name == "posix":
            # A server that has just ended must not keep its port from the next one.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            raise GstoVizError(
                f"cannot listen on {address} port {port}: {error.strerror or error}; choose "
                "another --port"
            ) from error


def check_folder(folder: str, option: str, holds: str) -> Path:
    """Return the absolute path of a folder that is there.

    Args:
        folder: As given.
        option: What it was given with.
        holds: What should be in it.

    Raises:
        GstoVizError: It is not there, or is not a folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise GstoVizError(f"{option} {folder} is not a folder; give one with {holds}")
    return path.resolve()


def url_of(address: str, port: int) -> str:
    """Return the address to type into a browser on this computer."""
    unspecified = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    host = unspecified.get(address, f"[{address}]" if ":" in address else address)
    return f"http://{host}:{port}"


def serve(address: str, port: int, offers: Offers, *, open_browser: bool) -> None:
    """Run the server until it is stopped.

    Args:
        address: Where to listen, see ``check_place``.
        port: Where it listens.
        offers: What the pages offer.
        open_browser: Open a browser once the server answers.
    """
    import streamlit as st

    offer(offers)
    threading.Thread(target=_import_pages, daemon=True).start()
    script = Path(__file__).parent / "entry.py"
    st.App(str(script)).run(config=settings(address, port, open_browser=open_browser))


def _import_pages() -> None:
    """Import what the pages need, torch above all, while nobody has opened one yet."""
    importlib.import_module("gsto_viz.explorer.cached")
