"""HRNet and GSTO-HRNet for pose: names, official files, places, the head as a sum, checkpoints."""

from pathlib import Path

import pytest
import torch
from networks import enliven
from torch import Tensor, nn

from gsto_viz.attribution.head import head_pass
from gsto_viz.attribution.interventions import (
    branch_places,
    captured,
    constant,
    intervene,
    parse_intervention,
    replaced,
)
from gsto_viz.doctor import examine
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.models import (
    build_model,
    infer_official_config,
    initialize,
    load_checkpoint,
    load_official,
    model_config,
    save_checkpoint,
    to_official_keys,
)
from gsto_viz.models.checkpoint import load_model
from gsto_viz.models.registry import network_name

PLAIN, GATED = "hrnet-pose-tiny", "gsto-hrnet-pose-tiny"
TINY = {"width": 16, "stage1_planes": 32}
"""Of a tiny network for segmentation with their trunk."""
PRE = tuple(f"stage4.m0.branch{r}.pre" for r in range(4))
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def alive(name: str, seed: int = 0, **options: object) -> nn.Module:
    """Build a network in evaluation mode whose batch norms do something."""
    torch.manual_seed(seed)
    model = build_model(name, **options)
    initialize(model, "kaiming")
    enliven(model)
    return model.eval()


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return alive(PLAIN)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# configuration


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_heat_maps_of_seventeen_joints_at_stride_four(name: str, image: Tensor) -> None:
    model = alive(name)
    with torch.no_grad():
        output = model(image)
    assert output.logits.shape == (1, 17, 16, 24)
    shapes = {key: tuple(maps.shape) for key, maps in output.auxiliary.items()}
    deep = {"stage2": (1, 17, 16, 24), "stage3": (1, 17, 16, 24)} if name == GATED else {}
    assert shapes == deep
    assert model.task == model.config.task == "pose"
    assert model.config.classes == COCO_JOINTS.classes
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
    assert build_model("hrnetv2-tiny").task == "segmentation"


def test_networks_of_other_joints_number_them() -> None:
    config = model_config(PLAIN, num_classes=3)
    assert [one.name for one in config.classes.classes] == ["class 0", "class 1", "class 2"]
    assert network_name(config) == PLAIN


def test_networks_without_a_name_are_called_after_their_kin() -> None:
    assert network_name(model_config(PLAIN, width=5)) == "hrnet-pose (width 5)"
    assert network_name(model_config(GATED, width=5)) == "gsto-hrnet-pose (width 5)"
    assert network_name(model_config(GATED, equalized=True)) == GATED


