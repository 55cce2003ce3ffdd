"""How long Captum's methods will take, said before they start.

Every method takes the image through the network a known number of times; how long one forward pass
takes is measured where it is made anyway.
"""

from gsto_viz.errors import GstoVizError

BACK = 0.3
"""The way back from the score to the branches, in forward passes: it crosses the head alone."""
STEP = 2.0
"""One step of a path, in forward passes: forward, back, and the bookkeeping of all its features."""


def forward_passes(method: str, branches: int, steps: int) -> float:
    """Return what a method costs, in forward passes of the same image.

    Args:
        method: One of ``gsto_viz.attribution.gradients.LAYER_METHODS``.
        branches: Taps in front of the head that are explained together.
        steps: Of integrated gradients and conductance.

    Raises:
        GstoVizError: Unknown method.
    """
    costs = {
        "activation": 1.0,
        "gradient_x_activation": 1 + BACK,
        # Captum takes one layer at a time.
        "grad_cam": branches * (1 + BACK),
        # Three more for the convergence delta.
        "integrated_gradients": STEP * steps + 3,
        "conductance": branches * STEP * (steps + 1),
    }
    if method not in costs:
        raise GstoVizError(f"unknown method '{method}' for taps; choose {', '.join(costs)}")
    return costs[method]


def in_words(seconds: float) -> str:
    """Say how long something will take, no more exactly than it is known."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"about {_two_digits(seconds)} s"
    return f"about {_two_digits(seconds / 60)} min"


def _two_digits(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"
