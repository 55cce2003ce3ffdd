"""A fast pass over a whole data set that finds everything that would stop a run in the middle."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from gsto_viz.errors import GstoVizError
from gsto_viz.types import IGNORE, Dataset, Sample


@dataclass(frozen=True)
class Problem:
    """Why one sample cannot be used.

    Attributes:
        index: Place in the data set.
        id: Name in the data set.
        message: One sentence: file, what is wrong, what to do.
    """

    index: int
    id: str
    message: str


def check_dataset(
    data: Dataset, quiet: bool = False, *, threads: int | None = None
) -> tuple[Problem, ...]:
    """Read every sample: it opens, is annotated, its maps have its size, all labels are classes.

    Args:
        data: What to check; it is read from several threads.
        quiet: No progress bar.
        threads: How many; by default one per core.

    Returns:
        One entry per sample that cannot be used, in index order. Samples that are wrong for one and
        the same reason (a file that several share) are named once.
    """
    bar = tqdm(total=len(data), desc=f"checking {data.name}", disable=quiet, leave=False)
    found: list[Problem] = []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool, bar:
        futures = [pool.submit(_check, data, index) for index in range(len(data))]
        try:
            for future in futures:
                problem = future.result()
                if problem is not None:
                    found.append(problem)
                bar.update()
        finally:
            for future in futures:
                future.cancel()
    return tuple({problem.message: problem for problem in reversed(found)}.values())[::-1]


def raise_problems(data: Dataset, problems: Sequence[Problem], *, most: int = 3) -> None:
    """Stop when there are problems.

    Args:
        data: What was checked.
        problems: What ``check_dataset`` found.
        most: How many are named.

    Raises:
        GstoVizError: There are some; the message counts them and names the first.
    """
    if problems:
        named = "; ".join(problem.message for problem in problems[:most])
        more = f"; and {len(problems) - most} more" if len(problems) > most else ""
        raise GstoVizError(
            f"{len(problems)} of {len(data)} samples of {data.name} cannot be used: {named}{more}"
        )


def _check(data: Dataset, index: int) -> Problem | None:
    try:
        message = sample_problem(data[index], len(data.classes))
    except GstoVizError as error:
        message = str(error)
    return None if message is None else Problem(index, data.ids[index], message)


def sample_problem(sample: Sample, num_classes: int) -> str | None:
    """Say in one sentence why a sample cannot be trained on or scored; None when it can."""
    labels = sample.labels
    if labels is None:
        return f"{sample.id} has no labels; annotate it or leave it out"
    for what, array in (("labels", labels), ("instances", sample.instances)):
        if array is not None and array.shape != sample.image.shape[:2]:
            height, width = sample.image.shape[:2]
            return (
                f"{sample.id}: the image is {height}x{width} and its {what} are "
                f"{'x'.join(map(str, array.shape))}; make them equal"
            )
    stray = labels[(labels >= num_classes) & (labels != IGNORE)]
    if stray.size:
        return (
            f"{sample.id} has label {stray.min()} and the class list ends at {num_classes - 1}; "
            f"correct the labels or use {IGNORE} for no class"
        )
    return None