@pytest.mark.parametrize("name", [PLAIN, GATED])
@pytest.mark.parametrize("size", [(64, 72), (45, 99), (32, 32)])
def test_any_image_from_32_pixels_on_fits(name: str, size: tuple[int, int]) -> None:
    """Official files were trained where 32 divides both sides; whole photographs are not such."""
    maps = build_model(name).eval()(torch.zeros(1, 3, *size)).logits
    assert maps.shape == (1, 17, -(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_gradients_reach_every_parameter(name: str, image: Tensor) -> None:
    model = alive(name).train()
    output = model(torch.cat([image, image.flip(3)]))
    sum(maps.square().sum() for maps in (output.logits, *output.auxiliary.values())).backward()
    assert not [key for key, one in model.named_parameters() if one.grad is None]


def test_checkpoints_keep_task_and_joints(tmp_path: Path, image: Tensor) -> None:
    for name in (PLAIN, GATED):
        model = alive(name)
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(model, path, classes=COCO_JOINTS.classes)
        again = load_checkpoint(path)
        assert (again.config, again.task) == (model.config, "pose")
        assert again.info.classes == COCO_JOINTS.classes
        assert again.info.network == name
        with torch.no_grad():
            assert torch.equal(again(image).logits, model(image).logits)


# official files


def official_names(blocks1: int, modules: tuple[int, ...], blocks: int) -> set[str]:
    """Return the keys of an official pose file, by its own rules of naming."""
    convs = ["conv1", "conv2"]
    norms = ["bn1", "bn2"]
    for k in range(blocks1):
        convs += [f"layer1.{k}.conv{n}" for n in (1, 2, 3)]
        norms += [f"layer1.{k}.bn{n}" for n in (1, 2, 3)]
    pairs = ["layer1.0.downsample", "transition1.0"]
    pairs += ["transition1.1.0", "transition2.2.0", "transition3.3.0"]
    for stage, count in zip((2, 3, 4), modules, strict=True):
        for m in range(count):
            for branch in range(stage):
                for k in range(blocks):
                    place = f"stage{stage}.{m}.branches.{branch}.{k}"
                    convs += [f"{place}.conv1", f"{place}.conv2"]
                    norms += [f"{place}.bn1", f"{place}.bn2"]
            targets = 1 if (stage, m) == (4, count - 1) else stage
            for i in range(targets):
                for j in range(stage):
                    place = f"stage{stage}.{m}.fuse_layers.{i}.{j}"
                    pairs += [place] if j > i else [f"{place}.{k}" for k in range(i - j)]
    convs += [f"{one}.0" for one in pairs]
    norms += [f"{one}.1" for one in pairs]
    return {
        *(f"{one}.weight" for one in convs),
        *(f"{one}.{part}" for one in norms for part in NORM),
        "final_layer.weight",
        "final_layer.bias",
    }


def test_keys_are_those_of_official_pose_files() -> None:
    with torch.device("meta"):
        large = to_official_keys(build_model("hrnet-pose-w32"))
        gated = to_official_keys(build_model("gsto-hrnet-pose-w32"))
    assert set(large) == official_names(4, (1, 4, 3), 4)
    assert len(large) == 1754
    assert len([key for key in large if not key.endswith("num_batches_tracked")]) == 1462
    assert tuple(large["final_layer.weight"].shape) == (17, 32, 1, 1)
    assert tuple(large["stage4.2.fuse_layers.0.3.0.weight"].shape) == (32, 256, 1, 1)
    # GSTO's was not released: the names are those of its network for segmentation.
    assert len(gated) == 2421
    assert tuple(gated["last_layer_stage3.3.weight"].shape) == (17, 7 * 32, 1, 1)
    assert set(to_official_keys(build_model(PLAIN))) == official_names(1, (1, 2, 1), 1)


@pytest.mark.parametrize(("name", "kind"), [(PLAIN, "pose"), (GATED, "segmentation")])
def test_round_trip_is_exact(name: str, kind: str) -> None:
    state = {key: one.clone() for key, one in to_official_keys(alive(name, seed=3)).items()}
    model = alive(name)
    report = load_official(model, {"state_dict": {f"module.{k}": v for k, v in state.items()}})
    assert (report.kind, report.missing, report.unexpected) == (kind, (), ())
    assert equal(to_official_keys(model), state)


def test_an_official_file_opens_with_its_joints(tmp_path: Path, image: Tensor) -> None:
    model = alive(PLAIN)
    path = tmp_path / "pose_hrnet.pth"
    torch.save(dict(to_official_keys(model)), path)
    assert network_name(infer_official_config(path)) == PLAIN
    opened = load_model(path)
    assert (opened.task, opened.info.network) == ("pose", PLAIN)
    assert opened.info.classes == COCO_JOINTS.classes
    with torch.no_grad():
        assert torch.equal(opened(image).logits, model(image).logits)


def test_backbones_of_other_tasks_fit_its_trunk() -> None:
    state = {
        key: one.clone() for key, one in to_official_keys(alive("hrnetv2-tiny", **TINY)).items()
    }
    imagenet = {key: one for key, one in state.items() if not key.startswith("last_layer")}
    imagenet["final_layer.0.weight"] = torch.ones(8, 16, 1, 1)
    for given in (state, imagenet):
        model = alive(PLAIN, seed=4)
        before = model.head.classifier.weight.clone()
        report = load_official(model, given)
        assert (report.kind, report.unexpected) == ("backbone", ())
        assert set(report.missing) == {"final_layer.weight", "final_layer.bias"}
        assert torch.equal(model.head.classifier.weight, before)
        entrance = model.head.fusion.transfers["2to0"].convs.conv.weight
        assert torch.equal(entrance, state["stage4.0.fuse_layers.0.2.0.weight"])
        unread = {key for key in report.ignored if ".fuse_layers." in key}
        assert {key.split(".")[3] for key in unread} == {"1", "2", "3"}


def test_files_of_another_kind_are_refused() -> None:
    seg, pose = alive("hrnetv2-tiny"), alive(PLAIN)
    with pytest.raises(
        GstoVizError, match="network's files are of the kind segmentation, not pose"
    ):
        load_official(seg, dict(to_official_keys(pose)), kind="pose")
    with pytest.raises(GstoVizError, match=r"does not fit .* missing .*fuse_layers\.1\.0"):
        load_official(seg, dict(to_official_keys(pose)))


# places


def test_branches_are_the_maps_in_front_of_the_last_fusion(plain: nn.Module) -> None:
    anatomy = plain.anatomy()
    assert anatomy.branch_taps == PRE
    assert anatomy.strides == (4, 8, 16, 32)
    assert [branch.channels for branch in anatomy.branches] == [16, 32, 64, 128]
    assert not any(tap.startswith("stage4.branch") for tap in anatomy.taps)
    assert list(anatomy.taps)[-2:] == ["head.fused", "head.logits"]
    # Modules (1, 2, 1): four transfers into the finest branch at the end, and three transitions.
    assert len(anatomy.transfers) == 4 + 2 * 9 + 4 + 3
    last = [edge for edge in anatomy.transfers if edge.site == "stage4.m0"]
    assert [(edge.source, edge.target, edge.module) for edge in last] == [
        (r, 0, f"head.fusion.transfers.{r}to0") for r in range(4)
    ]
    (head,) = anatomy.heads
    assert head == anatomy.head
    assert (head.fusion, head.sites[-1], head.channels) == (
        "stage4.m0",
        "stage4.m0",
        (16, 32, 64, 128),
    )
    assert branch_places(plain, "before") == list(PRE)
    assert branch_places(plain, "after") == []


def test_gated_networks_have_the_places_of_those_for_segmentation() -> None:
    pose = alive(GATED, num_classes=19).anatomy()
    assert pose == build_model("gsto-hrnet-tiny", **TINY).anatomy()
    assert len(pose.gates) == 4 + 2 * 9 + 16 + 2


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_doctor_finds_nothing_wrong(name: str, image: Tensor) -> None:
    seen = examine(alive(name), image)
    assert all(tap.agrees for tap in seen.taps)
    assert (seen.called_more, seen.never_called, seen.in_place, seen.changes) == ((), (), (), ())
    assert {one.mode for one in seen.resizings} == ({"nearest"} if name == PLAIN else {"bilinear"})


def test_transfers_are_held_closed_and_replaced(plain: nn.Module, image: Tensor) -> None:
    """Without hooks: the fusion is summed again by hand, with the changed term."""
    head = plain.head
    terms = captured(plain, image, [f"stage4.m0.transfer[{r}->0]" for r in range(4)])
    maps = list(terms.values())
    other = torch.randn_like(maps[2])

    def logits(*given: Tensor) -> Tensor:
        with torch.no_grad():
            return head.classifier(torch.stack(given).sum(0).relu())

    def changed(*made) -> Tensor:
        with torch.no_grad(), intervene(plain, *made) as network:
            return network(image).logits

    place = "stage4.m0.transfer[2->0]"
    zero, half = torch.zeros_like(maps[2]), torch.full_like(maps[2], 0.5)
    before = changed()
    torch.testing.assert_close(before, logits(*maps))
    for made, term in (
        (parse_intervention(plain, f"{place}=closed"), zero),
        (constant("stage4.m0.transfer.2to0", 0.5), half),
        (replaced(place, other, "noise"), other),
    ):
        after = changed(made)
        torch.testing.assert_close(after, logits(*maps[:2], term, maps[3]))
        assert not torch.allclose(after, before)
    assert torch.equal(changed(), before)


def test_the_head_is_a_sum_over_branches(image: Tensor) -> None:
    """Each part against the network's own transfer; a coalition against a changed forward pass."""
    model, image = alive(PLAIN).double(), image.double()
    seen = head_pass(model, image)
    terms = captured(model, image, [f"stage4.m0.transfer[{r}->0]" for r in range(4)])
    bias = torch.zeros(16, dtype=torch.float64)
    units = [one.convs for one in model.head.fusion.transfers.values()]
    for part, unit, term in zip(seen.contributions, units, terms.values(), strict=True):
        # The bias of batch norm stands apart, once for all branches.
        shift = torch.zeros_like(bias)
        if not isinstance(unit, nn.Identity):
            norm = unit.bn
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = (norm.bias - norm.running_mean * scale).detach()
        torch.testing.assert_close(part + shift[:, None, None], term)
        bias += shift
    torch.testing.assert_close(seen.head.bias, bias)
    hidden = sum(seen.contributions) + bias[:, None, None]
    torch.testing.assert_close(seen.head.logits(hidden.flatten(2)), seen.logits.flatten(2))
    with torch.no_grad(), intervene(model, constant(PRE[1], 0.0)) as network:
        without = network(image).logits
    rest = hidden - seen.contributions[1]
    torch.testing.assert_close(seen.head.logits(rest.flatten(2)), without.flatten(2))
