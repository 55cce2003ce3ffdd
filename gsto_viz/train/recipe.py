"""Training recipes: one typed, immutable configuration that refuses what it does not know."""

import math
import re
import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.files import read_small_text, write_text
from gsto_viz.settings import Rule, settle, within, within_below

_BASE_SIZE = r"native|(long|short) ([0-9]{1,6})|([0-9]{1,6})x([0-9]{1,6})"


def parse_base_size(text: str) -> dict[str, Any]:
    """Read a recipe's ``base_size``.

    Returns:
        ``{}`` for ``native``, ``{"long": 520}``, ``{"short": 520}``, or ``{"exact": (473, 480)}``
        (height first), in pixels.
    """
    match = re.fullmatch(_BASE_SIZE, text)
    assert match is not None
    side, pixels, height, width = match.groups()
    if side:
        return {side: int(pixels)}
    return {"exact": (int(height), int(width))} if height else {}


def _base_size_fits(text: str) -> bool:
    return all(MIN_SIDE <= int(pixels) <= MAX_SIDE for pixels in re.findall("[0-9]+", text))


MIN_SIDE, MAX_SIDE = 32, 8192
"""Pixels: below, the stride-32 branch has no cell; above, a batch does not fit in memory."""

MAX_SCALE = 16.0

MAX_GAMMA, MAX_BLUR = 9.0, 64.0
"""Powers of 0.1 to 10 and 64 pixels: beyond, nothing can be recognised, and blurs take long."""

MAX_COUNT = 1_000_000
"""Epochs, images per step and steps of the warm-up: far beyond use, and no sum overflows."""

COARSEST_STRIDE = 32

