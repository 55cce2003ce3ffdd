"""The null of random weights (N3): the same network, untrained, alive, and drawn several times.

Random networks are not at chance: edges excite untrained filters, and fusions mix scales in a way
of their own. What an index says on a trained network means something only beside what it says on
the same architecture with random weights, over several draws.

Every convolution is drawn by the ``kaiming`` scheme (fan-out normal, bias 0) and every batch norm
is reset to weight 1 and bias 0, for all networks alike, gated or not. The networks' own ``normal``
scheme (standard deviation 0.001) is meant for weights that are loaded afterwards. Batch-norm
statistics are then measured on calibration images, else the maps of a deep random network vanish or
explode. Both choices move the values of random networks; say so beside them. Gains (sigma) belong
to weights: calibrate each draw anew.
"""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gsto_viz.errors import GstoVizError
from gsto_viz.models import initialize
from gsto_viz.torch_utils import as_batch, eval_mode

DRAWS = 5
"""One draw of random weights says little: the spread between draws is part of the null."""


def randomized_copy(model: nn.Module, seed: int, images: Iterable[Tensor]) -> nn.Module:
    """Copy a network with all weights drawn anew and batch-norm statistics measured again.

    The given network, its mode and torch's random state stay as they are. Weights are drawn on the
    CPU, so they do not depend on the device.

    Args:
        model: Any network whose weights lie in convolutions, batch norms and modules that know how
            to reset themselves (``reset_parameters``).
        seed: Of the draw.
        images: Normalised calibration images, (3, H, W) or (N, 3, H, W) each, at least one if the
            network has batch norms; sizes may differ. Each counts once.

    Returns:
        A new network on the same device, with the training flags of the original. What it knew
        about its checkpoint stays (classes, normalisation), except gains and fingerprint.

    Raises:
        GstoVizError: A module holds weights that cannot be drawn, or there are no images for the
            batch norms.
    """
    twin = copy.deepcopy(model)
    homes = [tensor.device for tensor in (*twin.parameters(), *twin.buffers())]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _draw_weights(twin.to("cpu"))
    if homes:
        twin.to(homes[0])
    forget = getattr(twin, "forget_training", None)
    if callable(forget):
        forget(f"random weights {seed}")
    estimate_batch_norm(twin, images)
    return twin


def random_draws(
    model: nn.Module, images: Sequence[Tensor], *, draws: int = DRAWS, seed: int = 0
) -> Iterator[nn.Module]:
    """Yield independent draws of :func:`randomized_copy`, one at a time.

    Args:
        model: The network.
        images: Calibration images, kept and used for every draw.
        draws: How many; fewer than 5 do not show the spread.
        seed: The first draws of a longer series are those of a shorter one.

    Raises:
        GstoVizError: ``draws`` is below 1; else as :func:`randomized_copy`.
    """
    if draws < 1:
        raise GstoVizError(f"{draws} draws of random weights; give at least 1, better {DRAWS}")
    for draw in range(draws):
        digest = hashlib.blake2b(f"{seed}\0{draw}".encode(), digest_size=7).digest()
        yield randomized_copy(model, int.from_bytes(digest, "little"), images)


@torch.no_grad()
def estimate_batch_norm(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Measure the running statistics of every batch norm of a network anew, in place.

    All images run through the network once, with batch norms in training mode and everything else
    in evaluation mode, and their statistics are averaged with equal weights (momentum None). Behind
    global pooling one image has one value per channel and no variance; there neighbouring images
    run together, and the last of an odd number beside the one before. Flags and momenta are
    restored, also when something raises.

    Args:
        model: The network; without batch norms that track statistics nothing happens.
        images: Normalised images, (3, H, W) or (N, 3, H, W) each.

    Raises:
        GstoVizError: There are no images, an image is not such a tensor, or a batch norm sees a
            single cell and there is one image, or neighbours differ in size.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches: Iterator[Tensor] = (as_batch(image).to(device) for image in images)
    first = next(batches, None)
    if first is None:
        raise GstoVizError("batch norms need calibration images to be measured on; give some")
    with eval_mode(model), _cumulative(norms), torch.autocast(device.type, enabled=False):
        try:
            model(first)
        except ValueError:
            # What torch says of one cell of one image, such as behind global pooling.
            for norm in norms:
                norm.reset_running_stats()
            batches = _pairs(first, batches)
        try:
            for batch in batches:
                model(batch)
        except (ValueError, RuntimeError) as error:
            raise GstoVizError(
                f"batch-norm statistics cannot be measured anew ({error}); leave the "
                "random-weight null out"
            ) from error


def _pairs(first: Tensor, others: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield neighbouring batches as one, the last of an odd number with the one before."""
    held, before = first, None
    alone = True
    for one in others:
        if alone:
            yield torch.cat([held, one])
        held, before, alone = one, held, not alone
    if alone:
        yield held if before is None else torch.cat([before, held])


@contextmanager
def _cumulative(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let batch norms average what they see from now on; they are in evaluation mode afterwards."""
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _draw_weights(model: nn.Module) -> None:
    """Draw every weight of a network on the CPU from torch's global generator."""
    initialize(model, "kaiming")
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            continue
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        elif own := [key for key, _ in module.named_parameters(recurse=False)]:
            raise GstoVizError(
                f"module '{name}' ({type(module).__name__}) holds {', '.join(own)} and has no "
                "reset_parameters, so it would stay trained; leave the random-weight null out"
            )
