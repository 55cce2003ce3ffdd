"""The maps that come with the package are those that the shipped networks give."""

import numpy as np
import pytest

from gsto_viz.explorer import shown as gallery
from gsto_viz.explorer.checkpoints import SHIPPED_PAIR
from gsto_viz.explorer.pictures import scene_picture
from gsto_viz.explorer.shown import look
from gsto_viz.models import load_model


def test_every_scene_has_its_files():
    assert gallery.gallery_scenes() == gallery.SCENES
    assert len(list(gallery.folder().glob("*.npz"))) == len(gallery.SCENES) * len(SHIPPED_PAIR)


@pytest.mark.parametrize("name", SHIPPED_PAIR)
def test_stored_maps_are_those_of_the_network(name):
    model = load_model(name)
    picture = scene_picture(gallery.SCENES[-1])
    stored = gallery.stored_inspection(picture.key, model.info.sha256)
    live = look(model, picture)
    assert (stored.name, stored.network, stored.strides) == (live.name, live.network, live.strides)
    assert (stored.gate_range, stored.site) == (live.gate_range, live.site)
    assert stored.align_corners == live.align_corners
    # Another processor may round differently, so a handful of pixels may tip over.
    assert np.mean(stored.prediction != live.prediction) < 1e-3
    pairs = [*zip(stored.raw, live.raw, strict=True)]
    pairs += zip(stored.activity, live.activity, strict=True)
    assert list(stored.gates) == list(live.gates)
    pairs += zip(stored.gates.values(), live.gates.values(), strict=True)
    for kept, fresh in pairs:
        np.testing.assert_allclose(kept, fresh, rtol=1e-3, atol=1e-4)
        assert not kept.flags.writeable
    np.testing.assert_allclose(stored.logits, live.logits, rtol=2e-3, atol=2e-2)


def test_other_images_and_weights_have_none():
    picture = scene_picture(gallery.SCENES[0])
    assert gallery.stored_inspection(picture.key, "0" * 64) is None
    assert gallery.stored_inspection("../../etc", "0" * 64) is None
