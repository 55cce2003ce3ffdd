"""Our checkpoints: one safetensors file that holds weights, configuration, classes and gains.

Metadata (a JSON text under the key ``gsto_viz``) says everything needed to rebuild the network and
to know where it came from. No pickle is read or written. ``gsto_viz.models.official`` is the other
half: files that others wrote.
"""

import functools
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.files import atomic_path, sha256_of
from gsto_viz.gains import PREFIX as GAINS_PREFIX
from gsto_viz.gains import Gains, gains_from_tensors, gains_to_tensors
from gsto_viz.models.base import (
    ModelInfo,
    NetworkConfig,
    SegmentationNetwork,
    generic_classes,
    refuse_misfit,
)
from gsto_viz.models.config import HRNetConfig
from gsto_viz.models.equalizer import check_equalizers
from gsto_viz.models.factory import is_factory, run_factory
from gsto_viz.models.registry import (
    ARCHITECTURES,
    architecture_of,
    build_model,
    network_name,
    network_of,
    registered,
)
from gsto_viz.models.weights_file import is_safetensors
from gsto_viz.torch_utils import unwrap
from gsto_viz.types import ClassInfo, ClassList
from gsto_viz.words import first_few

SCHEMA_VERSION = 1
METADATA_KEY = "gsto_viz"
BYTES_OF_NAME = 120
"""What a file says of each tensor: its name, shape and place."""

logger = logging.getLogger(__name__)


def save_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    classes: ClassList | Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    info: ModelInfo | None = None,
    half_weights: bool = False,
) -> None:
    """Write a checkpoint, whole or not at all.

    Every command and the explorer open the file. ``gsto_viz.add_gains`` adds per-channel gains,
    which the explorer needs.

    Args:
        model: A network of the register, also inside ``torch.compile``, ``DataParallel`` or
            ``AveragedModel``; its tensors are copied to the CPU.
        path: Ends in ``.safetensors``.
        classes: Its classes, such as those of the training data, or their names in order; None
            takes those of ``info`` or of the checkpoint that the network was loaded from.
        mean: What images were normalised with in training, on a 0..1 scale, RGB; None as for
            ``classes``, and ImageNet's where nothing says so.
        std: As ``mean``, above 0.
        info: All there is to say of it. Without it, gains and the record of the training of the
            checkpoint that it was loaded from are left out: they are not those of these weights.
        half_weights: Store convolution weights (four-dimensional tensors) as float16. Everything
            else, batch-norm statistics above all, keeps its precision.

    Raises:
        GstoVizError: The file cannot be written, a weight is beyond float16, classes or
            normalisation cannot be those of the network, or it is of no registered architecture,
            so that nobody could rebuild it.
    """
    network, path = _written(model, path)
    about = _described(network, path, info, classes)
    about = replace(
        about,
        mean=_three("mean", about.mean if mean is None else mean),
        std=_three("std", about.std if std is None else std),
    )
    _check_normalisation(network, about)
    tensors = dict(network.state_dict())
    if half_weights:
        tensors.update({k: _halved(k, t) for k, t in tensors.items() if t.dim() == 4})
    text = {**info_to_json(about), "config": network.config.to_dict()}
    if type(network.config) is not HRNetConfig:
        text["architecture"] = architecture_of(network.config).name
    write_tensors(
        path,
        {**tensors, **gains_to_tensors(about.gains)},
        {METADATA_KEY: json.dumps(text, allow_nan=False)},
    )


def _written(model: Any, path: Any) -> tuple[SegmentationNetwork, Path]:
    """Return the network that is written, and where.

    Raises:
        GstoVizError: They are in another order, the network is none of the register, or the path
            has another suffix.
    """
    if isinstance(model, str | Path) or not isinstance(path, str | Path):
        raise GstoVizError(
            "a checkpoint is saved with the network first, then the path: "
            "save_checkpoint(model, 'my.safetensors', classes=...)"
        )
    network, _ = unwrap(model)
    if not isinstance(network, SegmentationNetwork):
        raise GstoVizError(
            f"a {type(network).__name__} is not a network of the register (gsto-viz models), so it "
            "cannot be rebuilt from a checkpoint; save its state dict and load it in a factory file"
        )
    if Path(path).suffix != ".safetensors":
        raise GstoVizError(f"{path} is for a checkpoint of ours; end its name in .safetensors")
    return network, Path(path)


