"""Names, options and configurations: what is known, and how the unknown is refused."""

import dataclasses
import json

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.models import GatingConfig, HRNetConfig, build_model, model_config, registered

ATTENTION = "channel-block", "spatial-block", "channel-layer", "spatial-layer", "channel-transfer"


def test_registered_names_are_the_contracts() -> None:
    sizes = ("w18-small-v1", "w18-small-v2", "w18", "w30", "w32", "w40", "w44", "w48", "w64")
    wanted = {f"{family}-{size}" for family in ("hrnetv2", "gsto-hrnet") for size in sizes}
    assert wanted <= set(registered())
    pyramids = {
        f"{start}{module}-{size}{end}"
        for module in ("ppm", "aspp")
        for start in ("", "gsto-")
        for size in ("r50", "r18-half", "tiny")
        for end in ("", "-sup")
    }
    pyramids |= {
        f"{module}-{size}"
        for module in ("upernet", "deeplabv3plus", "fcn", "rsp")
        for size in ("r50", "r18-half", "tiny")
    }
    pyramids |= {f"rsp-hrnet-{size}" for size in ("w18-small-v1", "w18-small-v2", "w48", "tiny")}
    attention = {
        f"hrnetv2-{one}-{size}"
        for one in ATTENTION
        for size in ("w18-small-v1", "w18-small-v2", "tiny")
    }
    pose = {
        f"{start}hrnet-pose-{size}"
        for start in ("", "gsto-")
        for size in ("w18-small-v1", "w32", "w48", "tiny")
    }
    tiny = {"hrnetv2-tiny", "gsto-hrnet-tiny"}
    assert set(registered()) - wanted == tiny | pyramids | attention | pose


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
        config = model_config(f"{family}-{name}")
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
        ("hrnetv2-tiny", {"classes": 3}, "unknown model option classes; did you mean num_classes"),
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
        ("hrnetv2-tiny", {"modules": (1, 0, 1)}, "give three counts from 1 to 64"),
        ("hrnetv2-tiny", {"width": 0}, "width is 0; it goes from 1 to 256"),
        ("hrnetv2-tiny", {"resize_mode": "cubic"}, "resize_mode is 'cubic'"),
        ("hrnetv2-tiny", {"window": 5}, "unknown model option window"),
        ("rsp-tiny", {"window": 4}, "window is 4; give an odd number from 1 to 15"),
        ("rsp-tiny", {"heads": 3}, "heads is 3; give a number whose double divides channels, whi"),
        ("rsp-hrnet-tiny", {"window": 0}, "window is 0; give an odd number from 1 to 15"),
        ("rsp-hrnet-tiny", {"heads": 8}, "heads is 8; .* divides channels, which is 8"),
        ("rsp-hrnet-tiny", {"width": 0}, "width is 0; it goes from 1 to 256"),
        ("hrnet-pose-tiny", {"head": "deconv"}, "head is 'deconv'; choose fusion or concat"),
        ("hrnet-pose-tiny", {"gating": {}}, "gating: the head 'fusion' has no gates; give head: c"),
        ("hrnet-pose-tiny", {"equalized": True}, "equalized: the head 'fusion' concatenates noth"),
        (
            "hrnet-pose-tiny",
            {"attention": {"form": "channel", "place": "transfer"}},
            "attention: the head 'fusion' has none in front of its transfers; give head: concat",
        ),
    ],
)
def test_what_makes_no_network_is_refused(name, options, message) -> None:
    with pytest.raises(GstoVizError, match=message):
        model_config(name, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": "19"}, "num_classes is '19'; it goes from 1 to 254"),
        ({"num_classes": True}, "num_classes is True"),
        ({"num_classes": 11.5}, "num_classes is 11.5"),
        ({"width": 10.5}, "width is 10.5"),
        ({"width": 10**12}, "width is 1000000000000; it goes from 1 to 256"),
        ({"blocks": None}, "blocks is None"),
        ({"modules": 7}, "modules is 7; give three counts"),
        ({"modules": "111"}, "modules is '111'"),
        ({"modules": (1, 2.0, 1)}, r"modules is \[1, 2.0, 1\]"),
        ({"modules": (1, 10**9, 1)}, "give three counts from 1 to 64"),
        ({"bn_momentum": float("nan")}, "bn_momentum is nan; it is a number above 0"),
        ({"bn_momentum": float("inf")}, "bn_momentum is inf"),
        ({"bn_momentum": 0}, "bn_momentum is 0"),
        ({"bn_momentum": True}, "bn_momentum is True"),
        ({"bn_momentum": "0.1"}, "bn_momentum is '0.1'"),
        ({"bn_momentum": 10**400}, r"bn_momentum is 10+\.\.\.; it is a number above 0"),
        ({"head_dropout": 1}, "head_dropout is 1; it is a number from 0 to below 1"),
        ({"head_dropout": -0.1}, "head_dropout is -0.1"),
        ({"head_dropout": float("nan")}, "head_dropout is nan"),
        ({"head_dropout": False}, "head_dropout is False"),
        ({"align_corners": "no"}, "align_corners is 'no'; it is true or false"),
        ({"resize_mode": [1]}, r"resize_mode is \[1\]; it is a word"),
        ({"gating": [1]}, r"gating is \[1\]; give a mapping"),
        ({"gating": 5}, "gating is 5; give a mapping"),
        ({"gate_supervised": 3}, "gating.supervised is 3; give a list of stages"),
        ({"gate_supervised": ["x"]}, r"gating.supervised is \['x'\]"),
        ({"gate_supervised": "23"}, "gating.supervised is '23'"),
        ({"gate_supervised": [True]}, r"gating.supervised is \[True\]"),
        ({"gate_diagonal": "no"}, "gating.diagonal is 'no'; it is true or false"),
        ({"gate_fusion": 1}, "gating.fusion is 1; it is true or false"),
        ({"gate_form": ["paper"]}, r"gating.form is \['paper'\]; it is a word"),
        ({"gate_source": 2}, "gating.source is 2; it is a word"),
        ({"self": 1}, "unknown model option self"),
        ({"gating": {1: 2}}, "unknown key 1 in GatingConfig"),
    ],
)
def test_values_of_another_type_or_size_are_refused(options: dict, message: str) -> None:
    before = model_config("gsto-hrnet-tiny")
    with pytest.raises(GstoVizError, match=message):
        before.with_options(**options)


