"""Names, options and configurations: what is known, and how the unknown is refused."""

import dataclasses
import json

import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.models import CONFIGS, GatingConfig, HRNetConfig, build_model, model_config
from gsto_viz.models.config import config_from_dict


def test_registered_names_are_the_contracts() -> None:
    sizes = ("w18-small-v1", "w18-small-v2", "w18", "w30", "w32", "w40", "w44", "w48", "w64")
    wanted = {f"{family}-{size}" for family in ("hrnetv2", "gsto-hrnet") for size in sizes}
    assert wanted <= set(CONFIGS)
    assert set(CONFIGS) - wanted == {"hrnetv2-tiny", "gsto-hrnet-tiny"}


@pytest.mark.parametrize(
    ("name", "widths", "modules", "blocks", "stage1"),
    [
        ("w18-small-v1", (16, 32, 64, 128), (1, 1, 1), 2, (1, 32)),
        ("w18-small-v2", (18, 36, 72, 144), (1, 3, 2), 2, (2, 64)),
        ("w18", (18, 36, 72, 144), (1, 4, 3), 4, (4, 64)),
        ("w48", (48, 96, 192, 384), (1, 4, 3), 4, (4, 64)),
    ],
)
def test_sizes_are_hrnets(name, widths, modules, blocks, stage1) -> None:
    for family, gated in (("hrnetv2", False), ("gsto-hrnet", True)):
        config = CONFIGS[f"{family}-{name}"]
        assert (config.widths, config.modules, config.blocks) == (widths, modules, blocks)
        assert (config.stage1_blocks, config.stage1_planes) == stage1
        assert (config.gating == GatingConfig()) == gated


def test_unknown_name_gets_the_closest() -> None:
    with pytest.raises(GstoVizError, match=r"unknown model 'gsto-hrnt-w48'; did you mean gsto-hrn"):
        build_model("gsto-hrnt-w48")
    with pytest.raises(GstoVizError, match="valid: hrnetv2-w18-small-v1, "):
        build_model("zzz")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hrnetv2-tiny", {"classes": 3}, "unknown model option classes; known: align_corners"),
        ("hrnetv2-tiny", {"gate_form": "paper"}, "gate_form: this network has no gates"),
        ("gsto-hrnet-tiny", {"gate_shape": 1}, "unknown model option gate_shape"),
        ("gsto-hrnet-tiny", {"gate_form": "hard"}, "unknown gate form 'hard'"),
        ("gsto-hrnet-tiny", {"gate_supervised": (4,)}, r"gating.supervised is \[4\]"),
        ("gsto-hrnet-tiny", {"gate_supervised": (2, 2)}, r"gating.supervised is \[2, 2\]"),
        ("gsto-hrnet-tiny", {"gate_unsupervised": (3,)}, r"\[3\] are both supervised and unsup"),
        ("gsto-hrnet-tiny", {"gate_source": "all"}, "gating.source is 'all'"),
        ("gsto-hrnet-tiny", {"gating": {"shape": 1}}, "unknown key shape in GatingConfig"),
        ("hrnetv2-tiny", {"num_classes": 0}, "num_classes is 0; it goes from 1 to 254"),
        ("hrnetv2-tiny", {"num_classes": 255}, "num_classes is 255"),
        ("hrnetv2-tiny", {"modules": (1, 1)}, r"modules is \[1, 1\]; give three counts"),
        ("hrnetv2-tiny", {"modules": (1, 0, 1)}, "give three counts of at least 1"),
        ("hrnetv2-tiny", {"width": 0}, "width, stage1_blocks"),
        ("hrnetv2-tiny", {"resize_mode": "cubic"}, "resize_mode is 'cubic'"),
    ],
)
def test_what_makes_no_network_is_refused(name, options, message) -> None:
    with pytest.raises(GstoVizError, match=message):
        model_config(name, **options)


@pytest.mark.parametrize("name", ["hrnetv2-w48", "gsto-hrnet-tiny"])
def test_configuration_survives_json(name: str) -> None:
    config = CONFIGS[name].with_options(num_classes=7, align_corners=True)
    if config.gating is not None:
        config = config.with_options(gate_form="paper", gate_supervised=(3,), gate_diagonal=False)
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_configuration_keys_are_refused() -> None:
    values = CONFIGS["gsto-hrnet-tiny"].to_dict()
    with pytest.raises(GstoVizError, match="unknown key depth in HRNetConfig; known: align_"):
        config_from_dict({**values, "depth": 3})
    values["gating"]["colour"] = 1
    with pytest.raises(GstoVizError, match="unknown key colour in GatingConfig"):
        config_from_dict(values)


def test_configurations_are_immutable_and_options_copy() -> None:
    before = CONFIGS["gsto-hrnet-tiny"]
    changed = before.with_options(gate_supervised=[3], num_classes=2)
    assert changed.gating.supervised == (3,)
    assert before.gating.supervised == (2, 3)
    assert before.num_classes == 19
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.width = 3
    assert hash(HRNetConfig(width=4)) == hash(HRNetConfig(width=4))
