"""Interventions: what they change, that they always restore, and that they stay in their thread."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.attribution import (
    Intervention,
    blurred,
    branch_places,
    captured,
    constant,
    intervene,
    intervention_counts,
    list_places,
    mean_features,
    parse_intervention,
    removals,
    replaced,
    swapped,
)
from gsto_viz.attribution.interventions import edges, find_place
from gsto_viz.capture import Capture
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import find_regions
from gsto_viz.stats import outcome_counts


def logits(model, image):
    with torch.no_grad():
        return model(image).logits


def test_a_gate_fixed_to_its_own_map_changes_nothing(toy):
    model, image = toy.network(), toy.picture()
    before = logits(model, image)
    own = captured(model, image, "*gate*")
    assert len(own) == 4 + 2 * 9 + 16 + 2
    with intervene(model, *(replaced(path, value, "own") for path, value in own.items())):
        torch.testing.assert_close(logits(model, image), before, rtol=0, atol=0)


def test_every_place_fixed_to_its_own_output_changes_nothing(toy):
    model, image = toy.network(), toy.picture()
    before = logits(model, image)
    paths = [p.name for p in list_places(model) if p.kind != "branch" or ".m" in p.name]
    own = captured(model, image, paths)
    for path, value in list(own.items())[::6]:
        with intervene(model, replaced(path, value, "own")):
            assert torch.equal(logits(model, image), before), path


def test_removed_branches_are_what_the_head_sees(toy):
    model, image = toy.network(), toy.picture()
    with torch.no_grad():
        branches, _ = model.branches(image)
        for r in range(4):
            kept = [b * (k != r) for k, b in enumerate(branches)]
            with intervene(model, *removals(branch_places(model))[f"stage4.branch{r}"]):
                torch.testing.assert_close(logits(model, image), model.head(kept))


def test_closed_transfers_are_missing_from_the_sum(toy):
    model, image = toy.network("hrnetv2-tiny"), toy.picture()
    fusion = model.stage4[-1].fusion
    inputs = list(captured(model, image, branch_places(model, "before")).values())
    sizes = [tuple(x.shape[-2:]) for x in inputs]
    for source, target in ((2, 0), (0, 3), (1, 1)):
        with torch.no_grad():
            total = sum(
                fusion.transfers[f"{j}to{target}"](inputs[j], sizes[target])
                for j in range(4)
                if j != source
            )
        name = f"stage4.m0.transfer[{source}->{target}]"
        with (
            intervene(model, constant(name, 0)),
            Capture(model, f"stage4.branch{target}", reduce="none") as maps,
        ):
            logits(model, image)
        torch.testing.assert_close(maps[f"stage4.branch{target}"], total.relu())


def test_an_open_gate_is_no_gate(toy):
    """Gates of GSTO forced to 1: HRNet's fusion with the same weights."""
    model, image = toy.network(gate_supervised=()), toy.picture()
    plain = toy.network("hrnetv2-tiny", seed=5)
    weights = {k.replace(".transfer.", "."): v for k, v in model.state_dict().items()}
    plain.load_state_dict({k: v for k, v in weights.items() if k in plain.state_dict()})
    with intervene(model, *(constant(p.name, 1) for p in list_places(model) if p.kind == "gate")):
        torch.testing.assert_close(logits(model, image), logits(plain, image))


def test_new_branches_can_be_closed(toy):
    model, image = toy.network(), toy.picture()
    with (
        intervene(model, constant("transition3.transfer[2->3]", 0)),
        Capture(model, "stage4.m0.branch3.pre", reduce="none") as maps,
    ):
        logits(model, image)
    block = model.stage4[0].branches[3]
    with torch.no_grad():
        expected = block(torch.zeros_like(maps["stage4.m0.branch3.pre"]))
    torch.testing.assert_close(maps["stage4.m0.branch3.pre"], expected)


