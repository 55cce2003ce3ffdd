"""Tables of one image: mean percentile response by branch and object size, A beside B."""

from collections.abc import Mapping

import pandas as pd

from gsto_viz.look import Look
from gsto_viz.regions import region_table
from gsto_viz.stats import response_by_octave
from gsto_viz.types import Sample


def responses(sample: Sample, shown: Mapping[str, Look]) -> dict[str, pd.DataFrame]:
    """Return the response of each network by branch and size octave, on this image alone.

    Args:
        sample: With labels.
        shown: By letter, what each network shows for it.

    Returns:
        By letter, as ``response_by_octave``; no rows when no region qualifies.
    """
    assert sample.labels is not None
    return {
        letter: response_by_octave(
            region_table(
                sample.labels,
                inspection.activity,
                strides=inspection.strides,
                instances=sample.instances,
                image=sample.id,
            ),
            inspection.strides,
        )
        for letter, inspection in shown.items()
    }


def side_by_side(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per size octave and one column per network and branch, for the screen.

    Columns: ``size (px)`` (of the square root of the area), ``regions``, then ``A /4``, ``A /8``...
    """
    counts = pd.concat(list(frames.values())).groupby("octave")["n_regions"].max()
    octaves = [int(octave) for octave in counts.index]
    columns: dict[str, list[str] | list[int] | list[float]] = {
        "size (px)": [f"{2**o} to {2 ** (o + 1)}" for o in octaves],
        "regions": [int(count) for count in counts],
    }
    for letter, frame in frames.items():
        for stride, rows in frame.groupby("stride"):
            means = rows.set_index("octave")["mean"]
            columns[f"{letter} /{stride}"] = [float(means.get(o, float("nan"))) for o in octaves]
    return pd.DataFrame(columns)
