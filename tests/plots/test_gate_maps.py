"""The figure of all gate maps: every gate once, at its place, over the form's range."""

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.plots import alt_text, figure_gate_maps
from gsto_viz.plots.gates import NO_GATES
from gsto_viz.types import Sample

STRIDES = (4, 8, 16, 32)
SIZE = (64, 96)


def inspection(names, limits=(0.5, 1.0)) -> Look:
    rng = np.random.default_rng(0)
    grids = {s: (SIZE[0] // s, SIZE[1] // s) for s in STRIDES}

    def gate(name):
        source = int(name[10]) - 1 if name.startswith("transition") else int(name[-5])
        return (0.5 + 0.5 * rng.random(grids[STRIDES[source]])).astype(np.float32)

    maps = tuple(np.zeros(grid, np.float32) for grid in grids.values())
    return Look(
        name="made-up",
        network="gsto-hrnet-tiny",
        strides=STRIDES,
        prediction=np.zeros(SIZE, np.uint8),
        raw=maps,
        activity=maps,
        gates={name: gate(name) for name in names},
        gate_range=limits,
    )


def sample() -> Sample:
    return Sample("made-up", np.zeros((*SIZE, 3), np.uint8))


def maps_of(figure) -> dict[str, np.ndarray]:
    return {
        ax.get_label(): np.asarray(ax.images[0].get_array())
        for ax in figure.axes
        if ax.images and "gate" in ax.get_label() and ax.get_label() != "gate bar"
    }


def test_every_gate_is_drawn_once_over_the_forms_range():
    names = ["stage2.m0.gate[1->0]", "transition2.gate", "stage3.m0.gate[0->2]"]
    names += ["stage3.m1.gate[2->0]", "transition3.gate", "stage4.m0.gate[3->0]"]
    shown = inspection(names)
    figure = figure_gate_maps(sample(), {"A": inspection([]), "B": shown})
    drawn = maps_of(figure)
    assert sorted(drawn) == sorted(names)
    for name, values in shown.gates.items():
        np.testing.assert_array_equal(drawn[name], values.astype(np.float64))
    for ax in figure.axes:
        if ax.get_label() in names:
            assert ax.images[0].get_clim() == (0.5, 1.0)
    texts = [text.get_text() for text in figure.texts]
    assert f"A  made-up: {NO_GATES}" in texts
    for site in ("stage2.m0", "stage3.m0", "stage3.m1", "stage4.m0"):
        assert texts.count(site) == 1
    # A fusion of two branches has no row of a third one: 4 x 4, 3 x 3 twice, 2 x 2.
    assert sum(text.startswith("from\n") for text in texts) == 2 + 3 + 3 + 4
    assert "6 gate maps" in alt_text(figure)


def test_transitions_alone_are_drawn():
    figure = figure_gate_maps(sample(), {"A": inspection(["transition1.gate", "transition3.gate"])})
    assert sorted(maps_of(figure)) == ["transition1.gate", "transition3.gate"]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(GstoVizError, match="no network"):
        figure_gate_maps(sample(), {})
    with pytest.raises(GstoVizError, match="gate_range"):
        figure_gate_maps(sample(), {"A": inspection(["transition3.gate"], limits=None)})
