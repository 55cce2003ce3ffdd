"""The settings of a training run."""

import difflib
import typing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_text
from gsto_viz.recipe.rules import check_choices, check_ranges
from gsto_viz.recipe.values import convert


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
            saved in their place; see ``gsto_viz.train.average.WeightAverage``.
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
            near = difflib.get_close_matches(str(key), TYPES, n=2, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(TYPES)}"
            raise GstoVizError(f"recipe: unknown key '{key}'; {hint}")
