"""Training recipes: one typed, immutable configuration that refuses what it does not know."""

import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.files import read_small_text, write_text


def convert(name: str, value: Any, expected: Any) -> Any:
    """Return ``value`` as the setting's type, or raise with what was got and what was expected."""
    problem = GstoVizError(f"recipe: {name} is {value!r}; it must be {_describe(expected)}")
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType:
        listed = isinstance(value, (list, tuple))
        chosen = [t for t in inner if (typing.get_origin(t) is tuple) == listed]
        try:
            return convert(name, value, chosen[0])
        except GstoVizError:
            raise problem from None
    if origin is tuple:
        return _tuple(name, value, inner, problem)
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise problem
        return {
            k: v if inner[1] is Any else convert(f"{name}.{k}", v, inner[1])
            for k, v in value.items()
        }
    if expected is float:
        value = _as_float(value)
    if type(value) is not expected or (expected is float and not math.isfinite(value)):
        raise problem
    return value


def _tuple(name: str, value: Any, inner: tuple[Any, ...], problem: GstoVizError) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise problem
    kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
    if len(value) != len(kinds) or not kinds:
        raise problem
    return tuple(convert(name, v, t) for v, t in zip(value, kinds, strict=True))


def _as_float(value: Any) -> Any:
    """Turn whole numbers and ``1e-3`` into floats; leave everything else as it is.

    YAML 1.1 reads ``1e-3``, without a point in it, as a word.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**53 else math.inf
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+[eE][-+]?[0-9]{1,3}", value):
        return float(value)
    return value


def _describe(expected: Any) -> str:
    """Say a type in words: ``a list of 2 whole numbers``, ``a mapping``, ``a whole number``."""
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType:
        return " or ".join(_describe(t) for t in inner)
    if origin is tuple:
        whole = "whole " if inner[0] is int else ""
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"a list of {count}{whole}numbers"
    if origin is dict:
        return "a mapping"
    names: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
    }
    return names[expected]


def parse_base_size(text: str) -> tuple[str, tuple[int, ...]]:
    """Take ``native``, ``long 520``, ``short 520`` or ``473x473`` apart.

    Returns:
        ``native``, ``long``, ``short`` or ``exact``, and the pixels (height first).

    Raises:
        GstoVizError: It is none of these.
    """
    match = re.fullmatch(r"native|(long|short) ([0-9]{1,6})|([0-9]{1,6})x([0-9]{1,6})", text)
    if match is None:
        raise GstoVizError(
            f"recipe: base_size is '{text}'; write native, long N, short N or HEIGHTxWIDTH"
        )
    side, pixels, height, width = match.groups()
    if side:
        return side, (int(pixels),)
    return ("exact", (int(height), int(width))) if height else ("native", ())


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


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training run computes; saved as ``config.yaml`` beside its results.

    Attributes:
        model: Name of a registered network.
        model_options: Fields of ``HRNetConfig`` (and ``gate_...``) that differ from the default;
            ``num_classes`` comes from the data.
        initialization: ``kaiming`` or ``normal`` (fresh weights), the path of an official or
            timm-named ImageNet file, or of one of our checkpoints to train on from, or the name
            of a shipped one. ``{model}`` in it stands for the recipe's network; ``imagenet`` alone
            stands in recipes for a path that is yet to be given.
        crop: Height and width of training crops, in pixels after scaling.
        base_size: Size before the random scale: ``native``, ``long N`` or ``short N`` (pixels of
            that side, the shape kept), or ``HEIGHTxWIDTH`` (the shape given up).
        scale_range: Least and greatest random scale factor.
        scale_step: Above 0, only the factors least, least + step, ... are drawn.
        window_first: Cut the crop out before it is resized: faster on large images, the scale
            factor of a crop of h rows being off by up to 1 / h.
        flip: Probability of a horizontal mirror image.
        brightness: Pixel values are multiplied by a factor drawn from 1 -+ this.
        contrast: Distance from the image's mean is multiplied by a factor drawn from 1 -+ this.
        hue: Hues are rotated by an angle drawn from -+ this, in degrees.
        saturation: Distance from the grey image is multiplied by a factor drawn from 1 -+ this.
        gamma: Values (0 to 1) are raised to a power drawn from 1 / (1 + this) to 1 + this, evenly
            on a logarithmic scale.
        grey: Probability of the grey image.
        blur: The image is smoothed by a Gaussian whose standard deviation, in pixels of the crop,
            is drawn from 0 to this.
        blur_probability: How often it is smoothed, where ``blur`` is above 0.
        noise: Gaussian noise is added whose standard deviation, as a share of full scale, is drawn
            from 0 to this.
        batch_size: Images per step, over all processes.
        accumulate: Parts in which each process computes its share of a batch, to save memory. The
            gradients are those of the whole batch; batch norm sees one part at a time.
        epochs: Passes over the training set; the last partial batch of each is dropped.
        lr: Learning rate of SGD at the start (after the warm-up).
        warmup_steps: Steps in which the rate rises linearly to ``lr``.
        poly_power: The rate falls as ``(1 - step / steps) ** poly_power``.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD, on all parameters.
        clip_norm: Above 0, gradients are shortened to this norm (of all parameters together).
        class_weights: ``log_inverse_frequency``: 1 / ln(1.02 + p_k) with p_k the share of class k
            among labelled training pixels, divided by the mean; ``sqrt_log_inverse_frequency``: the
            square roots of these, milder towards frequent classes; ``none``; or a list of numbers.
        ohem_kept: Above 0, the main loss is that of hard pixels alone, at least so many in a batch
            (all processes together); see ``gsto_viz.models.losses.HardPixels``.
        ohem_threshold: A pixel is hard whose true class has a probability below this.
        auxiliary_weights: Weight of each deep-supervision loss by stage (GSTO: 0.3 for stage 2,
            0.5 for stage 3; 0.2 for stage 1, which only exists with three supervised transitions).
        ema_decay: Above 0, an exponential moving average of the weights is kept, and evaluated and
            saved in their place; see ``gsto_viz.train.step.WeightAverage``.
        precision: ``fp32``, ``bf16`` or ``fp16`` (autocast; weights and losses stay fp32; fp16
            scales the loss, and a step whose gradients overflow is left out).
        channels_last: Memory layout; faster for convolutions on most hardware.
        compile: Compile the network with ``torch.compile``; slow to start, then faster on GPUs.
        eval_every: Epochs between evaluations on the validation data.
        keep_every: Above 0, every so many epochs the evaluated weights are kept in the run's folder
            ``snapshots``, convolutions in float16 (see ``save_checkpoint``), without gains.
        sci_every: Above 0, every so many epochs, and at the end, SCI, c_fine and c_coarse of the
            evaluated weights are logged; see ``gsto_viz.train.confusion``.
        state_every: Steps between resume states (one is also kept at the end of each epoch).
        log_every: Steps between lines of ``log.jsonl``.
        loader_threads: Threads that read and augment images ahead of the network.
        loader_processes: Above 0, processes do that, and no threads. Neither number changes any
            result.
        seed: Of weights, order of images and augmentation.
    """

    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    initialization: str = "kaiming"
    crop: tuple[int, int] = (256, 320)
    base_size: str = "native"
    scale_range: tuple[float, float] = (0.6, 1.6)
    scale_step: float = 0.0
    window_first: bool = False
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    gamma: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    blur_probability: float = 0.5
    noise: float = 0.0
    batch_size: int = 8
    accumulate: int = 1
    epochs: int = 80
    lr: float = 0.04
    warmup_steps: int = 50
    poly_power: float = 0.9
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip_norm: float = 0.0
    class_weights: str | tuple[float, ...] = "log_inverse_frequency"
    ohem_kept: int = 0
    ohem_threshold: float = 0.9
    auxiliary_weights: dict[str, float] = field(
        default_factory=lambda: {"stage1": 0.2, "stage2": 0.3, "stage3": 0.5}
    )
    ema_decay: float = 0.0
    precision: str = "fp32"
    channels_last: bool = True
    compile: bool = False
    eval_every: int = 5
    keep_every: int = 0
    sci_every: int = 0
    state_every: int = 100
    log_every: int = 10
    loader_threads: int = 1
    loader_processes: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, expected in TYPES.items():
            object.__setattr__(self, name, convert(name, getattr(self, name), expected))
        values = vars(self)
        check_choices(values)
        check_ranges(values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; tuples become lists, as YAML has no tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def with_settings(self, settings: dict[str, Any]) -> "Recipe":
        """Return a copy with fields changed; unknown ones are refused with the closest names."""
        refuse_unknown(settings)
        return replace(self, **settings)

    def save(self, path: str | Path) -> None:
        """Write the recipe as YAML."""
        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False))


