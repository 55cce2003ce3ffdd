"""``python tests/golden/renew.py``: compute the golden values again and print old -> new.

Nothing is written without ``--write``. Values change only where that is meant: renewing them is a
commit of its own that says why.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from golden import CAMVID_CLASSES, EXPECTED, LEVELS, NETWORKS, RECORDED, RTOL, compute

import gsto_viz as gv
from gsto_viz.models import initialize

sys.path.append(str(Path(__file__).parents[1] / "judge"))
from differences import compare_folders  # lies beside, found by the line above

SCENES = "scenes:count=12,seed=5,size=96x128"


def main() -> int:
    """Print what changes; write it if wanted; return 1 if something changes and is not written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the expected values")
    parser.add_argument(
        "--record",
        action="store_true",
        help="record the maps anew first: other maps, so all values change",
    )
    args = parser.parse_args()
    if args.record:
        record()
    with tempfile.TemporaryDirectory() as place:
        found = Path(place) / "found"
        compute(found)
        changed = [
            one for one in compare_folders(EXPECTED, found, rtol=RTOL, most=10**6) if one.differing
        ]
        for one in changed:
            for difference in one.shown:
                print(f"{one.file}  {difference.place}: {difference.old} -> {difference.new}")
        print(f"{sum(one.differing for one in changed)} values change in {len(changed)} files")
        if args.write:
            shutil.rmtree(EXPECTED, ignore_errors=True)
            shutil.copytree(found, EXPECTED)
    return int(bool(changed) and not args.write)


def record() -> None:
    """Run the two tiny networks on the scenes and keep what they show as whole numbers."""
    data = gv.load_data(SCENES)
    samples = [data[k] for k in range(len(data))]
    maps: dict[str, npt.NDArray] = {
        "labels": np.stack([sample.labels for sample in samples]),
        "instances": np.stack([sample.instances for sample in samples]).astype(np.uint8),
    }
    noise = np.random.default_rng(0)
    for key, name in NETWORKS.items():
        torch.manual_seed(3)
        model = gv.build_model(name, num_classes=len(CAMVID_CLASSES)).eval()
        initialize(model, "kaiming")
        taps = ["stage4.branch*"] + (["stage4*gate*"] if key == "B" else [])
        shown = [look(model, sample.image, taps) for sample in samples]
        for tap in shown[0]:
            values = np.stack([one[tap] for one in shown])
            if tap != "prediction":
                low, high = np.percentile(values, (1, 99))
                values = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
                values = np.rint(LEVELS * (0.5 + values / 2 if "gate" in tap else values))
            maps[f"{key}/{tap}"] = values.astype(np.uint8 if tap == "prediction" else np.uint16)
        maps[f"{key}/prediction"] = mixed(maps[f"{key}/prediction"], maps["labels"], noise)
    np.savez_compressed(RECORDED, **maps)


def look(model: torch.nn.Module, image: npt.NDArray, taps: list[str]) -> dict[str, npt.NDArray]:
    """Return branch maps, gate maps and prediction by name."""
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255 - 0.5
    with torch.inference_mode(), gv.Capture(model, taps=taps) as seen:
        logits = model(tensor)
    shown = {}
    for name, values in seen.items():
        shown[re.sub(r"\[(\d)->(\d)\]$", r".\1to\2", name)] = values[0].numpy()
    logits = getattr(logits, "logits", logits)
    full = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear")
    return shown | {"prediction": full[0].argmax(0).numpy()}


def mixed(
    predicted: npt.NDArray, labels: npt.NDArray, noise: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return the labels with blocks of 8 x 8 px of the prediction in them: a fair segmentation."""
    count, height, width = labels.shape
    blocks = noise.random((count, height // 8, width // 8)) < 0.3
    taken = np.kron(blocks, np.ones((1, 8, 8), bool)) | (labels == 255)
    return np.where(taken, predicted, labels).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
