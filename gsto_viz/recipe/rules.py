"""Which values of settings can be trained with."""

import math
from collections.abc import Mapping
from typing import Any

from gsto_viz.errors import GstoVizError
from gsto_viz.recipe.values import parse_base_size

MIN_SIDE, MAX_SIDE = 32, 8192
"""Pixels: below, the stride-32 branch has no cell; above, a batch does not fit in memory."""

MAX_SCALE = 16.0

MAX_GAMMA, MAX_BLUR = 9.0, 64.0
"""Powers of 0.1 to 10 and 64 pixels: beyond, nothing can be recognised, and blurs take long."""

MAX_COUNT = 1_000_000
"""Epochs, images per step and steps of the warm-up: far beyond use, and no sum overflows."""

COARSEST_STRIDE = 32

_CHOICES = {
    "class_weights": ("log_inverse_frequency", "sqrt_log_inverse_frequency", "none"),
    "precision": ("fp32", "bf16", "fp16"),
}

Rule = tuple[str, bool, str]
"""Setting, whether its value can be used, what it must be."""


def check_choices(values: Mapping[str, Any]) -> None:
    """Refuse words that are none of a setting's choices."""
    for name, choices in _CHOICES.items():
        value = values[name]
        if isinstance(value, str) and value not in choices:
            raise GstoVizError(f"recipe: {name} is '{value}'; choose {' or '.join(choices)}")
    unknown = set(values["auxiliary_weights"]) - {"stage1", "stage2", "stage3"}
    if unknown:
        raise GstoVizError(
            f"recipe: auxiliary_weights names {', '.join(sorted(unknown))}; "
            "it knows stage1 to stage3"
        )
    if "num_classes" in values["model_options"]:
        raise GstoVizError("recipe: model_options has num_classes; it comes from the data, drop it")


def check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse numbers that cannot be trained with."""
    for rules in (_samples, _colours, _batches, _optimizer, _losses):
        for name, holds, expected in rules(values):
            if not holds:
                shown = values[name]
                shown = list(shown) if isinstance(shown, tuple) else shown
                raise GstoVizError(f"recipe: {name} is {shown}; it must be {expected}")
    for name in ("eval_every", "state_every", "log_every"):
        if values[name] < 1:
            raise GstoVizError(f"recipe: {name} is {values[name]}; it must be at least 1")
    for name in ("keep_every", "sci_every"):
        if values[name] < 0:
            raise GstoVizError(f"recipe: {name} is {values[name]}; it must be 0 (never) or more")


def _samples(v: Mapping[str, Any]) -> list[Rule]:
    low, high = v["scale_range"]
    pixels = parse_base_size(v["base_size"])[1]
    return [
        ("crop", min(v["crop"]) >= MIN_SIDE, f"at least {MIN_SIDE} each"),
        ("crop", max(v["crop"]) <= MAX_SIDE, f"at most {MAX_SIDE} each"),
        (
            "base_size",
            all(MIN_SIDE <= side <= MAX_SIDE for side in pixels),
            f"of {MIN_SIDE} to {MAX_SIDE} pixels",
        ),
        ("scale_range", 0.05 <= low <= high <= MAX_SCALE, f"least, greatest in 0.05..{MAX_SCALE}"),
        ("scale_step", v["scale_step"] >= 0, "0 (any factor) or more"),
        ("flip", 0 <= v["flip"] <= 1, "a probability 0..1"),
        ("loader_threads", 1 <= v["loader_threads"] <= 256, "from 1 to 256"),
        ("loader_processes", 0 <= v["loader_processes"] <= 256, "from 0 (threads) to 256"),
        ("seed", 0 <= v["seed"] < 2**63, "0 or more, below 2**63"),
    ]


def _colours(v: Mapping[str, Any]) -> list[Rule]:
    return [
        ("brightness", 0 <= v["brightness"] < 1, "from 0 to below 1"),
        ("contrast", 0 <= v["contrast"] < 1, "from 0 to below 1"),
        ("hue", 0 <= v["hue"] <= 180, "an angle from 0 to 180 degrees"),
        ("saturation", 0 <= v["saturation"] <= 1, "from 0 to 1"),
        ("gamma", 0 <= v["gamma"] <= MAX_GAMMA, f"from 0 to {MAX_GAMMA:g}"),
        ("grey", 0 <= v["grey"] <= 1, "a probability 0..1"),
        ("blur", 0 <= v["blur"] <= MAX_BLUR, f"from 0 to {MAX_BLUR:g} pixels"),
        ("blur_probability", 0 <= v["blur_probability"] <= 1, "a probability 0..1"),
        ("noise", 0 <= v["noise"] <= 1, "from 0 to 1, full scale"),
    ]


def _batches(v: Mapping[str, Any]) -> list[Rule]:
    height, width = v["crop"]
    cells = math.prod(math.ceil(side / COARSEST_STRIDE) for side in v["crop"])
    size, parts = v["batch_size"], max(v["accumulate"], 1)
    return [
        ("batch_size", 1 <= size <= MAX_COUNT, f"from 1 to {MAX_COUNT}"),
        ("accumulate", 1 <= v["accumulate"] <= size, f"from 1 to batch_size, {size}"),
        ("accumulate", size % parts == 0, f"a divisor of batch_size, {size}"),
        (
            "batch_size",
            size // parts * cells > 1,
            f"at least {2 * parts} where crop is {height}x{width}, as the coarsest branch "
            "has one cell for each image and batch norm needs two",
        ),
        ("epochs", 1 <= v["epochs"] <= MAX_COUNT, f"from 1 to {MAX_COUNT}"),
    ]


def _optimizer(v: Mapping[str, Any]) -> list[Rule]:
    return [
        ("lr", v["lr"] > 0, "above 0"),
        ("warmup_steps", 0 <= v["warmup_steps"] <= MAX_COUNT, f"from 0 to {MAX_COUNT}"),
        ("poly_power", v["poly_power"] >= 0, "0 or more"),
        ("momentum", 0 <= v["momentum"] < 1, "from 0 to below 1"),
        ("nesterov", not v["nesterov"] or v["momentum"] > 0, "false where momentum is 0"),
        ("weight_decay", v["weight_decay"] >= 0, "0 or more"),
        ("clip_norm", v["clip_norm"] >= 0, "0 (no clipping) or more"),
        ("ema_decay", 0 <= v["ema_decay"] < 1, "from 0 (no average) to below 1"),
    ]


def _losses(v: Mapping[str, Any]) -> list[Rule]:
    weights = v["class_weights"]
    given = () if isinstance(weights, str) else weights
    return [
        (
            "class_weights",
            min(given, default=0) >= 0 and (not given or max(given) > 0),
            "a list of numbers from 0 on, one at least above 0",
        ),
        ("ohem_kept", 0 <= v["ohem_kept"] < 2**31, "from 0 (all pixels) to below 2**31"),
        ("ohem_threshold", 0 < v["ohem_threshold"] <= 1, "a probability above 0"),
        ("auxiliary_weights", min(v["auxiliary_weights"].values(), default=0) >= 0, "0 or more"),
    ]
