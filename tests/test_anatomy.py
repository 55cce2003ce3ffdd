"""What networks say of themselves, against literal lists and the modules that a forward calls."""

import copy
from dataclasses import replace

import pytest
from torch import nn

from gsto_viz.anatomy import (
    Branch,
    anatomy_of,
    branches_at,
    canonical_name,
    edge_named,
    find_edge,
    safe_name,
    site_numbers,
)
from gsto_viz.capture.names import declared_taps, resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.models import build_model
from gsto_viz.types import Tap

BRANCHES = tuple(f"stage4.branch{r}" for r in range(4))


def test_a_plain_network_says_what_it_is_made_of():
    model = build_model("hrnetv2-tiny", num_classes=7)
    anatomy = model.anatomy()
    assert anatomy.branch_taps == BRANCHES
    assert anatomy.strides == (4, 8, 16, 32)
    assert [branch.channels for branch in anatomy.branches] == [4, 8, 16, 32]
    assert anatomy.gates == ()
    assert anatomy.gate_range is None
    assert dict(anatomy.outputs) == {"main": "head.logits"}
    # Modules (1, 2, 1) with 2, 3 and 4 branches, and three transitions.
    assert len(anatomy.transfers) == 4 + 2 * 9 + 16 + 3
    (head,) = anatomy.heads
    assert head == anatomy.head
    assert (head.name, head.module, head.taps) == ("main", "head", BRANCHES)
    assert head.inputs == tuple(f"stage4.m0.branch{r}.pre" for r in range(4))
    assert head.sites == (
        "transition1", "stage2.m0", "transition2", "stage3.m0", "stage3.m1", "transition3",
        "stage4.m0",
    )  # fmt: skip
    assert sum(head.channels) == model.get_submodule(head.module).conv.in_channels


def test_gates_and_auxiliary_heads_of_a_gated_network():
    model = build_model("gsto-hrnet-tiny", gate_form="paper", gate_supervised=(2, 3))
    anatomy = model.anatomy()
    assert len(anatomy.gates) == 4 + 2 * 9 + 16 + 2
    assert anatomy.gate_range == (0.0, 1.0)
    assert [head.name for head in anatomy.heads] == ["main", "stage3", "stage2"]
    assert anatomy.heads[1].taps == BRANCHES[:0] + tuple(f"stage3.branch{r}" for r in range(3))
    assert anatomy.heads[1].fusion == "stage3.m1"
    assert "transition3" not in anatomy.heads[1].sites
    assert list(anatomy.outputs.values()) == ["head.logits", "head.stage3", "head.stage2"]
    for gate in anatomy.gates:
        read = edge_named(gate.name)
        assert (read.site, read.source, read.target, read.new) == (
            gate.site, gate.source, gate.target, gate.new,
        )  # fmt: skip
        assert gate.stride == 4 * 2**gate.source
        assert read.sign == (gate.target > gate.source) - (gate.target < gate.source)
        assert hasattr(model.get_submodule(gate.module.rpartition(".")[0]), "carrier")


def test_it_is_made_once_and_goes_with_copies():
    model = build_model("gsto-hrnet-tiny")
    assert model.anatomy() is model.anatomy()
    assert copy.deepcopy(model).anatomy() is model.anatomy()
    taps = model.taps()
    taps.clear()
    assert model.taps()


def test_other_places_keep_the_gates_of_their_grids():
    anatomy = build_model("gsto-hrnet-tiny").anatomy()
    read = anatomy.at([Branch("stem", 4, 4.0), Branch("stage2.branch1", 8, 8.0)])
    assert read.strides == (4, 8)
    assert {gate.stride for gate in read.gates} == {4, 8}
    assert read.head is None
    with pytest.raises(GstoVizError, match="all branches have one stride"):
        anatomy.at([Branch("stem", 4, 4.0), Branch("stage2.branch0", 4, 4.0)])


def test_branches_of_a_foreign_network_are_told():
    told = branches_at(branches=("layer1", "neck#1"), strides=(4, 8))
    assert told.branch_taps == ("layer1", "neck#1")
    assert (told.head, told.gates, told.gate_range) == (None, (), None)
    gated = branches_at(("a", "b"), (4, 8), {"fuse.gate[1->0]": 8}, (0.5, 1.0))
    assert gated.gate_range == (0.5, 1.0)
    assert (gated.gates[0].source, gated.gates[0].target, gated.gates[0].stride) == (1, 0, 8)
    with pytest.raises(GstoVizError, match="'act' is not a gate"):
        branches_at(("a", "b"), (4, 8), {"act": 8})
    with pytest.raises(GstoVizError, match="2 branches and 1 strides"):
        branches_at(("a", "b"), (4,))
    assert anatomy_of(nn.Conv2d(3, 4, 1)) is None


def test_grids_of_told_branches_may_be_dilated_or_pooled():
    told = branches_at(("fine", "wide", "pooled"), (8, "8r12", "2x3"))
    assert told.strides == (8, "8r12", "2x3")
    assert [b.scale for b in told.branches] == [8.0, 96.0, 512.0]
    assert [told.taps[b.tap].stride for b in told.branches] == [8, "8r12", "2x3"]
    with pytest.raises(GstoVizError, match="'8s2' is not a grid; write pixels per cell, 8r12 or"):
        branches_at(("a", "b"), (8, "8s2"))
    with pytest.raises(GstoVizError, match="maps of one cell"):
        branches_at(("a", "b"), ("1x1", "1x1"))


