"""The page "Attribution" in a real browser: a click asks elsewhere, a run is kept."""

import re

import pytest

from gsto_viz.attribution import Target, View, evidence_field, head_pass, own_mean_baseline, resolve
from gsto_viz.attribution.areas import Pixel
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.evaluate import predict
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.explorer.checkpoints import SHIPPED_PAIR
from gsto_viz.models import load_model
from gsto_viz.torch_utils import eval_mode

pytestmark = pytest.mark.browser

TILE = "canvas[data-tile='{}']"


def margin_of_a(x: int, y: int) -> float:
    """The margin of A's own prediction at a pixel of scene 0, without the explorer."""
    model = load_model(SHIPPED_PAIR[0])
    image = SceneDataset(count=1, seed=0, split="eval")[0].image
    with eval_mode(model):
        view = View(predict(model, image), model.info.classes.names)
    seen = head_pass(model, input_batch(model, image))
    field = evidence_field(seen, own_mean_baseline(seen))
    entries = resolve(Target(Pixel(x, y)), view, tuple(seen.logits.shape))
    return float(field.explain(entries).present[0])


def test_a_click_asks_elsewhere_and_a_run_is_kept(served, visit):
    page = visit(f"{served.url}/attribution?scene=0&x=200&y=150")
    page.get_by_text("Explained: the margin of Car at x 200, y 150").wait_for(timeout=60_000)
    box = page.locator(TILE.format("input")).bounding_box()
    place = {"x": 50.5 * box["width"] / 512, "y": 240.5 * box["height"] / 256}
    page.locator(TILE.format("input")).click(position=place)
    page.get_by_text(re.compile("Explained: .* at x 50, y 240")).wait_for(timeout=60_000)
    said = page.get_by_text(
        re.compile(r"^A: the .* at x 50, y 240 \(the /4 cell that holds it\) is")
    ).inner_text()
    number = float(re.search(r"is (-?[0-9.]+) logits", said)[1])
    assert number == pytest.approx(margin_of_a(50, 240), abs=2e-3)
    page.get_by_text("Grad-CAM", exact=True).click()
    page.get_by_role("button", name="Run Grad-CAM").click(timeout=60_000)
    # Until it has run, the exact maps stand in: the tiles alone would not say that it has.
    page.get_by_text("Sums of the maps of grad cam").wait_for(timeout=120_000)
    page.wait_for_selector(TILE.format("B32"))
    assert page.get_by_role("button", name="Run Grad-CAM").count() == 0
    again = visit(page.url)
    again.get_by_text("Sums of the maps of grad cam").wait_for(timeout=60_000)
    again.wait_for_selector(TILE.format("B32"))
    assert page.problems == again.problems == []
