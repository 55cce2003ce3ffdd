"""Training recipes: one typed, immutable configuration that refuses what it does not know."""

import difflib
import math
import re
import typing
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text, write_text

MIN_CROP, MAX_CROP = 32, 8192
"""Pixels: below, the stride-32 branch has no cell; above, a batch does not fit in memory."""

MAX_SCALE = 16.0

MAX_COUNT = 1_000_000
"""Epochs, images per step and steps of the warm-up: far beyond use, and no sum overflows."""

COARSEST_STRIDE = 32


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training run computes; saved as ``config.yaml`` beside its results.

    Attributes:
        model: Name of a registered network.
        model_options: Fields of ``HRNetConfig`` (and ``gate_...``) that differ from the default;
            ``num_classes`` comes from the data.
        initialization: ``kaiming`` or ``normal`` (fresh weights), the path of an official or
            timm-named ImageNet file, or of one of our checkpoints to train on from.
        crop: Height and width of training crops, in pixels after scaling.
        scale_range: Least and greatest random scale factor.
        flip: Probability of a horizontal mirror image.
        brightness: Pixel values are multiplied by a factor drawn from 1 -+ this.
        contrast: Distance from the image's mean is multiplied by a factor drawn from 1 -+ this.
        batch_size: Images per step.
        epochs: Passes over the training set; the last partial batch of each is dropped.
        lr: Learning rate of SGD at the start (after the warm-up).
        warmup_steps: Steps in which the rate rises linearly to ``lr``.
        poly_power: The rate falls as ``(1 - step / steps) ** poly_power``.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD, on all parameters.
        class_weights: ``log_inverse_frequency``: 1 / ln(1.02 + p_k) with p_k the share of class k
            among labelled training pixels, divided by the mean; ``sqrt_log_inverse_frequency``: the
            square roots of these, milder towards frequent classes; or ``none``.
        auxiliary_weights: Weight of each deep-supervision loss by stage (GSTO: 0.3 for stage 2,
            0.5 for stage 3; 0.2 for stage 1, which only exists with three supervised transitions).
        precision: ``fp32`` or ``bf16`` (autocast; weights and losses stay fp32).
        channels_last: Memory layout; faster for convolutions on most hardware.
        eval_every: Epochs between evaluations on the validation data.
        state_every: Steps between resume states (one is also kept at the end of each epoch).
        log_every: Steps between lines of ``log.jsonl``.
        loader_threads: Threads that read and augment images ahead of the network.
        seed: Of weights, order of images and augmentation.
    """

    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    initialization: str = "kaiming"
    crop: tuple[int, int] = (256, 320)
    scale_range: tuple[float, float] = (0.6, 1.6)
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.0
    batch_size: int = 8
    epochs: int = 80
    lr: float = 0.04
    warmup_steps: int = 50
    poly_power: float = 0.9
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    class_weights: str = "log_inverse_frequency"
    auxiliary_weights: dict[str, float] = field(
        default_factory=lambda: {"stage1": 0.2, "stage2": 0.3, "stage3": 0.5}
    )
    precision: str = "fp32"
    channels_last: bool = True
    eval_every: int = 5
    state_every: int = 100
    log_every: int = 10
    loader_threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, expected in _TYPES.items():
            object.__setattr__(self, name, _convert(name, getattr(self, name), expected))
        _check_choices(self)
        _check_ranges(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; tuples become lists, as YAML has no tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def with_settings(self, settings: dict[str, Any]) -> "Recipe":
        """Return a copy with fields changed; unknown ones are refused with the closest names."""
        _refuse_unknown(settings)
        return replace(self, **settings)

    def save(self, path: str | Path) -> None:
        """Write the recipe as YAML."""
        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False))


_TYPES: dict[str, Any] = typing.get_type_hints(Recipe)


def _convert(name: str, value: Any, expected: Any) -> Any:
    """Return ``value`` as the field's type, or raise with what was got and what was expected."""
    problem = GstoVizError(f"recipe: {name} is {value!r}; it must be {_describe(expected)}")
    origin = typing.get_origin(expected)
    if origin is tuple:
        parts = typing.get_args(expected)
        if not isinstance(value, (list, tuple)) or len(value) != len(parts):
            raise problem
        return tuple(_convert(name, v, t) for v, t in zip(value, parts, strict=True))
    if origin is dict:
        _, inner = typing.get_args(expected)
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise problem
        return {
            k: v if inner is Any else _convert(f"{name}.{k}", v, inner) for k, v in value.items()
        }
    if expected is float:
        value = _as_float(value)
    if type(value) is not expected or (expected is float and not math.isfinite(value)):
        raise problem
    return value


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
    origin = typing.get_origin(expected)
    if origin is tuple:
        parts = typing.get_args(expected)
        return f"a list of {len(parts)} {'whole ' if parts[0] is int else ''}numbers"
    if origin is dict:
        return "a mapping"
    names: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
    }
    return names[expected]


