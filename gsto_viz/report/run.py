"""``analyze``: networks over annotated images, to an analyze folder.

The work is cut into chunks of a few images that are written whole; a run that was killed goes on
with the chunks that are missing, and processes of ``torchrun`` share them. One chunk is in memory
at a time.
"""

import json
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gsto_viz.anatomy import Anatomy
from gsto_viz.data import with_objects, with_persons
from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError, NumberingError, RefusedImageError
from gsto_viz.evaluate import adopt_classes, check_classes
from gsto_viz.files import versions, write_json
from gsto_viz.gains import Gains, gains_from_tensors, gains_to_tensors
from gsto_viz.models.checkpoint import read_tensors, write_tensors
from gsto_viz.network import Network, Source, open_network
from gsto_viz.nulls import random_draws
from gsto_viz.report.causal import check_explainable, explained, is_followed
from gsto_viz.report.estimates import model_summary
from gsto_viz.report.examples import COLUMNS, write_examples
from gsto_viz.report.folder import (
    CALIBRATION_IMAGES,
    CHUNK_IMAGES,
    EXAMPLES,
    GAINS,
    MANIFEST,
    MAX_REGIONS,
    RANDOM_DRAWS,
    SCHEMA_VERSION,
    SUMMARY,
    Settings,
    begin,
    check_free,
    clusters_of,
    fingerprint,
    is_finished,
    plain,
    read_json,
)
from gsto_viz.report.measure import count_objects
from gsto_viz.report.passes import layout_chunk, run_chunk
from gsto_viz.report.summary import Report, load_report
from gsto_viz.report.tables import (
    MISSING,
    PARTS,
    chunk_folder,
    merge,
    read_table,
    write_chunk,
    write_table,
)
from gsto_viz.stats.nulls import swapped_labels
from gsto_viz.types import Dataset
from gsto_viz.words import NULLS


