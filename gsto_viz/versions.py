"""Versions of what a result depends on, for manifests."""

import platform
from importlib import metadata

from gsto_viz import __version__

PACKAGES = ("torch", "numpy", "scipy", "opencv-python-headless", "pandas", "matplotlib")


def versions() -> dict[str, str]:
    """Return versions of Python, gsto_viz and the packages that results depend on."""
    found = {"python": platform.python_version(), "gsto_viz": __version__}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    return found