def _described(
    model: SegmentationNetwork,
    path: Path,
    info: ModelInfo | None,
    classes: ClassList | Sequence[str] | None,
) -> ModelInfo:
    """Return what a checkpoint says, checked against the network.

    Raises:
        GstoVizError: Nobody says what the classes are, or they are more or fewer than the logits.
    """
    known = info or model.info
    if classes is None and known is not None:
        classes = known.classes
    if classes is None or isinstance(classes, str):
        raise GstoVizError(
            "nothing says what the classes are; give classes=, such as those of the training data "
            "or their names in order"
        )
    if not isinstance(classes, ClassList):
        names = [str(name) for name in classes]
        if len(set(names)) < len(names):
            raise GstoVizError(
                f"two of the classes {first_few(names)} have one name; give each its own"
            )
        classes = generic_classes(len(names), names)
    if len(classes) != model.config.num_classes:
        raise GstoVizError(
            f"{len(classes)} classes are given and the network has {model.config.num_classes}; "
            "give one for each of its logits, in order"
        )
    if info is not None or known is None:
        about = info or ModelInfo(path.stem, network_name(model.config), classes)
        return replace(about, classes=classes)
    return replace(known, classes=classes, gains={}, training={}, sha256=None)


def _three(key: str, values: Sequence[float]) -> tuple[float, ...]:
    """Return mean or deviation, refused where images on a 0..1 scale cannot have them."""
    numbers = tuple(map(float, values))
    least = 0.0 if key == "mean" else 1e-3
    if len(numbers) != 3 or not all(least <= one <= 1 for one in numbers):
        raise GstoVizError(
            f"{key} is {numbers}; give three numbers from {least:g} to 1, of red, green and blue "
            "on a 0..1 scale (divide those of a 0..255 scale by 255)"
        )
    return numbers


def _check_normalisation(model: SegmentationNetwork, about: ModelInfo) -> None:
    """Refuse to give equalizers images of another normalisation than they were estimated from."""
    known = model.info
    if not model.config.equalized or known is None:
        return
    if (about.mean, about.std) != (known.mean, known.std):
        raise GstoVizError(
            f"the equalizers of {known.name} hold for images normalised with mean {known.mean} and "
            f"std {known.std}, not with {about.mean} and {about.std}; save it with those, or "
            "equalize the network with the other ones"
        )


def checkpoint_bytes(model: SegmentationNetwork, *, half_weights: bool = False) -> int:
    """Return about how large ``save_checkpoint`` makes a file without gains."""
    tensors = model.state_dict().values()
    return sum(
        BYTES_OF_NAME + t.numel() * (2 if half_weights and t.dim() == 4 else t.element_size())
        for t in tensors
    )


def _halved(name: str, tensor: Tensor) -> Tensor:
    half = tensor.detach().to(torch.float16)
    if not torch.isfinite(half).all():
        raise GstoVizError(f"{name} holds values beyond float16; save without half_weights")
    return half


