"""Whether integrated gradients keep the memory that they are allowed, and what was foretold.

Each piece of work runs in a process of its own, whose largest resident size is read at its end.
"""

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch

from gsto_viz.attribution.gradients import Explainer
from gsto_viz.attribution.memory import DEFAULT_BUDGET
from gsto_viz.attribution.places import Pixel, View
from gsto_viz.attribution.targets import Target, resolve_batch
from gsto_viz.bench.memory import peak_mb, resident_mb
from gsto_viz.bench.timing import Measurement, Say, megabytes
from gsto_viz.errors import GstoVizError
from gsto_viz.models import build_model

MB = 2**20
CLASSES = 19
STEPS = 2
TAPS = {"last": "stage4.branch*", "stem": "stem"}
"""What gradients are taken at: the branches that enter the head, and the longest way there is."""


@dataclass(frozen=True)
class Case:
    """One piece of work.

    Attributes:
        network: Its name; random weights, 19 classes.
        size: Height and width of the image.
        taps: Where gradients are taken.
        budget: Bytes allowed, besides the network itself.
    """

    network: str
    size: tuple[int, int]
    taps: str
    budget: int


def bench_attribution_memory(quick: bool, say: Say) -> list[Measurement]:
    """Integrate gradients and compare the growth of resident memory with estimate and budget."""
    network, size = ("hrnetv2-w18-small-v1", (96, 128)) if quick else ("hrnetv2-w48", (512, 1024))
    found = []
    for short, taps in TAPS.items():
        case = Case(network, size, taps, DEFAULT_BUDGET)
        what = (
            f"integrated gradients at {taps}, {STEPS} steps, {network}, random weights, "
            f"{size[0]}x{size[1]}"
        )
        say(f"attribution-memory: {what}")
        estimate, growth = measured(case, say)
        found += [
            megabytes(f"integrated_{short}_estimate", estimate, f"estimate before: {what}"),
            megabytes(
                f"integrated_{short}_growth",
                growth,
                "largest resident size of the process less that with the network and image alone",
                target=None if quick else case.budget / MB,
            ),
        ]
    return found


def measured(case: Case, say: Say) -> tuple[float, float]:
    """Run one piece of work in a new process.

    Args:
        case: The work.
        say: Takes the estimate in words before the work starts.

    Returns:
        The estimate, and by how much resident memory grew at most, MB.

    Raises:
        GstoVizError: The process ended early, for want of memory for example.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, case, torch.get_num_threads()))
    process.start()
    sender.close()
    try:
        say(f"attribution-memory: {receiver.recv()}")
        estimate, growth = receiver.recv()
    except EOFError as error:
        process.join()
        raise GstoVizError(
            f"the process that integrated gradients ran in ended with {process.exitcode}; free "
            "memory and run it again"
        ) from error
    finally:
        receiver.close()
        process.join()
    return estimate, growth


def _work(sender: Connection, case: Case, threads: int) -> None:
    """Send the estimate in words, then the estimate and the growth in MB."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    height, width = case.size
    names = tuple(str(k) for k in range(CLASSES))
    model = build_model(case.network, num_classes=CLASSES)
    image = torch.randn(1, 3, height, width)
    view = View(np.zeros(case.size, dtype=np.uint8), names)
    target = Target(Pixel(width // 2, height // 2, "1"))
    entries = resolve_batch(target, view, (1, CLASSES, -(-height // 4), -(-width // 4)))
    explainer = Explainer(model, image, entries, announce=sender.send)
    before = resident_mb()
    found = explainer.layer("integrated_gradients", case.taps, steps=STEPS, budget=case.budget)
    growth = peak_mb() - before
    estimate = found.memory
    sender.send((0.0 if estimate is None else estimate.peak / MB, growth))
    sender.close()
