"""How fast procedural scenes are drawn."""

from gsto_viz.bench.timing import Measurement, Say, interleaved, rate
from gsto_viz.data.scenes import SceneDataset

SIZE = (256, 512)


def bench_scenes(quick: bool, say: Say) -> list[Measurement]:
    """Draw scenes with their labels and instances, in this process alone."""
    images = 2 if quick else 20
    data = SceneDataset(images, 0, SIZE, "eval")
    what = f"{SIZE[0]}x{SIZE[1]} with labels and instances, one process"
    say(f"scenes: {images} of {what}")

    def draw() -> None:
        for index in range(images):
            data[index]

    times = interleaved({"draw": draw}, repeats=1 if quick else 3)
    return [rate("scenes", times["draw"], what, count=images)]
