"""Scoring a pose network on a data set: a network that reads planted dots, worlds, the command."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError, UnreadableImageError
from gsto_viz.evaluate import check_classes, evaluate
from gsto_viz.evaluate.keypoints import FoundPeople, PoseOptions, evaluate_pose, find_people
from gsto_viz.joints import COCO_JOINTS, Joints
from gsto_viz.models import build_model
from gsto_viz.models.base import ModelInfo
from gsto_viz.models.checkpoint import save_checkpoint
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD
from gsto_viz.types import CROWD, ClassInfo, ClassList, Person, Sample

DOTS = Joints(
    ClassList("dots", tuple(ClassInfo(k, f"dot {k}", (k, 0, 0), False) for k in range(3))),
    ((0, 1), (1, 2)),
    (0.05, 0.05, 0.05),
    (0,),
)
SIZE = (128, 96)


class Dots(nn.Module):
    """The value of channel j of the image, smoothed, as the heat map of joint j."""

    def forward(self, image: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        smooth = F.avg_pool2d(image * std + mean, 3, stride=1, padding=1)
        return smooth[..., ::4, ::4]


@dataclass
class Planted:
    """Two persons an image, each joint a bright square of one colour around it."""

    name: str = "planted"
    joints: Joints = DOTS
    crowd: bool = False

    @property
    def classes(self) -> ClassList:
        return ClassList("one", (ClassInfo(0, "background", (0, 0, 0), False),))

    @property
    def ids(self) -> tuple[str, ...]:
        return "p0", "p1", "p2"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        if index == 2:
            raise UnreadableImageError("p2.png: broken")
        rng = np.random.default_rng(index)
        image = np.zeros((200, 300, 3), dtype=np.uint8)
        people = []
        for left in (20, 170):
            places = rng.integers(8, 80, (3, 2)) + np.array([left, 40])
            for j, (x, y) in enumerate(places):
                image[y - 2 : y + 3, x - 2 : x + 3, j] = 255
            joints = np.column_stack([places, np.full(3, 2)]).astype(np.float32)
            people.append(Person(joints, (left, 40.0, 90.0, 90.0), 90.0 * 90.0))
        if self.crowd:
            people.append(replace(people[0], instance=CROWD))
        return Sample(self.ids[index], image, group="all", people=tuple(people))


def test_planted_dots_are_found_where_they_are() -> None:
    found = find_people(Dots(), Planted(), PoseOptions(SIZE, flip=False), indices=range(3))
    assert found.skipped == {2: "p2.png: broken"}
    assert list(found.truth) == list(found.found) == ["p0", "p1"]
    assert found.groups == {"p0": "all", "p1": "all"}
    for name, truth in found.truth.items():
        assert len(found.found[name]) == 2
        for one in found.found[name]:
            away = [np.abs(one.joints[:, :2] - t.joints[:, :2]).max() for t in truth]
            assert min(away) < 3  # a cell of 4 pixels of a crop of 96 for 150 pixels of the image


@pytest.mark.parametrize("crowd", [False, True])
def test_planted_dots_score_high_and_crowds_are_not_sought(crowd: bool) -> None:
    scores, skipped = evaluate_pose(Dots(), Planted(crowd=crowd), PoseOptions(SIZE, flip=False))
    assert (scores.people, scores.images, list(skipped)) == (4, 2, [2])
    assert scores.ap50 == pytest.approx(1)
    assert scores.sizes["octave"].tolist() == [6]
    assert scores.sizes["mean"].iloc[0] > 0.8


def test_the_network_is_left_in_the_mode_that_it_was_in() -> None:
    model = Dots().train()
    find_people(model, Planted(), PoseOptions(SIZE), indices=[0])
    assert model.training


def test_processes_get_the_persons_of_all_in_the_order_of_the_data() -> None:
    data, options = Planted(), PoseOptions(SIZE, flip=False)
    whole = find_people(Dots(), data, options, indices=range(3))
    parts = [find_people(Dots(), data, options, indices=own) for own in ([1], [0, 2])]
    sent: list[bytes] = []

    class Pair(World):
        def gather_bytes(self, content: bytes) -> list[bytes]:
            sent.append(content)
            return sent

    for part in parts:
        both = part.added_over(Pair(size=2), data.ids)
    assert list(both.truth) == list(both.found) == ["p0", "p1"]
    assert (both.skipped, both.groups) == (whole.skipped, whole.groups)
    for name in whole.truth:
        for ours, theirs in zip(both.truth[name], whole.truth[name], strict=True):
            np.testing.assert_array_equal(ours.joints, theirs.joints)
            assert ours.joints.dtype == np.float32
            assert (ours.box, ours.area, ours.instance) == (
                theirs.box,
                theirs.area,
                theirs.instance,
            )
        for mine, other in zip(both.found[name], whole.found[name], strict=True):
            np.testing.assert_array_equal(mine.joints, other.joints)
            assert (mine.score, mine.area) == (other.score, other.area)


def test_every_process_names_the_images_that_any_could_not_read() -> None:
    """The other process has read nothing but the broken file."""
    other = find_people(Dots(), Planted(), PoseOptions(SIZE, flip=False), indices=[2])

    class Pair(World):
        def gather_bytes(self, content: bytes) -> list[bytes]:
            return [content, json.dumps([{}, {}, {}, list(other.skipped.items())]).encode()]

        def agree(self, error: GstoVizError | None) -> None:
            assert error is None

    options = PoseOptions(SIZE, flip=False)
    scores, skipped = evaluate_pose(Dots(), Planted(), options, indices=[0, 1], world=Pair(size=2))
    assert (scores.images, skipped) == (2, {2: "p2.png: broken"})


def test_data_of_other_joints_are_refused() -> None:
    model = build_model("hrnet-pose-tiny").eval()
    model.info = ModelInfo("x", "hrnet-pose-tiny", COCO_JOINTS.classes)
    with pytest.raises(
        GstoVizError, match=r"has 17 joints and planted has 3; take data of the joints"
    ):
        find_people(model, Planted(), PoseOptions(SIZE), indices=[0])
    assert FoundPeople().truth == {}


def test_joints_of_other_names_are_refused_and_classes_are_not_scored() -> None:
    model, figures = build_model("hrnet-pose-tiny").eval(), load_data("figures:count=1,size=64x64")
    *others, last = COCO_JOINTS.classes
    tailed = ClassList("tailed", (*others, replace(last, name="tail")))
    model.info = ModelInfo("x", "hrnet-pose-tiny", tailed)
    with pytest.raises(GstoVizError, match=r"joint 16 is 'tail' for x and 'right ankle' in figure"):
        check_classes(model, figures)
    check_classes(model, load_data("scenes:count=1,size=64x96"))  # it has no joints
    with pytest.raises(GstoVizError, match="a network for pose gives no classes; evaluate_pose"):
        evaluate(model, figures)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pose") / "p.safetensors"
    torch.manual_seed(0)
    model = build_model("hrnet-pose-tiny", width=4, stage1_planes=4).eval()
    save_checkpoint(model, path, info=ModelInfo("p", "hrnet-pose-tiny", COCO_JOINTS.classes))
    return path


FIGURES = "figures:count=2,size=64x64"


def test_the_command_scores_persons(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(checkpoint), "--data", FIGURES, "--size", "64x48", "--quiet"]
    assert main([*words, "--json", str(tmp_path / "e.json")]) == 0
    text = capsys.readouterr().out
    assert "persons in 2 images, annotated boxes, crops of 64x48, with the mirror image" in text
    assert "size of person (px)" in text
    facts = json.loads((tmp_path / "e.json").read_text())
    assert (facts["size"], facts["flip"], facts["images"]) == ([64, 48], True, 2)
    assert {"ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "sizes"} <= set(facts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "does not say of which size its crops"),
        (["--size", "64x48", "--scales", "1,2"], "--scales is for segmentation"),
        (["--size", "64x48", "--protocol", "lip"], "--protocol is for segmentation"),
        (["--size", "64x48", "--output", "stage3"], "--output is for segmentation"),
        (["--size", "64x48", "--data", "scenes:count=2,size=64x96"], "has no persons with key po"),
    ],
)
def test_the_command_refuses_in_one_line(
    words: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if "--data" in words else ["--data", FIGURES]
    assert main(["evaluate", str(checkpoint), *data, *words, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
