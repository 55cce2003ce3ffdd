"""What the colours of attribution maps mean, said for each kind of map and for the score asked."""

from collections.abc import Iterable

from gsto_viz.errors import GstoVizError

SCORES = {
    "margin": "margin of the target",
    "mean": "mean logit of the target's class",
    "sum": "sum of the logits of the target's class",
}
"""Scores of a target in words."""
SIGNED = {
    "gradient_x_activation": "gradient x activation",
    "integrated_gradients": "integrated gradients",
    "conductance": "conductance",
}
UNSIGNED = {"saliency": "saliency", "smooth_grad": "SmoothGrad"}


def score_words(score: str) -> str:
    """Say a score: ``margin``, ``mean`` or ``sum``.

    Raises:
        GstoVizError: It is none of these.
    """
    if score not in SCORES:
        raise GstoVizError(f"unknown score '{score}'; choose {', '.join(SCORES)}")
    return SCORES[score]


def color_words(methods: Iterable[str], score: str) -> str:
    """Say what red and blue mean in the maps of some methods, a sentence for each kind.

    Args:
        methods: Those drawn; ``shapley`` is one.
        score: The score asked. Shapley maps split the margin of each cell whatever it is.

    Raises:
        GstoVizError: The score is unknown.
    """
    asked, shown = score_words(score), set(methods)
    sentences = []
    if "shapley" in shown:
        sentences.append(
            "Shapley maps: red raises the margin of a cell, blue lowers it; exact: at every cell "
            "they sum over the branches to its margin minus its margin with every branch at the "
            "baseline."
        )
        if score != "margin":
            sentences.append(
                f"These maps explain the margin, not the score that was asked: the {asked}."
            )
    signed = [words for method, words in SIGNED.items() if method in shown]
    if signed:
        sentences.append(f"{_list(signed)}: red raises the {asked}, blue lowers it.")
    if "grad_cam" in shown:
        sentences.append(
            "Grad-CAM, channels weighted by their mean gradient: red speaks for a greater "
            f"{asked}, blue for a smaller one."
        )
    if "activation" in shown:
        sentences.append("Activation: red above 0, blue below; it knows neither target nor score.")
    unsigned = [words for method, words in UNSIGNED.items() if method in shown]
    if unsigned:
        sentences.append(f"{_list(unsigned)}: no sign; the redder, the more the {asked} reacts.")
    return " ".join(sentences)


def _list(words: list[str]) -> str:
    """Join words, the first letter in upper case."""
    text = ", ".join(words)
    return text[0].upper() + text[1:]