def load_checkpoint(path: str | Path, *, name: str | None = None) -> SegmentationNetwork:
    """Rebuild a network from one of our checkpoints, in evaluation mode, on the CPU.

    Torch's generator is left as it was.

    Args:
        path: The file.
        name: For ``.info.name``; None takes the file's stem.

    Raises:
        GstoVizError: Not a checkpoint of ours, a newer schema, damaged metadata, or tensors that do
            not fit the configuration (which, and how many).
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if METADATA_KEY not in metadata:
        raise GstoVizError(
            f"{path} has no gsto_viz metadata; official files are read with load_official"
        )
    try:
        about = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise GstoVizError(f"{path} has damaged gsto_viz metadata: no JSON ({error})") from error
    info = info_from_json(
        about,
        name=name or path.stem,
        gains=gains_from_tensors(tensors),
        sha256=sha256_of(path),
        source=str(path),
    )
    config = read_config(about, source=str(path))
    if config.num_classes != len(info.classes):
        raise GstoVizError(
            f"{path} has damaged gsto_viz metadata: {len(info.classes)} classes for "
            f"{config.num_classes} logits; take another copy"
        )
    weights = {k: t for k, t in tensors.items() if not k.startswith(GAINS_PREFIX)}
    model = _empty_network(config, weights, source=str(path))
    load_weights(model, weights, source=str(path))
    check_equalizers(model, source=str(path))
    model.info = info
    return model.eval()


def read_config(about: Mapping[str, Any], *, source: str) -> NetworkConfig:
    """Return the configuration that a checkpoint's metadata holds.

    Raises:
        GstoVizError: It is damaged, or of an architecture that this version does not know.
    """
    # Files from before there were others do not say that they hold an HRNet.
    name = about.get("architecture", "hrnetv2")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise GstoVizError(
            f"{source} holds a network of the architecture {name!r}, which this version of gsto_viz"
            f" does not know (it knows {', '.join(ARCHITECTURES)}); update gsto_viz"
        )
    try:
        return ARCHITECTURES[name].config.from_dict(about.get("config"))
    except GstoVizError as error:
        raise GstoVizError(f"{source} has a damaged network configuration: {error}") from error


def _empty_network(
    config: NetworkConfig, tensors: Mapping[str, Tensor], *, source: str
) -> SegmentationNetwork:
    """Make the network without drawing weights, and no larger than the file can fill.

    A file may claim any size, so a claim is compared with what it holds before memory is taken.
    """
    count, largest = config.least
    if count > len(tensors) or largest > max((t.numel() for t in tensors.values()), default=0):
        raise GstoVizError(
            f"{source} holds {len(tensors)} tensors, too few for the network that it describes; "
            "take another copy"
        )
    with torch.device("meta"):
        model = network_of(config)
    _check_fit(model, tensors, source=source)
    return model.to_empty(device="cpu")


def load_weights(model: SegmentationNetwork, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy tensors into a network whose names and shapes they must match exactly.

    Raises:
        GstoVizError: Which keys are missing, left over or of another shape, and how many; the
            network is unchanged.
    """
    _check_fit(model, tensors, source=source)
    model.load_state_dict(dict(tensors))


def _check_fit(model: SegmentationNetwork, tensors: Mapping[str, Tensor], *, source: str) -> None:
    own = model.state_dict()
    missing = [k for k in own if k not in tensors]
    left_over = [k for k in tensors if k not in own]
    other_shape = [k for k in own if k in tensors and own[k].shape != tensors[k].shape]
    refuse_misfit(source, missing, left_over, other_shape)