TYPES: dict[str, Any] = typing.get_type_hints(Recipe)


def refuse_unknown(settings: dict[str, Any]) -> None:
    """Refuse keys that are no setting, with the closest names."""
    for key in settings:
        if key not in TYPES:
            hint = did_you_mean(str(key), TYPES, count=2, otherwise=f"known: {', '.join(TYPES)}")
            raise GstoVizError(f"recipe: unknown key '{key}'; {hint}")


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("gsto_viz") / "recipes"
    names = [path.name for path in folder.iterdir()]
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_recipe(source: str | Path, *, model: str | None = None) -> Recipe:
    """Read a recipe by its name or from a YAML file.

    Args:
        source: A name of ``recipe_names``, or a path that ends in ``.yaml`` or ``.yml``.
        model: Take this network instead of the recipe's own.

    Raises:
        GstoVizError: No such recipe (the known ones are listed), not YAML, an unknown key (with the
            closest names), a value of the wrong type or out of range.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        text = read_small_text(path, "the recipe")
    elif str(source) in recipe_names():
        text = (resources.files("gsto_viz") / "recipes" / f"{source}.yaml").read_text("utf-8")
    else:
        raise GstoVizError(
            f"no recipe '{source}'; give a .yaml file or one of {', '.join(recipe_names())}"
        )
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 30th of February; [[[[...
        raise GstoVizError(f"the recipe {source} is not YAML ({error}); correct it") from error
    if not isinstance(values, dict):
        raise GstoVizError(f"the recipe {source} must be a mapping of settings")
    if model is not None:
        values["model"] = model
    if "model" not in values:
        raise GstoVizError(f"the recipe {source} names no model; add 'model: NAME'")
    return recipe_from_dict(values)


def recipe_from_dict(values: dict[str, Any]) -> Recipe:
    """Make a recipe of plain values, such as ``Recipe.to_dict`` gives; missing ones are default.

    Raises:
        GstoVizError: An unknown key (with the closest names), or a value that does not fit.
    """
    refuse_unknown(values)
    return Recipe(**values)
