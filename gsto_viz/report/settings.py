"""What an analysis depends on, as plain values: kept in its folder, compared when it resumes."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from gsto_viz.errors import GstoVizError

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
    for name, value in settings.to_json().items():
        if values.get(name) != value:
            raise GstoVizError(
                f"{where} was begun with {name}={values.get(name)!r} and now {name} is {value!r}; "
                "use the same settings, another folder, or --overwrite"
            )