def test_numpy_numbers_are_numbers_and_are_stored_as_plain_ones() -> None:
    config = HRNetConfig(np.int64(4), modules=[np.int32(1), 1, 1], bn_momentum=np.float32(1))
    assert type(config.width) is int
    assert json.loads(json.dumps(config.to_dict()))["modules"] == [1, 1, 1]


@pytest.mark.parametrize("name", ["hrnetv2-w48", "gsto-hrnet-tiny"])
def test_configuration_survives_json(name: str) -> None:
    config = model_config(name).with_options(num_classes=7, align_corners=True, head_dropout=0.25)
    if config.gating is not None:
        config = config.with_options(gate_form="paper", gate_supervised=(3,), gate_diagonal=False)
    assert HRNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_configuration_keys_are_refused() -> None:
    values = model_config("gsto-hrnet-tiny").to_dict()
    with pytest.raises(GstoVizError, match="unknown key depth in HRNetConfig; did you mean width"):
        HRNetConfig.from_dict({**values, "depth": 3})
    values["gating"]["colour"] = 1
    with pytest.raises(GstoVizError, match="unknown key colour in GatingConfig"):
        HRNetConfig.from_dict(values)


def test_configurations_are_immutable_and_options_copy() -> None:
    before = model_config("gsto-hrnet-tiny")
    changed = before.with_options(gate_supervised=[3], num_classes=2)
    assert changed.gating.supervised == (3,)
    assert before.gating.supervised == (2, 3)
    assert before.num_classes == 19
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.width = 3
    assert hash(HRNetConfig(width=4)) == hash(HRNetConfig(width=4))


def test_gated_networks_say_so_and_no_others():
    assert {n for n in registered() if model_config(n).gated} == {
        n for n in registered() if n.startswith("gsto-")
    }
