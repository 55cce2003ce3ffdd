"""Recipes: what they accept, what they refuse, and that the shipped ones pair up."""

import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gsto_viz.errors import GstoVizError
from gsto_viz.train.recipe import Recipe, load_recipe, recipe_from_dict, recipe_names


def test_plain_values_and_back() -> None:
    recipe = Recipe(model="hrnetv2-tiny", crop=(64, 96), lr=1, auxiliary_weights={"stage2": 1})
    assert recipe.lr == 1.0
    assert isinstance(recipe.lr, float)
    assert recipe.auxiliary_weights == {"stage2": 1.0}
    text = yaml.safe_dump(recipe.to_dict())
    assert recipe_from_dict(yaml.safe_load(text)) == recipe


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("2E2", 200.0), ("5", 5.0)])
def test_numbers_as_yaml_reads_them(text: str, value: float) -> None:
    assert Recipe(model="x", lr=yaml.safe_load(text)).lr == value


def test_numpy_numbers_are_stored_as_plain_ones() -> None:
    recipe = Recipe(model="x", lr=np.float32(0.5), crop=(np.int64(64), 96), weight_decay=1)
    assert [type(v) for v in (recipe.lr, recipe.crop[0], recipe.weight_decay)] == [
        float,
        int,
        float,
    ]
    assert recipe_from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": "ten"}, "epochs is 'ten'; it must be a whole number"),
        ({"epochs": 2.0}, "must be a whole number"),
        ({"epochs": True}, "must be a whole number"),
        ({"epochs": 0}, "epochs is 0; it must be from 1 to 1000000"),
        ({"epochs": 10**12}, "epochs is 1000000000000; it must be from 1 to"),
        ({"batch_size": 10**12}, "it must be from 1 to 1000000"),
        ({"warmup_steps": 10**12}, "it must be from 0 to 1000000"),
        ({"batch_size": 1, "crop": [32, 32]}, "batch_size is 1; it must be at least 2 where crop"),
        ({"lr": "fast"}, "lr is 'fast'; it must be a number"),
        ({"lr": "1e999"}, "must be a number"),
        ({"lr": float("nan")}, "must be a number"),
        ({"lr": float("inf")}, "must be a number"),
        ({"lr": 10**400}, "must be a number"),
        ({"lr": 0}, "above 0"),
        ({"flip": 1.5}, "a probability"),
        ({"nesterov": 1}, "true or false"),
        ({"nesterov": True, "momentum": 0}, "false where momentum is 0"),
        ({"crop": [64]}, "a list of 2 whole numbers"),
        ({"crop": [64, 64.5]}, "whole number"),
        ({"crop": [31, 64]}, "at least 32"),
        ({"crop": [64, 10**6]}, "at most 8192"),
        ({"scale_range": [1.5, 0.5]}, "scale_range"),
        ({"scale_range": [1.0, 1e9]}, "scale_range"),
        ({"model_options": [1]}, "a mapping"),
        ({"model_options": {1: 2}}, "a mapping"),
        (
            {"auxiliary_weights": {"stage4": 1.0}},
            "it knows stage1, stage2, stage3, predictor, layer3",
        ),
        ({"auxiliary_weights": {"stage2": "much"}}, "auxiliary_weights.stage2 is 'much'"),
        ({"auxiliary_weights": {"stage2": -1}}, "0 or more"),
        ({"class_weights": "some"}, "log_inverse_frequency or sqrt_log_inverse_frequency or none"),
        ({"class_weights": [1, "x"]}, "class_weights is [1, 'x']; it must be a word or a list of"),
        ({"class_weights": []}, "a word or a list of numbers"),
        ({"class_weights": 3}, "a word or a list of numbers"),
        ({"class_weights": [1, -1]}, "a list of numbers from 0 on"),
        ({"class_weights": [0, 0]}, "one at least above 0"),
        ({"precision": "fp64"}, "fp32 or bf16 or fp16"),
        ({"base_size": "long"}, "base_size is 'long'; write native, long N, short N or HEIGHTx"),
        ({"base_size": "9x480"}, "base_size is 9x480; it must be of 32 to 8192 pixels"),
        ({"base_size": 520}, "a word"),
        ({"scale_step": -0.1}, "0 (any factor) or more"),
        ({"hue": 181}, "hue is 181.0; it must be an angle from 0 to 180 degrees"),
        ({"saturation": 1.5}, "saturation is 1.5; it must be from 0 to 1"),
        ({"gamma": -0.1}, "gamma is -0.1; it must be from 0 to 9"),
        ({"grey": 2}, "grey is 2.0; it must be a probability 0..1"),
        ({"blur": 65}, "blur is 65.0; it must be from 0 to 64 pixels"),
        ({"blur_probability": -1}, "blur_probability is -1.0; it must be a probability 0..1"),
        ({"noise": 1.1}, "noise is 1.1; it must be from 0 to 1, full scale"),
        ({"paste": 1.5}, "paste is 1.5; it must be a probability 0..1"),
        ({"noise": "some"}, "noise is 'some'; it must be a number"),
        ({"accumulate": 0}, "from 1 to batch_size, 8"),
        ({"accumulate": 16}, "from 1 to batch_size, 8"),
        ({"accumulate": 3}, "a divisor of batch_size, 8"),
        ({"accumulate": 8, "crop": [32, 32]}, "at least 16 where crop is 32x32"),
        ({"clip_norm": -1}, "0 (no clipping) or more"),
        ({"ema_decay": 1}, "from 0 (no average) to below 1"),
        ({"ohem_kept": -1}, "from 0 (all pixels)"),
        ({"ohem_threshold": 0}, "a probability above 0"),
        ({"loader_processes": -1}, "from 0 (threads) to 256"),
        ({"seed": -1}, "0 or more"),
        ({"loader_threads": 0}, "from 1 to 256"),
        ({"keep_every": -1}, "keep_every is -1; it must be 0 (never) or more"),
        ({"sci_every": -1}, "sci_every is -1; it must be 0 (never) or more"),
        ({"sci_every": 1.5}, "sci_every is 1.5; it must be a whole number"),
        ({"epoch": 3}, "unknown key 'epoch'; did you mean epochs"),
        ({3: 3}, "unknown key '3'; known: model, "),
    ],
)
def test_what_cannot_be_trained_with_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(GstoVizError, match=re.escape(message)):
        Recipe(model="hrnetv2-tiny").with_settings(settings)


