"""A look at every image of a data set before the first step."""

from collections import deque

import torch
from tqdm import tqdm

from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.train.reading import Readers, result


def check_data(readers: Readers, world: World = ALONE, *, quiet: bool = True) -> None:
    """Read every sample of a data set once; each process takes its share.

    Args:
        readers: What reads it; samples are kept as far as they keep any.
        world: The processes that share the work.
        quiet: No progress bar.

    Raises:
        GstoVizError: Samples cannot be used: how many, and what is wrong with the first.
    """
    data = readers.reader.data
    name, count = data.name, len(data)
    first, bad, problem = count, 0, ""
    own = world.share(count)
    with readers.open() as submit:
        pending = deque((index, submit("problem", index)) for index in own)
        with tqdm(total=len(own), desc=f"checking {name}", disable=quiet, leave=False) as bar:
            while pending:
                index, future = pending.popleft()
                found = result(future)
                bar.update()
                if found is not None:
                    bad += 1
                    first, problem = min((first, problem), (index, found))
    total = int(world.sum(torch.tensor(bad)))
    if total:
        firsts = [int(t) for t in world.gather(torch.tensor([first]))]
        error = GstoVizError(
            f"{total} of {count} samples of {name} cannot be used; the first: {problem}"
        )
        # All agree on the message of the process that holds the first of all.
        world.agree(error if first == min(firsts) else None)