def test_blur_and_scale(toy):
    model, image = toy.network(), toy.picture()
    name = "stage4.m0.gate[0->1]"
    own = captured(model, image, [name])[name]
    with intervene(model, blurred(name, 2)), Capture(model, name, reduce="none") as maps:
        logits(model, image)
    found = maps[name][0, 0].numpy()
    cells = own[0, 0].numpy()
    blocks = np.array(
        [[cells[y : y + 4, x : x + 4].mean() for x in range(0, 26, 4)] for y in range(0, 18, 4)]
    )
    # Bilinear, centres aligned: at output row y the point (y + 1/2) 5/18 - 1/2 of 5 blocks.
    y, x = 9, 13
    py, px = (y + 0.5) * 5 / 18 - 0.5, (x + 0.5) * 7 / 26 - 0.5
    fy, fx = int(py), int(px)
    wy, wx = py - fy, px - fx
    expected = (
        blocks[fy, fx] * (1 - wy) * (1 - wx)
        + blocks[fy + 1, fx] * wy * (1 - wx)
        + blocks[fy, fx + 1] * (1 - wy) * wx
        + blocks[fy + 1, fx + 1] * wy * wx
    )
    assert found[y, x] == pytest.approx(expected)
    with (
        intervene(model, Intervention(name, lambda given: given / 4, "x0.25")),
        Capture(model, name, reduce="none") as maps,
    ):
        logits(model, image)
    torch.testing.assert_close(maps[name], own / 4)


def test_swapped_gates_are_those_of_the_other_image(toy):
    model = toy.network()
    image, other = toy.picture(0), toy.picture(1)
    changes = swapped(model, other, "*gate*")
    theirs = captured(model, other, "*gate*")
    with intervene(model, *changes), Capture(model, "*gate*", reduce="none") as maps:
        logits(model, image)
    assert all(torch.equal(maps[name], value) for name, value in theirs.items())
    with intervene(model, *changes):
        torch.testing.assert_close(logits(model, other), logits(toy.network(), other))
        assert not torch.allclose(logits(model, image), logits(toy.network(), image))


def test_a_capture_opened_before_sees_the_change(toy):
    model, image = toy.network(), toy.picture()
    with Capture(model, "stem", reduce="none") as maps, intervene(model, constant("stem", 0.5)):
        logits(model, image)
    assert (maps["stem"] == 0.5).all()


class BoomError(RuntimeError):
    pass


def explode(output):
    raise BoomError


@pytest.mark.parametrize("how", ["body", "hook", "shape", "unknown", "twice", "silent"])
def test_everything_is_restored_after_exceptions(toy, how):
    model, image = toy.network(), toy.picture()
    before = logits(model, image)
    changes = {
        "body": [constant("stem", 0)],
        "hook": [constant("stem", 0), Intervention("stage1.branch0", explode, "boom")],
        "shape": [replaced("stem", torch.zeros(1, 3, 1, 1), "wrong")],
        "unknown": [constant("stem", 0), constant("stage9", 0)],
        "twice": [constant("stem", 0), constant("stem", 1)],
        "silent": [constant("stem", 0)],
    }[how]
    expected = BoomError if how in ("body", "hook") else GstoVizError

    def block():
        with intervene(model, *changes):
            if how == "body":
                raise BoomError
            if how != "silent":
                logits(model, image)

    with pytest.raises(expected):
        block()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(logits(model, image), before)
    with intervene(model, constant("stem", 0)):
        assert not torch.equal(logits(model, image), before)
    assert torch.equal(logits(model, image), before)


def test_other_threads_see_the_network_as_it_is(toy):
    model, image = toy.network(), toy.picture()
    before, found = logits(model, image), []
    with intervene(model, constant("stage4.branch0", 0)):
        changed = logits(model, image)
        thread = threading.Thread(target=lambda: found.append(logits(model, image)))
        thread.start()
        thread.join()
    assert torch.equal(found[0], before)
    assert not torch.equal(changed, before)


def test_gradients_pass_through(toy):
    model = toy.network()
    image = toy.picture().requires_grad_()
    with intervene(model, constant("stage4.m0.gate[0->0]", 0.5)):
        (gradient,) = torch.autograd.grad(model(image).logits.sum(), image)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("stage3.m0.gate.2to0", "stage3.m0.fusion.transfers.2to0.gate"),
        ("stage3.m1.transfer.2to0", "stage3.m1.fusion.transfers.2to0"),
        ("stage3.m1.transfer[0->2]", "stage3.m1.fusion.transfers.0to2"),
        ("transition2.transfer[1->2]", "transition2.new_branch"),
        ("stage4.branch3", "stage4.m0.fusion.targets.3"),
        ("head.relu", "head.relu"),
    ],
)
def test_names_of_places(toy, name, module):
    assert find_place(toy.network(), name).module == module