AUXILIARY_WEIGHTS = {"stage1": 0.2, "stage2": 0.3, "stage3": 0.5, "predictor": 0.5, "layer3": 0.4}
"""By head: HRNet's as GSTO has them; PPM's and ASPP's predictor as GSTO's last one (ours), the head
on the third stage of their ResNet as PSPNet has it."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training run computes; saved as ``config.yaml`` beside its results.

    Attributes:
        model: Name of a registered network.
        model_options: Fields of the network's configuration (and ``gate_...``) that differ from the
            default; ``num_classes`` comes from the data.
        initialization: ``kaiming`` or ``normal`` (fresh weights), the path of an official or
            timm-named ImageNet file, or of one of our checkpoints to train on from, or the name
            of a shipped one. ``{model}`` in it stands for the recipe's network; ``imagenet`` alone
            stands in recipes for a path that is yet to be given.
        head: ``kept``, or ``new``: of a file that the run starts from, weights whose shape depends
            on the number of classes are left out, and start as fresh ones do.
        inplace_abn: Of an official file that the run starts from: it was trained with InPlaceABN.
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
        paste: Probability with which the rarer half of the classes of another crop is pasted into a
            crop; see ``gsto_viz.data.paste_rare``.
        scale_deviation: Of pose networks: the frame of a person is made larger by a factor drawn
            from N(1, this), clipped to 1 -+ this.
        rotation: Of pose networks: standard deviation of the rotation in degrees, clipped to twice
            as much.
        rotated: How often there is one.
        half_body: Of pose networks: how often the upper or the lower body alone is framed.
        sigma: Of pose networks: standard deviation of the targets, in cells of the heat maps.
        batch_size: Images (persons, of pose networks) per step, over all processes.
        accumulate: Parts in which each process computes its share of a batch, to save memory. The
            gradients are those of the whole batch; batch norm sees one part at a time.
        epochs: Passes over the training set; the last partial batch of each is dropped.
        optimizer: ``sgd`` or ``adam``.
        lr: Learning rate at the start (after the warm-up).
        warmup_steps: Steps in which the rate rises linearly to ``lr``.
        poly_power: The rate falls as ``(1 - step / steps) ** poly_power``.
        milestones: Epochs (from 0) from which on the rate is a tenth of what it was; where there
            are any, there is no poly decay.
        momentum: Of SGD; of Adam, the first beta.
        nesterov: Whether the momentum of SGD is Nesterov's.
        weight_decay: Of the optimiser, on all parameters.
        clip_norm: Above 0, gradients are shortened to this norm (of all parameters together).
        class_weights: ``log_inverse_frequency``: 1 / ln(1.02 + p_k) with p_k the share of class k
            among labelled training pixels, divided by the mean; ``sqrt_log_inverse_frequency``: the
            square roots of these, milder towards frequent classes; ``none``; or a list of numbers.
        ohem_kept: Above 0, the main loss is that of hard pixels alone, at least so many in a batch
            (all processes together); see ``gsto_viz.models.losses.HardPixels``.
        ohem_threshold: A pixel is hard whose true class has a probability below this.
        auxiliary_weights: Weight of the loss of each auxiliary head. HRNet has ``stage1`` to
            ``stage3`` (GSTO: 0.3 for stage 2, 0.5 for stage 3; 0.2 for stage 1, which only exists
            with three supervised transitions), PPM and ASPP ``layer3`` and ``predictor``.
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
            evaluated weights are logged; see ``gsto_viz.train.measures``.
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
    head: str = "kept"
    inplace_abn: bool = False
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
    paste: float = 0.0
    scale_deviation: float = 0.35
    rotation: float = 45.0
    rotated: float = 0.6
    half_body: float = 0.3
    sigma: float = 2.0
    batch_size: int = 8
    accumulate: int = 1
    epochs: int = 80
    optimizer: str = "sgd"
    lr: float = 0.04
    warmup_steps: int = 50
    poly_power: float = 0.9
    milestones: tuple[int, ...] = ()
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip_norm: float = 0.0
    class_weights: str | tuple[float, ...] = "log_inverse_frequency"
    ohem_kept: int = 0
    ohem_threshold: float = 0.9
    auxiliary_weights: dict[str, float] = field(default_factory=AUXILIARY_WEIGHTS.copy)
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
        settle(self, RULES, "recipe: ")

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


ONLY = {
    "segmentation": (
        "base_size",
        "scale_range",
        "scale_step",
        "window_first",
        "paste",
        "class_weights",
        "ohem_kept",
        "ohem_threshold",
    ),
    "pose": ("scale_deviation", "rotation", "rotated", "half_body", "sigma"),
}
"""Settings that networks of one task have."""

TYPES: dict[str, Any] = typing.get_type_hints(Recipe)


def _stray_stages(weights: dict[str, float]) -> str:
    return ", ".join(sorted(set(weights) - set(AUXILIARY_WEIGHTS)))


def _coarsest_cells(crop: tuple[int, int]) -> int:
    """Return the cells that the coarsest branch has for an image."""
    return math.prod(math.ceil(side / COARSEST_STRIDE) for side in crop)


def _must(setting: str, what: str, holds: Callable[[Any, Any], bool]) -> Rule:
    return Rule(setting, f"it must be {what}", holds=holds)


def _choice(setting: str, *choices: str) -> Rule:
    return Rule(
        setting,
        f"choose {' or '.join(choices)}",
        holds=lambda v, r: v in choices or not isinstance(v, str),
    )


RULES = (
    *(Rule(name, kind=kind) for name, kind in TYPES.items()),
    _must("class_weights", "a word or a list of numbers", lambda v, r: v != ()),
    _choice("class_weights", "log_inverse_frequency", "sqrt_log_inverse_frequency", "none"),
    _choice("head", "kept", "new"),
    _choice("precision", "fp32", "bf16", "fp16"),
    Rule(
        "auxiliary_weights",
        lambda v, r: f" names {_stray_stages(v)}; it knows {', '.join(AUXILIARY_WEIGHTS)}",
        holds=lambda v, r: not _stray_stages(v),
    ),
    Rule(
        "model_options",
        lambda v, r: " has num_classes; it comes from the data, drop it",
        holds=lambda v, r: "num_classes" not in v,
    ),
    Rule(
        "base_size",
        "write native, long N, short N or HEIGHTxWIDTH",
        holds=lambda v, r: re.fullmatch(_BASE_SIZE, v) is not None,
    ),
    _must("crop", f"at least {MIN_SIDE} each", lambda v, r: min(v) >= MIN_SIDE),
    _must("crop", f"at most {MAX_SIDE} each", lambda v, r: max(v) <= MAX_SIDE),
    Rule(
        "base_size",
        lambda v, r: f" is {v}; it must be of {MIN_SIDE} to {MAX_SIDE} pixels",
        holds=lambda v, r: _base_size_fits(v),
    ),
    _must(
        "scale_range",
        f"least, greatest in 0.05..{MAX_SCALE}",
        lambda v, r: 0.05 <= v[0] <= v[1] <= MAX_SCALE,
    ),
    _must("scale_step", "0 (any factor) or more", within(0)),
    _must("flip", "a probability 0..1", within(0, 1)),
    _must("loader_threads", "from 1 to 256", within(1, 256)),
    _must("loader_processes", "from 0 (threads) to 256", within(0, 256)),
    _must("seed", "0 or more, below 2**63", within(0, 2**63 - 1)),
    _must("brightness", "from 0 to below 1", within_below(0, 1)),
    _must("contrast", "from 0 to below 1", within_below(0, 1)),
    _must("hue", "an angle from 0 to 180 degrees", within(0, 180)),
    _must("saturation", "from 0 to 1", within(0, 1)),
    _must("gamma", f"from 0 to {MAX_GAMMA:g}", within(0, MAX_GAMMA)),
    _must("grey", "a probability 0..1", within(0, 1)),
    _must("blur", f"from 0 to {MAX_BLUR:g} pixels", within(0, MAX_BLUR)),
    _must("blur_probability", "a probability 0..1", within(0, 1)),
    _must("noise", "from 0 to 1, full scale", within(0, 1)),
    _must("paste", "a probability 0..1", within(0, 1)),
    _must("scale_deviation", "from 0 to below 1", within_below(0, 1)),
    _must("rotation", "an angle from 0 to 90 degrees", within(0, 90)),
    *(_must(name, "a probability 0..1", within(0, 1)) for name in ("rotated", "half_body")),
    _must("sigma", "above 0, at most 64 cells", lambda v, r: 0 < v <= 64),
    _must("batch_size", f"from 1 to {MAX_COUNT}", within(1, MAX_COUNT)),
    _must(
        "accumulate", "from 1 to batch_size, {0.batch_size}", lambda v, r: 1 <= v <= r.batch_size
    ),
    _must(
        "accumulate", "a divisor of batch_size, {0.batch_size}", lambda v, r: r.batch_size % v == 0
    ),
    Rule(
        "batch_size",
        lambda v, r: (
            f" is {v}; it must be at least {2 * r.accumulate} where crop is {r.crop[0]}x"
            f"{r.crop[1]}, as the coarsest branch has one cell for each image and batch norm needs "
            "two"
        ),
        holds=lambda v, r: v // r.accumulate * _coarsest_cells(r.crop) > 1,
    ),
    _must("epochs", f"from 1 to {MAX_COUNT}", within(1, MAX_COUNT)),
    _must("lr", "above 0", lambda v, r: v > 0),
    _must("warmup_steps", f"from 0 to {MAX_COUNT}", within(0, MAX_COUNT)),
    _must("poly_power", "0 or more", within(0)),
    _must("momentum", "from 0 to below 1", within_below(0, 1)),
    _choice("optimizer", "sgd", "adam"),
    _must(
        "milestones",
        "rising epochs from 1 to below epochs, {0.epochs}, or [] for none",
        lambda v, r: list(v) == sorted(set(v)) and all(0 < epoch < r.epochs for epoch in v),
    ),
    _must("nesterov", "false where momentum is 0", lambda v, r: not v or r.momentum > 0),
    _must("nesterov", "false with Adam", lambda v, r: not v or r.optimizer == "sgd"),
    _must("weight_decay", "0 or more", within(0)),
    _must("clip_norm", "0 (no clipping) or more", within(0)),
    _must("ema_decay", "from 0 (no average) to below 1", within_below(0, 1)),
    _must(
        "class_weights",
        "a list of numbers from 0 on, one at least above 0",
        lambda v, r: isinstance(v, str) or (min(v) >= 0 and max(v) > 0),
    ),
    _must("ohem_kept", "from 0 (all pixels) to below 2**31", within(0, 2**31 - 1)),
    _must("ohem_threshold", "a probability above 0", lambda v, r: 0 < v <= 1),
    _must("auxiliary_weights", "0 or more", lambda v, r: min(v.values(), default=0) >= 0),
    *(_must(name, "at least 1", within(1)) for name in ("eval_every", "state_every", "log_every")),
    *(_must(name, "0 (never) or more", within(0)) for name in ("keep_every", "sci_every")),
)
"""All rules of a recipe, in the order in which they are checked."""


def refuse_unknown(settings: dict[str, Any]) -> None:
    """Refuse keys that are not settings, with the closest names."""
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
