"""What can be known to be wrong before the first step."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gsto_viz.data.check import sample_problem
from gsto_viz.errors import GstoVizError
from gsto_viz.train.identity import portable_name
from gsto_viz.types import Dataset, Sample


class Annotated(NamedTuple):
    """A sample that can be trained on: (H, W, 3) and (H, W), uint8, labels 0..K-1 or 255."""

    id: str
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def annotated(sample: Sample, num_classes: int) -> Annotated:
    """Check that a sample can be trained on.

    Raises:
        GstoVizError: It has no labels, labels of another size, or a label outside the class list.
    """
    problem = sample_problem(sample, num_classes)
    if problem is not None or sample.labels is None:
        raise GstoVizError(problem or f"{sample.id} has no labels")
    return Annotated(sample.id, sample.image, sample.labels)


def validation_spec(spec: str) -> str:
    """Return the SPEC of the validation images that belong to training images.

    Scenes: 64 scenes of an evaluation seed, of the same size and kind. Anything else: the ``val``
    split where ``spec`` says ``train`` or no split, else the same images.
    """
    name, _, rest = spec.partition(":")
    if name == "scenes":
        parts = [part.strip() for part in rest.split(",")]
        kept = [part for part in parts if part.startswith(("size=", "decorrelated="))]
        return ":".join(["scenes", ",".join(["count=64", *kept])])
    path, colon, split = rest.rpartition(":")
    return f"{name}:{path}:val" if colon and split == "train" else spec


def check_splits(data: Dataset, val: Dataset | None) -> None:
    """Refuse data sets that do not go together in a training run, by what they say of themselves.

    Raises:
        GstoVizError: CamVid's ``eval`` split (it is kept for evidence), or validation images with
            other classes than the training images.
    """
    for part in (data, val):
        if part is not None and portable_name(part.name) == "camvid:eval":
            raise GstoVizError(
                f"{part.name} is kept for evidence and never trained or tuned on; take the splits "
                "train and val"
            )
    if val is None:
        return
    ours, theirs = data.classes.names, val.classes.names
    if len(ours) != len(theirs):
        raise GstoVizError(
            f"{data.name} has {len(ours)} classes and {val.name} has {len(theirs)}; validate on "
            "data of the same classes"
        )
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.casefold() != b.casefold():
            raise GstoVizError(
                f"class {k} is '{a}' in {data.name} and '{b}' in {val.name}; validate on data of "
                "the same classes"
            )
