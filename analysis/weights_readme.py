"""Write ``gsto_viz/weights/README.md``: shipped checkpoints with card, data, licence and scores.

    python analysis/weights_readme.py

Everything in it comes from the checkpoints' own metadata; ``make_weights.py`` calls it as well.
"""

from pathlib import Path

from gsto_viz.files import write_text
from gsto_viz.models import SegmentationNetwork, load_checkpoint, shipped_checkpoints

README = Path(__file__).parent.parent / "gsto_viz" / "weights" / "README.md"

HEAD = """# Weights that come with gsto_viz

Each file holds network, classes, gains and where it came from; its card says more. Scores are in
percent (native size, single scale, no flip, one confusion matrix), measured on the stored file by
the command beside them, which prints them again to 0.1 point.

| checkpoint | network | trained on | licence | size | SHA-256 |
|---|---|---|---|---|---|
"""
SCORES = """
| checkpoint | data | images | mIoU | pixel accuracy | mean accuracy | command |
|---|---|---|---|---|---|---|
"""


def readme(models: dict[str, SegmentationNetwork], sizes: dict[str, int]) -> str:
    """Return the text; ``sizes`` are bytes by name."""
    files, scores = "", ""
    for name, model in sorted(models.items()):
        info = model.info
        assert info is not None
        assert info.sha256 is not None
        licence = info.notice or "MIT, as the code"
        files += (
            f"| [`{name}`]({name}.md) | {model.architecture} | `{info.training['data']}` | "
            f"{licence} | {sizes[name] / 1e6:.2f} MB | `{info.sha256[:16]}` |\n"
        )
        for label, score in info.training["scores"].items():
            scores += (
                f"| `{name}` | {label} | {score['images']} | {score['miou']:.2f} | "
                f"{score['pixel_accuracy']:.2f} | {score['mean_accuracy']:.2f} | "
                f"`gsto-viz evaluate {name} --data {score['data']}` |\n"
            )
    return HEAD + files + SCORES + scores


def write_readme() -> None:
    paths = shipped_checkpoints()
    models = {name: load_checkpoint(path) for name, path in paths.items()}
    write_text(README, readme(models, {name: path.stat().st_size for name, path in paths.items()}))


if __name__ == "__main__":
    write_readme()
