"""Which images are independent of each other: the units that intervals resample."""

from collections import defaultdict

import pandas as pd

_BLOCK = "/block"
"""Groups of frames are called ``FILM/blockN``."""


def clusters_of(images: pd.DataFrame, block: int | None) -> dict[str, str]:
    """Return the cluster of every image.

    Args:
        images: ``image`` and ``group``, the group that the data set gave it (its own name when it
            is independent of all others), one row or several for each image.
        block: So many consecutive images of a film, in the order of their names, make a cluster
            instead. Images with a name of their own as group are then frames of one film. None
            keeps the groups.
    """
    groups = dict(zip(images["image"], images["group"], strict=True))
    if block is None:
        return groups
    films: dict[str, list[str]] = defaultdict(list)
    for image in sorted(groups):
        film, mark, _ = groups[image].rpartition(_BLOCK)
        films[film if mark else ("" if groups[image] == image else groups[image])].append(image)
    return {
        image: f"{film}{_BLOCK}{position // block}"
        for film, frames in films.items()
        for position, image in enumerate(frames)
    }
