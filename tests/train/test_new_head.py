"""Fine-tuning on other classes: the last layer starts anew, all else from the file."""

from pathlib import Path

import pytest
import torch

from gsto_viz.errors import GstoVizError
from gsto_viz.models import ModelInfo, build_model, save_checkpoint, to_official_keys
from gsto_viz.models.base import generic_classes
from gsto_viz.train.build import build_for, head_weights
from gsto_viz.train.recipe import Recipe


@pytest.mark.parametrize("name", ["hrnetv2-tiny", "gsto-hrnet-tiny"])
@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("classes", [3, 5])
def test_the_last_layer_starts_anew(
    name: str, official: bool, classes: int, tmp_path: Path
) -> None:
    start = build_model(name, num_classes=5)
    path = tmp_path / "start.safetensors"
    if official:
        torch.save(to_official_keys(start), path)
    else:
        save_checkpoint(start, path, info=ModelInfo("s", name, generic_classes(5)))
    recipe = Recipe(model=name, initialization=str(path), head="new")
    model = build_for(recipe, classes)
    fresh = build_for(Recipe(model=name), classes).state_dict()
    new = set(head_weights(model))
    assert "head.classifier.weight" in new
    assert len(new) == 2 if name == "hrnetv2-tiny" else len(new) > 2
    for key, value in model.state_dict().items():
        assert torch.equal(value, fresh[key] if key in new else start.state_dict()[key]), key
    if classes != 5:
        kept = recipe.with_settings({"head": "kept"})
        with pytest.raises(GstoVizError, match=r"of another shape .* --set head=new starts"):
            build_for(kept, classes)