def shipped_checkpoints() -> dict[str, Path]:
    """Return the checkpoints that come with the package: name -> file."""
    folder = Path(str(resources.files("gsto_viz") / "weights"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load_model(
    source: str | Path, *, headless: bool = False, **options: Any
) -> SegmentationNetwork:
    """Load a network by a shipped name or from a file.

    A checkpoint with a notice (the licence of its training data) says it once in a process, as a
    warning of the logger ``gsto_viz``: on stderr, unless logging is set up otherwise.

    Args:
        source: A shipped name (``gsto-viz models`` lists them), a checkpoint of ours, or an
            official HRNet or GSTO file, told apart by content, whatever their suffix.
        headless: Allow an official file without segmentation head (ImageNet weights); ours is then
            drawn at random, which is said.
        **options: For official files only, passed to ``load_official_model``.

    Returns:
        The network in evaluation mode; ``.info`` says what it is.

    Raises:
        GstoVizError: No such name (the closest are given) or file, a file that does not fit, or
            options for a checkpoint of ours, which says its own network.
    """
    text = str(source)
    path = shipped_checkpoints().get(text, Path(source))
    if not path.is_file():
        raise _no_checkpoint(text)
    if not says_itself(source):
        from gsto_viz.models.official import load_official_model

        return load_official_model(path, headless=headless, **options)
    if options:
        words = ", ".join("--" + name.replace("_", "-") for name in options)
        raise GstoVizError(
            f"{text} says itself which network it is: {words} is for official files only, leave it "
            "out"
        )
    model = load_checkpoint(path, name=text if text in shipped_checkpoints() else None)
    if model.info is not None and model.info.notice:
        _say_notice(model.info.name, model.info.notice)
    return model


def load_module(
    source: str | Path, code: bool, headless: bool, official: Mapping[str, Any]
) -> nn.Module:
    """Load a network as ``load_model``; where code may run, also a factory or a registered name.

    The arguments are those of ``gsto_viz.network.open_network``.
    """
    text = str(source)
    if not code or not (is_factory(text) or text in registered()):
        return load_model(source, headless=headless, **official)
    own = set() if is_factory(text) else {"num_classes"}
    if set(official) - own:
        words = ", ".join("--" + name.replace("_", "-") for name in official if name not in own)
        raise GstoVizError(f"{words} is for official files only; leave it out")
    if is_factory(text):
        return run_factory(text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(text, **official).eval()


def says_itself(source: str | Path) -> bool:
    """Return whether a source is a checkpoint of ours, which says itself which network it is."""
    path = shipped_checkpoints().get(str(source), Path(source))
    return is_safetensors(path) and METADATA_KEY in read_metadata(path)


def _no_checkpoint(text: str) -> GstoVizError:
    """Return what to say of a name that is neither shipped nor a file."""
    shipped = shipped_checkpoints()
    if is_factory(text):
        return GstoVizError(
            f"{text} is a factory file, which evaluate, analyze and doctor open; in Python "
            "gsto_viz.open_network opens it with code=True"
        )
    if Path(text).suffix or Path(text).name != text:
        return GstoVizError(f"no checkpoint file {text}; check the path")
    hint = "none are shipped with this version;"
    if shipped:
        hint = did_you_mean(text, shipped, otherwise=f"valid: {', '.join(shipped)}", then="or")
    return GstoVizError(f"no checkpoint '{text}'; {hint} give the path of a file")


@functools.cache
def _say_notice(name: str, notice: str) -> None:
    """Log a notice; the cache makes it once for each checkpoint and process."""
    logger.warning("%s: %s", name, notice)


def info_to_json(info: ModelInfo) -> dict[str, Any]:
    """Return what a checkpoint's metadata holds beside the network's configuration.

    Name and fingerprint belong to the file and the gains are tensors: they are not in it.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "network": info.network,
        "classes": info.classes.to_json(),
        "mean": list(info.mean),
        "std": list(info.std),
        "channel_order": "RGB",
        "notice": info.notice,
        "training": dict(info.training),
    }


def info_from_json(
    about: Any, *, name: str, gains: Mapping[str, Gains], sha256: str, source: str
) -> ModelInfo:
    """Check the metadata of a checkpoint and make a ``ModelInfo`` of it.

    Args:
        about: The parsed JSON.
        name: Name of the checkpoint.
        gains: Read from its tensors.
        sha256: Of its file.
        source: File name for messages.

    Raises:
        GstoVizError: A newer schema, or a key that is missing or holds something else than it must;
            the message names the key.
    """
    if not isinstance(about, dict):
        raise _damaged(source, "it is not an object")
    version = about.get("schema_version")
    if version != SCHEMA_VERSION:
        raise GstoVizError(
            f"{source} has checkpoint schema {version!r} and this version of gsto_viz reads "
            f"{SCHEMA_VERSION}; update gsto_viz or take another copy"
        )
    network, notice, training = (about.get(key) for key in ("network", "notice", "training"))
    if not isinstance(network, str):
        raise _damaged(source, "'network' is not a name")
    if not (notice is None or isinstance(notice, str)):
        raise _damaged(source, "'notice' is not a text")
    if not isinstance(training, dict):
        raise _damaged(source, "'training' is not an object")
    if about.get("channel_order") != "RGB":
        raise _damaged(source, "'channel_order' is not RGB")
    return ModelInfo(
        name=name,
        network=network,
        classes=_classes(about.get("classes"), source),
        mean=_channels(about, "mean", source),
        std=_channels(about, "std", source),
        gains=gains,
        notice=notice,
        training=training,
        sha256=sha256,
    )


def _damaged(source: str, what: str) -> GstoVizError:
    return GstoVizError(f"{source} has damaged gsto_viz metadata: {what}; take another copy")


def _channels(about: Mapping[str, Any], key: str, source: str) -> tuple[float, ...]:
    """Return the three numbers under ``mean`` or ``std``; a deviation is above 0."""
    values = about.get(key)
    if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
        raise _damaged(source, f"'{key}' is not three numbers")
    if key == "std" and min(values) <= 0:
        raise _damaged(source, "'std' is not above 0")
    return tuple(float(v) for v in values)


def _is_number(value: Any) -> bool:
    # A JSON integer may be beyond float: compared, not converted. NaN fails every comparison.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _classes(value: Any, source: str) -> ClassList:
    """Read what ``ClassList.to_json`` gave: ids 0..K-1 in order."""
    entries = value.get("classes") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not isinstance(value.get("name"), str):
        raise _damaged(source, "'classes' is not a class list")
    classes = tuple(_class(e, i, source) for i, e in enumerate(entries))
    pairs = value.get("flip_pairs", [])
    whole = isinstance(pairs, list) and all(isinstance(p, list) and len(p) == 2 for p in pairs)
    members = [id_ for pair in pairs for id_ in pair] if whole else []
    known = all(type(m) is int and m in range(len(classes)) for m in members)
    if not whole or not known or len(set(members)) < len(members):
        raise _damaged(source, "'flip_pairs' is not made of pairs of classes")
    return ClassList(value["name"], classes, tuple((pair[0], pair[1]) for pair in pairs))


def _class(entry: Any, index: int, source: str) -> ClassInfo:
    where = f"'classes[{index}]'"
    if not isinstance(entry, dict) or entry.get("id") != index:
        raise _damaged(source, f"{where} is not the class with id {index}")
    name, color, kind = entry.get("name"), entry.get("color"), entry.get("kind")
    if not isinstance(name, str) or kind not in ("thing", "stuff"):
        raise _damaged(source, f"{where} has no name or is neither thing nor stuff")
    if not isinstance(color, list) or len(color) != 3 or not all(type(c) is int for c in color):
        raise _damaged(source, f"{where} has no colour of three whole numbers")
    if not 0 <= min(color) <= max(color) <= 255:
        raise _damaged(source, f"{where} has a colour outside 0..255")
    return ClassInfo(index, name, (color[0], color[1], color[2]), thing=kind == "thing")


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file.

    Args:
        path: Where it shall appear.
        tensors: Any device and layout; stored contiguous, values and types as they are.
        metadata: Texts by name.

    Raises:
        GstoVizError: The operating system refused the write; what was there before is intact.
    """
    stored = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # Not safetensors' own save_file: that puts a second temporary file, readable by its owner
    # alone, in the place of ours, and reports a full disk as an error of its own kind.
    content = save(stored, dict(metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        Tensors by name, and the file's text metadata.

    Raises:
        GstoVizError: No such file, or not a readable safetensors file.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts of a safetensors file without its tensors; errors as in ``read_tensors``."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise GstoVizError(f"no file {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise GstoVizError(
            f"{path} is not a readable safetensors file ({error}); take another copy"
        ) from error