def test_a_network_that_is_told_its_own_places_keeps_its_head():
    own = build_model("gsto-hrnet-tiny").anatomy()
    told = own.told(branches_at(BRANCHES, (4, 8, 16, 32)))
    assert told.head == own.head
    assert told.gates == ()
    assert own.told(branches_at(BRANCHES[:2], (4, 8))).head is None
    assert own.told(branches_at(("x", "y"), (4, 8))).taps.keys() == {"x", "y"}


def test_dilated_branches_share_a_stride_and_pooled_ones_say_their_cells():
    dilated = [Branch(f"aspp{rate}", 8, float(rate), rate=rate) for rate in (1, 6, 12)]
    anatomy = build_model("hrnetv2-tiny").anatomy()
    assert anatomy.at(dilated).strides == (8, "8r6", "8r12")
    pooled = [Branch(f"pool{bins}", None, 1000 / bins, grid=(bins, bins)) for bins in (6, 1)]
    assert anatomy.at([*dilated, *pooled]).strides == (8, "8r6", "8r12", "6x6", "1x1")
    with pytest.raises(GstoVizError, match="branch lost has no stride"):
        _ = anatomy.at([*dilated, Branch("lost", None, 2000.0)]).strides


def test_branches_of_one_cell_alone_are_refused():
    whole = [Branch(name, None, scale, grid=(1, 1)) for name, scale in (("a", 1.0), ("b", 2.0))]
    with pytest.raises(GstoVizError, match="maps of one cell"):
        build_model("hrnetv2-tiny").anatomy().at(whole)


def test_a_network_that_only_names_its_taps():
    class Named(nn.Module):
        def taps(self):
            gate = Tap("fuse.gate[1->0]", "act", 8, 1, "gate")
            return {"a": Tap("a", "a", 4, 3), gate.name: gate}

    anatomy = anatomy_of(Named())
    assert set(anatomy.taps) == {"a", "fuse.gate[1->0]"}
    assert anatomy.branches == ()
    (gate,) = anatomy.gates
    assert (gate.site, gate.source, gate.target, gate.stride) == ("fuse", 1, 0, 8)


class Foreign(nn.Module):
    """A network with parts and methods that happen to be called as ours."""

    def __init__(self, **parts):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.conv(x)


class Asking(Foreign):
    def taps(self, image):
        raise AssertionError("nobody has an image to give")

    def anatomy(self, *, detail):
        raise AssertionError("nobody knows the detail")


@pytest.mark.parametrize("name", ["taps", "anatomy"])
@pytest.mark.parametrize("part", [nn.Conv2d(3, 4, 1), nn.ModuleDict(), nn.Identity(), ["a"], 3])
def test_a_part_of_a_foreign_network_that_is_called_taps_says_nothing(name, part):
    network = Foreign(**{name: part})
    assert anatomy_of(network) is None
    assert declared_taps(network) == {}
    assert [tap.module for tap in resolve(network, "conv")] == ["conv"]


def test_a_foreign_method_that_wants_more_than_the_network_says_nothing():
    assert anatomy_of(Asking()) is None


@pytest.mark.parametrize(
    ("name", "site", "ends", "new"),
    [
        ("stage3.m1.gate[2->0]", "stage3.m1", (2, 0), False),
        ("stage3.m1.gate.2to0", "stage3.m1", (2, 0), False),
        ("transition3.gate", "transition3", (2, 3), True),
        ("transition3.transfer[2->3]", "transition3", (2, 3), True),
        ("gate[0->1]", "", (0, 1), False),
    ],
)
def test_edges_are_read_off_names(name, site, ends, new):
    edge = find_edge(name)
    assert (edge.name, edge.site, edge.source, edge.target, edge.new) == (name, site, *ends, new)


def test_names_without_an_edge_have_none():
    for name in ("stem", "head.logits", "stage4.branch0", "gate", "transition3"):
        assert find_edge(name) is None
    with pytest.raises(GstoVizError, match="'stem' is not a gate"):
        edge_named("stem")
    assert site_numbers("stage3.m10") == (3, 10)


def test_both_spellings_are_one_name():
    for kind in ("gate", "transfer", "relation"):
        assert canonical_name(f"s.m0.{kind}.2to0") == f"s.m0.{kind}[2->0]"
        assert safe_name(f"s.m0.{kind}[2->0]#1") == f"s.m0.{kind}.2to0#1"
    assert canonical_name("fusion.transfers.2to0") == "fusion.transfers.2to0"


def test_fusions_come_in_the_order_of_their_numbers_and_transitions_last():
    names = ["transition2.gate", "stage3.m10.gate[0->1]", "stage3.m9.gate[0->1]"]
    ordered = sorted(map(edge_named, names), key=lambda edge: edge.order)
    assert [edge.site for edge in ordered] == ["stage3.m9", "stage3.m10", "transition2"]
    assert replace(ordered[0], new=True).order > ordered[1].order
