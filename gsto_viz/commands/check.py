"""``gsto-viz check``: what label maps really hold, before any number is made from them."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gsto_viz.commands.options import (
    add_official_options,
    check_output_file,
    is_quiet,
    official_options,
    share,
    write_result,
)
from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    from gsto_viz.census import Census, Finding
    from gsto_viz.data import PeopleCount
    from gsto_viz.network import Network
    from gsto_viz.types import Dataset

NAME = "check"
HELP = "count what the label maps of a data set hold, and see that a network fits them"
EXAMPLES = (
    "gsto-viz check camvid:PATH:val",
    "gsto-viz check folder:PATH runs/b/best.safetensors",
    "gsto-viz check cityscapes:PATH:train --limit 200 --json census.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``gsto-viz check``."""
    parser.add_argument("data", metavar="SPEC", help="annotated images")
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="a shipped name or a file"
    )
    add_official_options(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="read N label maps, drawn by --seed")
    share(parser, seed="which label maps", json="the census")


def run(args: argparse.Namespace) -> int:
    """Print the census; the status is 2 when it holds what would stop a run."""
    from gsto_viz.census import take_census
    from gsto_viz.data import load_data
    from gsto_viz.network import open_network

    check_output_file(args.json, "--json")
    data = load_data(args.data, purpose="eval")
    network = None
    if args.checkpoint:
        network = open_network(args.checkpoint, **official_options(args))
    census = take_census(data, most=args.limit, seed=args.seed, quiet=is_quiet(args))
    text = ""
    facts: dict[str, object] = {"schema_version": 1}
    if network is not None:
        census.others += tuple(_misfits(network, data, census))
        facts["checkpoint"] = network.weights_record()
        text = "\n".join([*text_table(_network_rows(network), "<"), "", ""])
    write_result(args, facts | census.to_json(), text + _census_text(census))
    stops = [one for one in census.findings() if one.stops]
    for one in stops:
        sys.stderr.write(f"gsto-viz check: {one}\n")
    return 2 if stops else 0


def _network_rows(network: "Network") -> Iterator[tuple[object, ...]]:
    """What a checkpoint says of itself, as far as data must fit it."""
    yield "network", f"{network.name} ({network.architecture})"
    if network.info is not None:
        yield "classes", f"{len(network.info.classes)}: {', '.join(network.info.classes.names)}"
        for word in ("mean", "std"):
            yield word, " ".join(f"{value:.4g}" for value in getattr(network.info, word))
    yield "strides", " ".join(str(stride or "-") for stride in network.anatomy.strides)


def _census_text(census: "Census") -> str:
    """Return the census as tables for the screen."""
    from gsto_viz.types import IGNORE
    from gsto_viz.words import counted

    names = {info.id: info.name for info in census.classes} | {IGNORE: "(no class)"}
    total = max(sum(census.values.values()), 1)
    how = "all" if census.seed is None else f"a sample, seed {census.seed}, of {census.samples}"
    rows: list[tuple[object, ...] | str] = [("value", "class", "pixels", "share", "maps")]
    for (value, class_id), pixels in sorted(census.values.items()):
        share = f"{100 * pixels / total:.2f} %"
        rows.append((value, names[class_id], pixels, share, census.maps[value]))
    rows += [("-", info.name, 0, "0.00 %", 0) for info in census.absent]
    lines = [f"{census.data}: {counted(census.read, 'label map')} ({how})"]
    lines += text_table(rows, "><>")
    lines += ["", *text_table(_size_rows(census), "<>")]
    if census.objects:
        lines += ["", *text_table(_object_rows(census, names), "<>")]
    if census.people is not None:
        lines += _people_lines(census.people)
    found = census.findings()
    lines += ["", *(text_table(_finding_rows(found), "<") if found else ["nothing to remark"])]
    return "\n".join(lines) + "\n"


def _size_rows(census: "Census") -> Iterator[tuple[object, ...]]:
    yield "image size (px)", "images"
    for (height, width), images in census.sizes.most_common(8):
        yield f"{width} x {height}", images
    if len(census.sizes) > 8:
        yield "other sizes", sum(count for _, count in census.sizes.most_common()[8:])


def _object_rows(census: "Census", names: Mapping[int, str]) -> Iterator[tuple[object, ...]]:
    """Regions by class and octave of linear size."""
    octaves = sorted({octave for _, octave in census.objects})
    yield "regions by size (px)", *map(_octave_word, octaves)
    for class_id in sorted({class_id for class_id, _ in census.objects}):
        yield names[class_id], *(census.objects[class_id, k] or None for k in octaves)


def _octave_word(octave: int) -> str:
    return f"{2**octave}-{2 ** (octave + 1)}"


def _people_lines(count: "PeopleCount") -> list[str]:
    """Return the tables of persons and joints."""
    from gsto_viz.data import VISIBILITY
    from gsto_viz.words import counted

    octaves = sorted(count.sizes)
    sizes = [
        ("persons by size (px)", *map(_octave_word, octaves)),
        (counted(count.persons, "person"), *(count.sizes[k] for k in octaves)),
    ]
    joints: list[tuple[object, ...]] = [("joint", *VISIBILITY[::-1])]
    for k, name in enumerate(count.joints.classes.names):
        joints.append((name, *(count.seen[k, n] for n in (2, 1, 0))))
    per = f"{count.joints_per_person:.1f} annotated joints a person"
    without = f"{counted(len(count.without), 'image')} without persons"
    return ["", f"{per}, {without}", *text_table(sizes, "<>"), "", *text_table(joints, "<>")]


def _finding_rows(found: "Sequence[Finding]") -> Iterator[tuple[object, ...]]:
    for one in found:
        yield "STOPS" if one.stops else "note", one.code, f"{one.sentence}; {one.advice}"


def _misfits(network: "Network", data: "Dataset", census: "Census") -> "Iterator[Finding]":
    """What does not fit between a network and a data set."""
    from gsto_viz.census import Finding
    from gsto_viz.errors import GstoVizError
    from gsto_viz.evaluate import check_classes
    from gsto_viz.types import coarsest_pixels
    from gsto_viz.words import counted

    try:
        check_classes(network.module, data)
    except GstoVizError as error:
        sentence, _, advice = str(error).rpartition("; ")
        yield Finding("other-classes", sentence, advice, stops=True)
    coarsest = coarsest_pixels(network.anatomy.strides)
    small = sum(n for size, n in census.sizes.items() if min(size) < coarsest)
    if small:
        yield Finding(
            "small",
            f"{counted(small, 'image is', 'images are')} smaller than the stride of the coarsest "
            f"branch, {coarsest}",
            "make them larger or take them away",
        )
