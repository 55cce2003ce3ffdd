"""What can be known to be wrong before the first step."""

from tqdm import tqdm

from gsto_viz.errors import GstoVizError
from gsto_viz.types import Dataset


def validation_spec(spec: str) -> str:
    """Return the SPEC of the validation images that belong to training images.

    Scenes: 64 scenes of an evaluation seed at the same size. A folder of a data set: its ``val``
    split.
    """
    name, _, rest = spec.partition(":")
    if name == "scenes":
        kept = [part for part in rest.split(",") if part.startswith("size=")]
        return ":".join(["scenes", ",".join(["count=64", *kept])])
    path, colon, split = rest.rpartition(":")
    return f"{name}:{path}:val" if colon and split == "train" else f"{name}:{rest}"


def check_data(data: Dataset, *, quiet: bool = True) -> None:
    """Read every sample once; name all that cannot be used.

    Raises:
        GstoVizError: The first problem, and how many samples have one.
    """
    problems = []
    for index in tqdm(range(len(data)), desc=f"checking {data.name}", disable=quiet, leave=False):
        try:
            sample = data[index]
            if sample.labels is None:
                problems.append(f"{sample.id} has no labels")
        except GstoVizError as error:
            problems.append(str(error))
    if problems:
        raise GstoVizError(
            f"{len(problems)} of {len(data)} samples of {data.name} cannot be used; "
            f"the first: {problems[0]}"
        )