@dataclass(frozen=True)
class _Job:
    """What the steps of one analysis share."""

    out: Path
    data: Dataset
    calibration: Dataset
    settings: Settings
    world: World
    quiet: bool
    census: Sequence[Mapping[str, Any]] = ()

    @property
    def chunks(self) -> int:
        return -(-self.settings.images // CHUNK_IMAGES)

    def bar(self, steps: Sequence[Any], what: str, unit: str) -> Any:
        """Wrap steps in a progress bar; only the first process shows one."""
        quiet = self.quiet or not self.world.is_main
        return tqdm(steps, desc=what, unit=unit, disable=quiet, leave=False)


def analyze(
    models: Mapping[str, Source],
    data: Dataset,
    out: str | Path | None = None,
    *,
    nulls: bool | Sequence[str] = False,
    attribution: bool = False,
    atlas: bool = False,
    calibration: Dataset | None = None,
    sites: Mapping[str, Anatomy] | None = None,
    reference: str | None = None,
    limit: int | None = None,
    size: str | None = None,
    seed: int = 0,
    max_regions: int = MAX_REGIONS,
    block: int | None = None,
    random_draws: int = RANDOM_DRAWS,
    resume: bool = False,
    overwrite: bool = False,
    census: Sequence[Mapping[str, Any]] = (),
    quiet: bool = True,
    world: World = ALONE,
) -> Report:
    """Measure which object sizes the branches of networks answer for.

    Args:
        models: One to eight networks by name (letters, digits, ``-`` and ``_``): modules, shipped
            names or files. By custom ``A`` is the baseline and comes before ``B``.
        data: Annotated images at network-input size.
        out: The folder to write; None for one that lives as long as the report.
        nulls: Compute null models N1 to N5 as well, or those named; N3 runs every network
            ``random_draws`` times more with random weights. One that a network cannot have is
            missing, with the reason, and the others remain.
        attribution: Compute exact Shapley values of the branches for every region (SCI_C) and the
            scale transfer of resized objects (STP) as well: ten more passes an image, two of them
            of larger images; with nulls one more, of the image at twice its size, for each of the
            ``random_draws``.
        atlas: Describe the features of the branches as well: variance and its disequilibrium,
            spectral redundancy, similarity of objects.
        calibration: Images whose first 64 by id give the per-channel gains; None for those of the
            data.
        sites: By key, where a network is read that does not know its branches.
        reference: The network that all others are compared with; None: the first.
        limit: Only the first so many images.
        size: What the images were resized to, for the record.
        seed: Of null models, bootstrap and the choice of regions.
        max_regions: Rows kept of one image and network.
        block: So many consecutive images of a film (in the order of their names) count as one
            independent unit of intervals and tests; None: the groups of the data set. Shorter
            blocks than those make intervals too narrow when neighbours look alike.
        random_draws: Draws of N3; 0 leaves this null model out.
        resume: Go on with an analysis in ``out`` (begin it when there is none).
        overwrite: Replace what ``out`` holds.
        census: What was found in the labels before, for the record.
        quiet: No progress bars on stderr.
        world: The processes that share the work (``gsto_viz.distributed.join_world``); all of
            them call this function, with one ``out``.

    Returns:
        The report, the same in every process.

    Raises:
        GstoVizError: A network or the data does not fit, ``out`` is taken, images have no labels,
            none of them can be read, or no region of them qualifies.
    """
    keys = ordered_names(models, reference)
    own: tempfile.TemporaryDirectory[str] | None = None
    if out is None and world.size > 1:
        raise GstoVizError("several processes need one folder to share; give out")
    if out is None:
        own = tempfile.TemporaryDirectory(prefix="gsto-viz-")
        out = Path(own.name) / "analysis"
    calibration = None if calibration is data else calibration
    networks = [open_for(data, key, models[key], (sites or {}).get(key)) for key in keys]
    data = with_objects(with_regions(data, networks))
    _check_numbers(random_draws, block, seed)
    count = len(data) if limit is None else min(limit, len(data))
    if count < 1:
        raise GstoVizError(f"{data.name} has no images to analyze; give at least one")
    chosen = chosen_nulls(nulls)
    finished = resume and is_finished(Path(out))
    if attribution:
        check_explainable(networks)
    settings = Settings(
        data=data.name,
        size=size,
        images=count,
        ids_sha256=fingerprint(tuple(data.ids[:count])),
        calibration=data.name if calibration is None else calibration.name,
        models={one.key: _record(one, attribution) for one in networks},
        nulls=chosen,
        attribution=attribution,
        atlas=atlas,
        seed=seed,
        random_draws=random_draws,
        max_regions=max_regions,
        block=block,
    )
    if not finished:
        check_free(Path(out), resume=resume, overwrite=overwrite)
        _check_one_image(networks, data, count)
        count_objects(data, count).refuse_none()
    job = _Job(
        Path(out),
        data,
        data if calibration is None else calibration,
        settings,
        world,
        quiet,
        census,
    )
    _run(job, networks, resume=resume, overwrite=overwrite)
    report = load_report(out)
    if own is not None:
        weakref.finalize(report, own.cleanup)
    return report


def _check_numbers(random_draws: int, block: int | None, seed: int) -> None:
    """Refuse numbers that mean nothing."""
    if random_draws < 0:
        raise GstoVizError(f"random_draws {random_draws}: give 0 (no N3) or more")
    if seed < 0:
        raise GstoVizError(f"seed {seed} is negative; give 0 or more")
    if block is not None and block < 1:
        raise GstoVizError(f"block {block}: give the images of one block, at least 1")


MAX_NETWORKS = 8
"""More rows, colours and markers cannot be told apart."""
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def ordered_names(names: Iterable[str], reference: str | None = None) -> list[str]:
    """Return the names of networks, the reference first, A before B where there are no others.

    Raises:
        GstoVizError: None or more than eight, a name that folders and tables could not carry, or an
            unknown reference.
    """
    known = list(names)
    if not 1 <= len(known) <= MAX_NETWORKS:
        raise GstoVizError(f"{len(known)} networks were given; give 1 to {MAX_NETWORKS}")
    for name in known:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GstoVizError(
                f"'{name}' is not a name for a network; use letters, digits, - and _"
            )
    if reference is not None and reference not in known:
        raise GstoVizError(f"the reference '{reference}' is not among {', '.join(known)}")
    if set(known) == {"A", "B"}:
        known.sort()
    return sorted(known, key=lambda name: name != reference)


def _record(network: Network, attribution: bool) -> dict[str, Any]:
    """Return what the manifest says of a network, and whether it is left out of attribution."""
    left_out = attribution and not is_followed(network)
    return network.record() | ({"unexplained": True} if left_out else {})


def open_for(data: Dataset, key: str, source: Source, site: Anatomy | None = None) -> Network:
    """Open a network for analysis on a data set.

    Args:
        data: The images; the classes of a checkpoint must be those of the data. Of a network for
            pose, the joints must be those of the data, if these have any.
        key: Its name in the comparison.
        source: Of the network.
        site: Where a foreign network is read; None: where it says.

    Raises:
        GstoVizError: Other classes or joints than the data, or unknown branches.
    """
    network = open_network(source, key=key, site=site)
    if network.task == "pose":
        check_classes(network.module, data)
        network.check_branches()
        return network
    network = replace(network, predicts=len(data.classes))
    adopt_classes(network.module, data)
    if network.classes is not None and network.classes.names != data.classes.names:
        raise GstoVizError(
            f"{key} ({network.name}) knows {', '.join(network.classes.names)} and {data.name} has "
            f"{', '.join(data.classes.names)}; analyze data of the classes of the network"
        )
    network.check_branches()
    return network


def with_regions(data: Dataset, networks: Iterable[Network]) -> Dataset:
    """Return the data with the regions that networks are compared on.

    Those are all of the annotation; persons alone where a network is for pose and the data have
    persons.
    """
    pose = any(network.task == "pose" for network in networks)
    return with_persons(data) if pose else data


def chosen_nulls(asked: bool | Sequence[str]) -> bool | list[str]:
    """Return which null models are computed: all (True), none (False), or their names in order.

    Raises:
        GstoVizError: There is none of a name.
    """
    if isinstance(asked, bool):
        return asked
    unknown = [name for name in asked if name not in NULLS]
    if unknown or not asked:
        raise GstoVizError(
            f"no null model '{', '.join(unknown)}'; choose out of {', '.join(NULLS)}, or all"
        )
    chosen = [name for name in NULLS if name in asked]
    return True if len(chosen) == len(NULLS) else chosen


def _check_one_image(networks: Sequence[Network], data: Dataset, count: int) -> None:
    """See that the networks fit the first image that all of them take.

    Raises:
        GstoVizError: No image can be read and taken, for the reason of the first, one has no
            labels, or see ``Network.check``.
    """
    first: GstoVizError | None = None
    for index in range(count):
        try:
            sample = data[index]
        except NumberingError:
            raise
        except GstoVizError as error:
            first = first or error
            continue
        if sample.labels is None:
            raise GstoVizError(
                f"{sample.id} has no labels; sizes of objects need annotated images, give a data "
                "set with label maps"
            )
        try:
            for network in networks:
                network.check(sample.image, sample.id)
        except RefusedImageError as error:
            first = first or error
            continue
        return
    raise GstoVizError(f"none of {count} images can be analyzed; {first}") from first


def _run(job: _Job, networks: list[Network], *, resume: bool, overwrite: bool) -> None:
    """Do the steps of an analysis; each ends when every process is through with it."""
    with job.world.together():
        if job.world.is_main:
            begin(job.out, job.settings, resume=resume, overwrite=overwrite)
    if not is_finished(job.out):
        with _nothing_half_made(job):
            _steps(job, networks)


@contextmanager
def _nothing_half_made(job: _Job) -> Iterator[None]:
    """Take the folder away again when an error ends the run and there is nothing to resume."""
    try:
        yield
    except GstoVizError as error:
        measured = any(chunk_folder(job.out, k).is_dir() for k in range(job.chunks))
        if job.world.is_main and (isinstance(error, _NoRegionsError) or not measured):
            shutil.rmtree(job.out, ignore_errors=True)
        raise


class _NoRegionsError(GstoVizError):
    """All was measured, and there is nothing in it."""


def _steps(job: _Job, networks: list[Network]) -> None:
    """Measure what is missing in a folder that was begun."""
    started = time.monotonic()
    with job.world.together():
        if job.world.is_main:
            _measure_gains(job, networks)
    networks = _with_gains(job, networks)
    if job.settings.attribution:
        networks = [explained(network, _calibration_images(job, networks)) for network in networks]
    calibration_s = time.monotonic() - started
    with job.world.together():
        _chunks(job, networks)
    with job.world.together():
        if job.world.is_main:
            _finish(job, networks, calibration_s, time.monotonic() - started)


def _calibration_images(job: _Job, networks: Sequence[Network]) -> Iterator[npt.NDArray[np.uint8]]:
    """Read the first 64 calibration images by id, those that can be read and all networks take."""
    same = job.calibration is job.data
    count = job.settings.images if same else len(job.calibration)
    by_id = sorted(range(count), key=lambda k: job.calibration.ids[k])
    for index in by_id[:CALIBRATION_IMAGES]:
        try:
            image = job.calibration[index].image
        except GstoVizError:
            # The pass over the images names it; here the others serve.
            continue
        if not any(network.refuses(image) for network in networks):
            yield image


def _measure_gains(job: _Job, networks: list[Network]) -> None:
    """Measure the gains of every network on the same images, once for all processes."""
    if (job.out / GAINS).is_file():
        return
    gains: dict[str, Gains] = {}
    transmissions = {}
    for network in job.bar(networks, "calibrate", "network"):
        measured = network.calibrated(_calibration_images(job, networks))
        gains |= {f"{network.key}/{tap}": one for tap, one in measured.gains.items()}
        transmissions[network.key] = dict(measured.transmission)
    about = {"transmission": json.dumps(transmissions)}
    write_tensors(job.out / GAINS, gains_to_tensors(gains), about)


def _with_gains(job: _Job, networks: list[Network]) -> list[Network]:
    """Give every network the gains that the folder holds."""
    tensors, about = read_tensors(job.out / GAINS)
    known, transmissions = gains_from_tensors(tensors), json.loads(about["transmission"])
    return [
        replace(
            network,
            gains={tap: known[f"{network.key}/{tap}"] for tap in network.anatomy.branch_taps},
            transmission=transmissions[network.key],
        )
        for network in networks
    ]


def _chunks(job: _Job, networks: list[Network]) -> None:
    """Measure the chunks that are missing, this process's share."""
    todo = [k for k in job.world.share(job.chunks) if not chunk_folder(job.out, k).is_dir()]
    if not todo:
        return
    drawn = job.settings.has_null("N3") and job.settings.random_draws > 0
    random = _random_networks(job, networks) if drawn else {}
    partners = _partners(job) if job.settings.has_null("N2") else {}
    for number in job.bar(todo, "analyze", "chunk"):
        first = number * CHUNK_IMAGES
        indices = range(first, min(first + CHUNK_IMAGES, job.settings.images))
        chunk = run_chunk(networks, random, job.data, indices, job.settings, partners)
        write_chunk(job.out, number, chunk.tables(), chunk.maps)


def _random_networks(job: _Job, networks: list[Network]) -> dict[str, list[Network]]:
    """Draw random weights for every network (N3), alive and calibrated on the same images."""
    images = list(_calibration_images(job, networks))
    found: dict[str, list[Network]] = {}
    missing: dict[str, dict[str, str]] = {}
    for network in networks:
        tensors = [network.tensor(image) for image in images]
        draws = random_draws(
            network.module, tensors, draws=job.settings.random_draws, seed=job.settings.seed
        )
        try:
            found[network.key] = [
                # No class is asked of random weights, so their logits may be anything.
                _alive(job, replace(network, module=twin, predicts=0), images)
                for twin in job.bar(draws, f"random weights {network.key}", "draw")  # type: ignore[arg-type]
            ]
        except GstoVizError as error:
            missing[network.key] = {"N3": str(error)}
    write_json(job.out / MISSING, missing)
    return found


def _alive(job: _Job, twin: Network, images: list[npt.NDArray[np.uint8]]) -> Network:
    """Calibrate a random-weight draw on the images of its original."""
    measured = twin.calibrated(images)
    return explained(measured, images) if job.settings.attribution else measured


def _partners(job: _Job) -> dict[int, int | None]:
    """Return whose annotation each image takes under N2, without images that cannot be read."""
    sizes: dict[int, tuple[int, int]] = {}
    for index in job.bar(range(job.settings.images), "sizes of images", "image"):
        try:
            shape = job.data[index].image.shape
        except GstoVizError:
            continue
        sizes[index] = (shape[0], shape[1])
    readable = sorted(sizes)
    swapped = swapped_labels([sizes[k] for k in readable])
    return {
        index: None if other is None else readable[other]
        for index, other in zip(readable, swapped, strict=True)
    }


def _finish(job: _Job, networks: list[Network], calibration_s: float, seconds: float) -> None:
    """Join the chunks, compute the summary, keep examples; the manifest comes last."""
    out, data = job.out, job.data
    merge(out, job.chunks)
    if job.settings.nulls:
        adjusted = layout_chunk(out, job.chunks, networks, data, job.settings)
        for name, table in adjusted.tables().items():
            write_table(out / f"{name}.parquet", [table], table.schema)
    rows = read_table(out, "images")
    skipped = rows[rows["model"].isna()][["image", "reason"]].to_dict("records")
    read = rows[rows["model"].notna()]
    if read.empty:
        first = skipped[0]
        raise _NoRegionsError(f"none of {len(skipped)} images can be analyzed; {first['reason']}")
    if not read["regions"].sum():
        raise _NoRegionsError(
            f"none of {read['image'].nunique()} images has a labelled region: every pixel is "
            "ignored; see gsto-viz check"
        )
    clusters = clusters_of(read, job.settings.block)
    manifest = {
        **job.settings.to_json(),
        "classes": data.classes.to_json(),
        "skipped": skipped,
        "census": [dict(one) for one in job.census],
    }
    tables = Report(out, manifest, {}, data.classes, clusters)
    missing = read_json(out / MISSING) if (out / MISSING).is_file() else {}
    summary = {
        "schema_version": SCHEMA_VERSION,
        "data": job.settings.data,
        "images": int(read["image"].nunique()),
        "clusters": len(set(clusters.values())),
        "skipped": skipped,
        "models": {
            one.key: model_summary(tables, one.key, one.transmission)
            | {"costs": one.costs}
            | ({"missing_nulls": missing[one.key]} if one.key in missing else {})
            for one in job.bar(networks, "statistics", "network")
        },
    }
    regions = {key: tables.rows("regions", key, COLUMNS) for key in tables.keys}
    examples = write_examples(out / EXAMPLES, networks, data, regions)
    write_json(out / SUMMARY, plain(summary))
    manifest |= {
        "examples": examples,
        "calibration_images": CALIBRATION_IMAGES,
        "calibration_seconds": round(calibration_s, 3),
        "seconds": round(seconds, 3),
        "processes": job.world.size,
        "size_unit": "pixels of the network input; octaves are log2 of the square root of the area",
        "versions": versions(),
    }
    write_json(out / MANIFEST, manifest)
    shutil.rmtree(out / PARTS, ignore_errors=True)
