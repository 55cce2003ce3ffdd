"""The scores of ``gsto-viz evaluate`` as an aligned text table, in percent."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from gsto_viz.evaluate import Evaluation
    from gsto_viz.stats.cityscapes import CityscapesScores

MEASURES = (("recall", "recall"), ("iou", "IoU"), ("boundary_iou", "boundary IoU"))


def table(evaluation: "Evaluation") -> str:
    """Return all scores of an evaluation."""
    lines = [
        f"{evaluation.data}: {evaluation.images} images, protocol {evaluation.protocol.name}",
        *_class_lines(evaluation),
        *_summary_lines(evaluation),
    ]
    if evaluation.cityscapes is not None:
        lines += ["", *_category_lines(evaluation.cityscapes)]
    if evaluation.outcome is not None:
        lines += ["", *_size_lines(evaluation.outcome.sizes)]
    return "\n".join(lines) + "\n"


def _cell(value: float | None, width: int = 8) -> str:
    return f"{'-' if value is None else f'{value:.2f}':>{width}}"


def _class_lines(evaluation: "Evaluation") -> Iterator[str]:
    """One line per class; boundary IoU and iIoU where there are any."""
    scores, outcome, cityscapes = evaluation.scores, evaluation.outcome, evaluation.cityscapes
    boundary = None if outcome is None else outcome.boundary_iou
    iiou = cityscapes.class_iiou if cityscapes is not None else {}
    by_instance = {name.casefold(): value for name, value in iiou.items()}
    head = f"{'class':<16}{'IoU':>8}{'recall':>8}{'boundary IoU':>14}"
    yield (head if boundary else head[:32]) + f"{'iIoU':>8}" * bool(iiou) + f"{'pixels':>12}"
    for k, info in enumerate(evaluation.classes):
        cells = _cell(scores.iou[k]) + _cell(scores.accuracy[k])
        if boundary:
            cells += _cell(boundary[k], 14)
        if iiou:
            cells += _cell(by_instance.get(info.name.casefold()))
        yield f"{info.name:<16}{cells}{scores.pixels[k]:>12}"


def _summary_lines(evaluation: "Evaluation") -> Iterator[str]:
    """The means over the data set."""
    scores, outcome = evaluation.scores, evaluation.outcome
    yield f"{'mIoU':<24}{_cell(scores.miou)}"
    yield f"{'pixel accuracy':<24}{_cell(scores.pixel_accuracy)}"
    yield f"{'mean accuracy':<24}{_cell(scores.mean_accuracy)}"
    if outcome is not None:
        width = f"within {100 * outcome.boundary_ratio:g} % of the diagonal"
        yield f"{'mean boundary IoU':<24}{_cell(outcome.mean_boundary_iou)}  {width}"
        image = outcome.image_miou
        interval = _interval(image.low, image.high)
        yield f"{'mean mIoU of an image':<24}{_cell(image.value)}  {interval}"


def _category_lines(scores: "CityscapesScores") -> Iterator[str]:
    """The seven categories and the benchmark's own means."""
    yield f"{'category':<16}{'IoU':>8}{'iIoU':>8}"
    for name, iou in scores.categories.items():
        yield f"{name:<16}{_cell(iou)}{_cell(scores.category_iiou.get(name))}"
    yield f"{'mean':<16}{_cell(scores.iou_category)}{_cell(scores.iiou_category)}"
    yield f"{'iIoU of classes':<24}{_cell(scores.iiou_class)}"


def _interval(low: float | None, high: float | None) -> str:
    """Write an interval; ends that are missing are None or NaN."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "[no interval]"
    return f"[{low:.1f}, {high:.1f}]"


def _size_lines(sizes: "pd.DataFrame") -> Iterator[str]:
    """Recall, IoU and boundary IoU by size octave, with 95 % intervals over images."""
    head = "".join(f"{name:>24}" for _, name in MEASURES)
    yield f"{'size of object (px)':>19}{'regions':>9}{head}"
    for octave in sorted({int(value) for value in sizes["octave"]}):
        rows = sizes[sizes["octave"] == octave]
        cells = ""
        for measure, _ in MEASURES:
            row = rows[rows["measure"] == measure].iloc[0]
            cells += f"{row['mean']:.2f} {_interval(row['low'], row['high']):>14}".rjust(24)
        size = f"{2**octave} to {2 ** (octave + 1)}"
        yield f"{size:>19}{rows['n_regions'].iloc[0]:>9}{cells}"
    reason = sizes["reason"].dropna()
    if len(reason):
        yield f"no interval: {reason.iloc[0]}"