_CHOICES = {
    "class_weights": ("log_inverse_frequency", "sqrt_log_inverse_frequency", "none"),
    "precision": ("fp32", "bf16"),
}


def _check_choices(recipe: Recipe) -> None:
    for name, choices in _CHOICES.items():
        if getattr(recipe, name) not in choices:
            raise GstoVizError(
                f"recipe: {name} is '{getattr(recipe, name)}'; choose {' or '.join(choices)}"
            )
    unknown = set(recipe.auxiliary_weights) - {"stage1", "stage2", "stage3"}
    if unknown:
        raise GstoVizError(
            f"recipe: auxiliary_weights names {', '.join(sorted(unknown))}; "
            "it knows stage1 to stage3"
        )
    if "num_classes" in recipe.model_options:
        raise GstoVizError("recipe: model_options has num_classes; it comes from the data, drop it")


def _check_ranges(recipe: Recipe) -> None:
    """Refuse numbers that cannot be trained with."""
    low, high = recipe.scale_range
    cells = math.prod(math.ceil(side / COARSEST_STRIDE) for side in recipe.crop)
    rules: list[tuple[str, bool, str]] = [
        ("crop", min(recipe.crop) >= MIN_CROP, f"at least {MIN_CROP} each"),
        ("crop", max(recipe.crop) <= MAX_CROP, f"at most {MAX_CROP} each"),
        ("scale_range", 0.05 <= low <= high <= MAX_SCALE, f"least, greatest in 0.05..{MAX_SCALE}"),
        ("flip", 0 <= recipe.flip <= 1, "a probability 0..1"),
        ("brightness", 0 <= recipe.brightness < 1, "from 0 to below 1"),
        ("contrast", 0 <= recipe.contrast < 1, "from 0 to below 1"),
        ("batch_size", 1 <= recipe.batch_size <= MAX_COUNT, f"from 1 to {MAX_COUNT}"),
        (
            "batch_size",
            recipe.batch_size * cells > 1,
            f"at least 2 where crop is {recipe.crop[0]}x{recipe.crop[1]}, as the coarsest branch "
            "has one cell for each image and batch norm needs two",
        ),
        ("epochs", 1 <= recipe.epochs <= MAX_COUNT, f"from 1 to {MAX_COUNT}"),
        ("lr", recipe.lr > 0, "above 0"),
        ("warmup_steps", 0 <= recipe.warmup_steps <= MAX_COUNT, f"from 0 to {MAX_COUNT}"),
        ("poly_power", recipe.poly_power >= 0, "0 or more"),
        ("momentum", 0 <= recipe.momentum < 1, "from 0 to below 1"),
        ("nesterov", not recipe.nesterov or recipe.momentum > 0, "false where momentum is 0"),
        ("auxiliary_weights", min(recipe.auxiliary_weights.values(), default=0) >= 0, "0 or more"),
        ("weight_decay", recipe.weight_decay >= 0, "0 or more"),
        ("eval_every", recipe.eval_every >= 1, "at least 1"),
        ("state_every", recipe.state_every >= 1, "at least 1"),
        ("log_every", recipe.log_every >= 1, "at least 1"),
        ("loader_threads", 1 <= recipe.loader_threads <= 256, "from 1 to 256"),
        ("seed", 0 <= recipe.seed < 2**63, "0 or more, below 2**63"),
    ]
    for name, holds, expected in rules:
        if not holds:
            raise GstoVizError(f"recipe: {name} is {getattr(recipe, name)}; it must be {expected}")


def _refuse_unknown(settings: dict[str, Any]) -> None:
    for key in settings:
        if key not in _TYPES:
            near = difflib.get_close_matches(str(key), _TYPES, n=2, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(_TYPES)}"
            raise GstoVizError(f"recipe: unknown key '{key}'; {hint}")


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("gsto_viz") / "recipes"
    names = [path.name for path in folder.iterdir()]
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_recipe(source: str | Path) -> Recipe:
    """Read a recipe by its name or from a YAML file.

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
    if "model" not in values:
        raise GstoVizError(f"the recipe {source} names no model; add 'model: NAME'")
    return recipe_from_dict(values)


def recipe_from_dict(values: dict[str, Any]) -> Recipe:
    """Make a recipe of plain values, such as ``Recipe.to_dict`` gives; missing ones are default.

    Raises:
        GstoVizError: An unknown key (with the closest names), or a value that does not fit.
    """
    _refuse_unknown(values)
    return Recipe(**values)