def test_places_of_other_networks():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    assert list_places(net) == []
    assert find_place(net, "0").kind == "module"
    with pytest.raises(GstoVizError, match="there is no place 'relu'; valid names: 0, 1"):
        find_place(net, "relu")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("stage3.m0.gate[2->0] = 0.5", "stage3.m0.gate[2->0]", 0.5),
        ("stage3.m0.gate.2to0=closed", "stage3.m0.gate[2->0]", 0.5),
        ("transition3.gate=open", "transition3.gate", 1.0),
        ("stage4.m0.transfer[3->0]=closed", "stage4.m0.transfer[3->0]", 0.0),
        ("stage4.branch1=zero", "stage4.branch1", 0.0),
    ],
)
def test_interventions_in_words(toy, text, name, value):
    model = toy.network()
    intervention = parse_intervention(model, text)
    assert intervention.place == name
    assert (intervention.change(torch.ones(1, 2, 3, 3)) == value).all()
    assert parse_intervention(model, f"{name}=blur:2").what == "blur:2"


def test_paper_gates_close_to_zero(toy):
    model = toy.network(gate_form="paper")
    closed = parse_intervention(model, "transition3.gate=closed")
    assert (closed.change(torch.ones(1)) == 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stem", "is not an intervention; write PLACE=VALUE"),
        ("stem=", "is not an intervention; write PLACE=VALUE"),
        ("stem=open", "'open' is not a value for stem; give a number, zero, blur:OCTAVES"),
        ("stem=nan", "stem cannot be nan"),
        ("stem=blur:0", "give 1 to 13 octaves"),
        ("stem=blur:" + "9" * 5000, "give 1 to 13 octaves"),
        ("stem=-1e31", "give a number below 1e"),
        ("stage4.m0.gate[9->0]=1", r"no place 'stage4.m0.gate\[9->0\]'; did you mean stage4"),
    ],
)
def test_words_that_are_no_intervention(toy, text, message):
    with pytest.raises(GstoVizError, match=message):
        parse_intervention(toy.network(), text)


def test_counts_with_and_without(toy):
    model = toy.network().float()
    image = np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8)
    regions = find_regions(toy.annotation())
    means = mean_features(model, [toy.picture(3)[0]], branch_places(model, "before"))
    changes = removals(branch_places(model, "before"), means)
    counts = intervention_counts(model, image, regions, changes, name="a")
    assert counts["intervention"].unique().tolist() == ["none", *changes]
    from gsto_viz.evaluate import predict

    unchanged = outcome_counts(regions.ids, regions.class_id, predict(model, image), image="a")
    rows = counts[counts["intervention"] == "none"].drop(columns="intervention")
    np.testing.assert_array_equal(rows.to_numpy(), unchanged.regions.to_numpy())
    with intervene(model, *changes["stage4.m0.branch2.pre"]):
        predicted = predict(model, image)
    changed = outcome_counts(regions.ids, regions.class_id, predicted, image="a").regions
    rows = counts[counts["intervention"] == "stage4.m0.branch2.pre"]
    np.testing.assert_array_equal(rows["hits"], changed["hits"])
    with pytest.raises(GstoVizError, match="'none' is the name of the unchanged network"):
        intervention_counts(model, image, regions, {"none": ()}, name="a")


def test_means_are_means_over_all_cells(toy):
    model = toy.network().float()
    images = [toy.picture(3)[0].float(), toy.picture(4, (64, 64))[0].float()]
    name = "stage4.m0.transfer[1->0]"
    maps = [captured(model, image[None], [name])[name][0].flatten(1) for image in images]
    expected = torch.cat(maps, dim=1).mean(dim=1)
    found = mean_features(model, images, [name])[name]
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-5, atol=1e-6)


def test_edges_and_sites(toy):
    model = toy.network()
    assert len(edges(model, "transfer", "stage4.m0")) == 16
    assert [p.name for p in edges(model, "gate", "transition3")] == ["transition3.gate"]
    with pytest.raises(GstoVizError, match="transition1 has no gate"):
        edges(model, "gate", "transition1")
    with pytest.raises(GstoVizError, match="unknown site 'middle'"):
        branch_places(model, "middle")
