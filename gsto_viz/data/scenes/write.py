"""Write scenes as a folder that every tool can read: PNG images and maps, and classes.json."""

import sys
from pathlib import Path

from tqdm import tqdm

from gsto_viz.data.reader import encode_instances, write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_json
from gsto_viz.folders import new_folder
from gsto_viz.types import Dataset

SUBFOLDERS = ("images", "labels", "instances")


def write_scenes(
    out: str | Path, dataset: Dataset, *, overwrite: bool = False, progress: bool = False
) -> Path:
    """Write a data set with labels and instances to a folder, whole or not at all.

    The folder holds ``images/ID.png`` (8-bit RGB), ``labels/ID.png`` (8-bit class ids),
    ``instances/ID.png`` (16-bit, 0 = none) and ``classes.json``. It is filled under another name
    beside ``out`` and renamed at the end.

    Args:
        out: The folder to make.
        dataset: What to write.
        overwrite: Replace ``out`` if it is a folder that was written by this function.
        progress: Show a progress bar on stderr.

    Returns:
        The folder.

    Raises:
        GstoVizError: ``out`` is taken, an image has more than 65535 instances, or the operating
            system refused the write.
    """
    target = Path(out)
    with new_folder(target, (*SUBFOLDERS, "classes.json"), overwrite=overwrite) as work:
        for name in SUBFOLDERS:
            (work / name).mkdir()
        indices = range(len(dataset))
        for index in tqdm(indices, unit="image", file=sys.stderr, disable=not progress):
            _write_sample(work, dataset, index)
        write_json(work / "classes.json", dataset.classes.to_json())
    return target


def _write_sample(folder: Path, dataset: Dataset, index: int) -> None:
    sample = dataset[index]
    if sample.labels is None or sample.instances is None:
        raise GstoVizError(f"{sample.id} has no labels or no instances; both are written")
    write_png(folder / "images" / f"{sample.id}.png", sample.image)
    write_png(folder / "labels" / f"{sample.id}.png", sample.labels)
    write_png(folder / "instances" / f"{sample.id}.png", encode_instances(sample.instances))
