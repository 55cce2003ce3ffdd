"""Write ``gsto_viz/weights/README.md``: shipped checkpoints with card, data, licence and scores.

    python analysis/weights_readme.py

Everything in it comes from the checkpoints' own metadata; ``make_weights.py`` calls it as well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsto_viz.commands.evaluate_pose import TITLES
from gsto_viz.files import write_text
from gsto_viz.models import SegmentationNetwork, load_checkpoint, shipped_checkpoints

README = Path(__file__).parent.parent / "gsto_viz" / "weights" / "README.md"

HEAD = """# Weights that come with gsto_viz

Each file holds network, classes, gains and where it came from; its card says more. Scores are in
percent, measured on the stored file by the command beside them, which prints them again to 0.1
point.

| checkpoint | network | trained on | licence | size | SHA-256 |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Scoring:
    """What ``gsto-viz evaluate`` measures of networks for one task, as cards print it.

    Attributes:
        channels: What the network gives; ``n`` of them, of the class list ``name``.
        how: How images are looked at.
        options: Words of the command that leave out what no card prints.
        columns: Titles of the scores, by their keys in the command's JSON.
        parts: Key of the scores of parts in the record, and the two titles of their table.
        digits: Decimals of the scores of parts.
        parts_of: Returns them from the JSON, by part.
    """

    channels: str
    how: str
    options: tuple[str, ...]
    columns: Mapping[str, str]
    parts: tuple[str, str, str]
    digits: int
    parts_of: Callable[[Mapping[str, Any]], dict[str, float | None]]

    def record(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a checkpoint keeps of the command's JSON."""
        kept = {key: facts[key] for key in ("images", *self.columns)}
        return {**kept, self.parts[0]: self.parts_of(facts)}

    def cells(self, record: Mapping[str, Any]) -> str:
        """Return the cells of a record, in percent."""
        values = [record[key] for key in self.columns]
        return " | ".join("-" if value is None else f"{value:.2f}" for value in values)

    def head(self, *before: str) -> list[str]:
        """Return the head of a table of scores."""
        titles = (*before, *self.columns.values(), "command")
        return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


SCORING = {
    "segmentation": Scoring(
        channels="{n} classes in {name}'s order",
        how="native size, single scale, no flip, one confusion matrix",
        options=("--no-sizes",),
        columns={
            "miou": "mIoU",
            "pixel_accuracy": "pixel accuracy",
            "mean_accuracy": "mean accuracy",
        },
        parts=("iou", "class", "IoU"),
        digits=1,
        parts_of=lambda facts: {one["name"]: one["iou"] for one in facts["classes"]},
    ),
    "pose": Scoring(
        channels="{n} {name}",
        how=(
            "key points of persons in their annotated boxes, crops of the size of training, "
            "averaged with the mirror image; AP and AR are means over OKS .50 to .95, "
            "M are persons of 32 to 96 px and L larger ones"
        ),
        options=(),
        columns={key: title for key, (title, _) in TITLES.items()},
        parts=("oks", "size of person, px", "OKS"),
        digits=3,
        parts_of=lambda facts: {
            f"{2 ** one['octave']} to {2 ** (one['octave'] + 1)}": one["mean"]
            for one in facts["sizes"]
        },
    ),
}
"""By the task of a network."""


def readme(models: dict[str, SegmentationNetwork], sizes: dict[str, int]) -> str:
    """Return the text; ``sizes`` are bytes by name."""
    files = ""
    scores: dict[str, list[str]] = {}
    for name, model in sorted(models.items()):
        info, scoring = model.info, SCORING[model.task]
        assert info is not None
        assert info.sha256 is not None
        licence = info.notice or "MIT, as the code"
        files += (
            f"| [`{name}`]({name}.md) | {model.architecture} | `{info.training['data']}` | "
            f"{licence} | {sizes[name] / 1e6:.2f} MB | `{info.sha256[:16]}` |\n"
        )
        rows = scores.setdefault(model.task, scoring.head("checkpoint", "data", "images"))
        rows += (
            f"| `{name}` | {label} | {score['images']} | {scoring.cells(score)} | "
            f"`gsto-viz evaluate {name} --data {score['data']}` |"
            for label, score in info.training["scores"].items()
        )
    for task, scoring in SCORING.items():
        if task in scores:
            text = "\n".join(scores[task])
            files += f"\n{task.capitalize()}: {scoring.how}.\n\n{text}\n"
    return HEAD + files


def write_readme() -> None:
    paths = shipped_checkpoints()
    models = {name: load_checkpoint(path) for name, path in paths.items()}
    write_text(README, readme(models, {name: path.stat().st_size for name, path in paths.items()}))


if __name__ == "__main__":
    write_readme()