@pytest.mark.parametrize(("batch_size", "crop"), [(2, [32, 32]), (1, [32, 33]), (1, [64, 32])])
def test_two_cells_are_enough_for_batch_norm(batch_size: int, crop: list[int]) -> None:
    assert Recipe(model="x", batch_size=batch_size, crop=crop).batch_size == batch_size


def test_a_recipe_is_left_as_it_is_by_a_change() -> None:
    recipe = Recipe(model="hrnetv2-tiny")
    assert recipe.with_settings({"lr": 1.0}).lr == 1.0
    assert recipe.lr == 0.04


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: [", "is not YAML"),
        (b"- 1", "must be a mapping"),
        (b"", "must be a mapping"),
        (b"lr: 1.0", "names no model"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"model: 2020-02-30", "is not YAML"),
        (b"[" * 100_000, "is not YAML"),
        (b"#" * (2**20 + 1), "larger than 1 MiB"),
        (b"model: a\nmodle: b", "unknown key 'modle'; did you mean model"),
    ],
)
def test_files_that_are_no_recipe(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(GstoVizError, match=message):
        load_recipe(path)


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbfmodel: a")
    assert load_recipe(tmp_path / "r.yaml").model == "a"


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.yaml")
    with pytest.raises(GstoVizError, match=r"the recipe \S+r\.yaml is not a regular file"):
        load_recipe(tmp_path / "r.yaml")
    (tmp_path / "z.yaml").symlink_to("/dev/zero")
    with pytest.raises(GstoVizError, match="is not a regular file"):
        load_recipe(tmp_path / "z.yaml")


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(GstoVizError, match="No such file"):
        load_recipe(tmp_path / "r.yaml")
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(GstoVizError, match="Is a directory"):
        load_recipe(tmp_path / "d.yaml")
    with pytest.raises(GstoVizError, match="one of ade20k, camvid, "):
        load_recipe("camvidd")


def test_shipped_recipes_load_and_twins_differ_in_the_network_alone() -> None:
    names = recipe_names()
    assert "camvid-hrnetv2-w18-small-v1" in names
    for name in names:
        plain = load_recipe(name)
        if "gsto" in name:
            pose = name.replace("gsto-hrnet-pose", "hrnet-pose")
            twin = load_recipe(pose.replace("gsto-hrnet", "hrnetv2"))
            assert {**plain.to_dict(), "model": twin.model} == twin.to_dict()


SOURCED = (
    "cityscapes",
    "cityscapes-trainval",
    "lip",
    "pascal-context",
    "ade20k",
    "camvid",
    "coco-pose",
)


@pytest.mark.parametrize("name", SOURCED)
def test_every_value_has_its_source_beside_it(name: str) -> None:
    text = (resources.files("gsto_viz") / "recipes" / f"{name}.yaml").read_text("utf-8")
    lines = [line for line in text.splitlines() if re.match(r"[a-z_]+:", line)]
    assert set(yaml.safe_load(text)) == {line.partition(":")[0] for line in lines}
    for line in lines:
        if not line.startswith("class_weights: ["):  # its source stands above
            source = line.partition(" # ")[2]
            assert re.match(r"(both|GSTO|HRNet|ours|as |no such file)", source), line


# Facts of the papers and of HRNet's files: crop, batch, lr, weight decay, epochs, greatest scale.
PUBLISHED = {
    "cityscapes": ((512, 1024), 12, 0.01, 5e-4, 600, 2.1, 0),
    "lip": ((473, 473), 40, 0.007, 5e-4, 150, 1.6, 0),
    "pascal-context": ((480, 480), 16, 0.004, 1e-4, 280, 2.1, 0),
    "ade20k": ((520, 520), 16, 0.02, 1e-4, 120, 1.6, 4 * 131072),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("size", ["w18-small-v1", "w18-small-v2", "w18", "w48"])
def test_a_recipe_serves_both_networks_of_every_size(name: str, size: str) -> None:
    plain = load_recipe(name, model=f"hrnetv2-{size}")
    gated = load_recipe(name, model=f"gsto-hrnet-{size}")
    assert {**plain.to_dict(), "model": gated.model} == gated.to_dict()
    crop, batch, lr, decay, epochs, scale, hard = PUBLISHED[name]
    assert (plain.crop, plain.batch_size, plain.lr, plain.weight_decay) == (crop, batch, lr, decay)
    assert (plain.epochs, plain.ohem_kept) == (epochs, hard)
    assert plain.scale_range == (0.5, scale)
    assert (plain.momentum, plain.nesterov, plain.poly_power) == (0.9, False, 0.9)
    assert plain.initialization == "imagenet"


@pytest.mark.parametrize("size", ["w32", "w48"])
def test_the_recipe_of_key_points_serves_both_networks_of_both_sizes(size: str) -> None:
    plain = load_recipe("coco-pose", model=f"hrnet-pose-{size}")
    gated = load_recipe("coco-pose", model=f"gsto-hrnet-pose-{size}")
    assert {**plain.to_dict(), "model": gated.model} == gated.to_dict()
    assert (plain.crop, plain.sigma, plain.batch_size) == ((384, 288), 3.0, 128)
    assert (plain.optimizer, plain.lr, plain.milestones, plain.epochs) == (
        *("adam", 1e-3),
        *((170, 200), 210),
    )
    assert (plain.rotation, plain.rotated, plain.scale_deviation) == (45, 0.6, 0.35)
    assert (plain.flip, plain.half_body, plain.weight_decay) == (0.5, 0.3, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"milestones": [5, 3]}, "milestones is .*; it must be rising epochs"),
        ({"milestones": [80]}, r"from 1 to below epochs, 80, or \[\] for none"),
        ({"optimizer": "adamw"}, "choose sgd or adam"),
        ({"optimizer": "adam"}, "nesterov .*false with Adam"),
        ({"sigma": 0}, "sigma .*above 0"),
        ({"rotation": 91}, "rotation .*an angle from 0 to 90"),
        ({"half_body": 2}, "half_body .*a probability"),
        ({"scale_deviation": 1}, "scale_deviation .*from 0 to below 1"),
    ],
)
def test_settings_of_pose_networks_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(GstoVizError, match=message):
        Recipe(model="hrnet-pose-tiny", **settings)


def test_the_weights_of_cityscapes_are_one_for_each_class() -> None:
    weights = load_recipe("cityscapes").class_weights
    assert len(weights) == 19
    assert weights[0] == 0.8373
    assert weights[-1] == 1.0507
    assert load_recipe("cityscapes-trainval").class_weights == weights


def test_recipes_of_scenes_differ_in_the_network_alone() -> None:
    scenes = [name for name in recipe_names() if name.startswith("scenes-")]
    names = [name for name in scenes if "pose" not in name]
    assert len(names) == 7
    found = [load_recipe(name, model="hrnetv2-tiny") for name in names]
    assert all(one == found[0] for one in found)
    assert all(load_recipe(name).model == name.removeprefix("scenes-") for name in names)
