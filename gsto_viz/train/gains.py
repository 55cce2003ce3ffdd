"""Per-channel gains of the default taps, measured when a network is trained."""

from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from gsto_viz.calibrate import calibrate
from gsto_viz.errors import GstoVizError
from gsto_viz.models.checkpoint import load_checkpoint, save_checkpoint
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.types import Dataset


def add_gains(checkpoint: Path, data: Dataset, *, images: int = 64, quiet: bool = True) -> None:
    """Measure per-channel gains of the default taps and store them; keep those that are there.

    Args:
        checkpoint: One of our files; it is rewritten with the gains inside.
        data: Training images; the first ``images`` of them by id are used, at native size.
        images: How many.
        quiet: No progress bar.
    """
    model = load_checkpoint(checkpoint)
    info = model.info
    if info is None:
        raise GstoVizError(f"{checkpoint} says nothing about its network; take another copy")
    if info.gains:
        return
    chosen = sorted(range(len(data)), key=lambda i: data.ids[i])[:images]
    batches = (
        image_to_tensor(data[i].image, info.mean, info.std).unsqueeze(0)
        for i in tqdm(chosen, desc="gains", disable=quiet, leave=False)
    )
    save_checkpoint(checkpoint, model, replace(info, gains=calibrate(model, batches)))
