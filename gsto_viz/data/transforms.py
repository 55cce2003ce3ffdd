"""Training augmentation of an image together with its labels, drawn from a given generator."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.types import IGNORE


@dataclass(frozen=True)
class Augmentation:
    """Random scale, crop, mirror image, brightness and contrast.

    Attributes:
        crop: Height and width of the result.
        scale_range: Least and greatest scale factor, drawn uniformly.
        flip: Probability of a horizontal mirror image.
        brightness: Values are multiplied by a factor from ``1 -+ brightness``.
        contrast: Distances from the image's mean by a factor from ``1 -+ contrast``.
    """

    crop: tuple[int, int]
    scale_range: tuple[float, float]
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Augment one image.

        Images are resized bilinearly and labels to the nearest pixel. What a crop lacks is filled
        with 0 in the image and 255 (ignore) in the labels, at the bottom and on the right, as
        HRNet's code does.

        Args:
            image: (H, W, 3) uint8.
            labels: (H, W) uint8.
            rng: Source of all randomness; the same state gives the same result.

        Returns:
            Image (crop_h, crop_w, 3) and labels (crop_h, crop_w), uint8.
        """
        image, labels = self._scale(image, labels, rng.uniform(*self.scale_range))
        image, labels = self._crop(image, labels, rng)
        if rng.random() < self.flip:
            image, labels = image[:, ::-1], labels[:, ::-1]
        gain = rng.uniform(1 - self.brightness, 1 + self.brightness)
        spread = rng.uniform(1 - self.contrast, 1 + self.contrast)
        return adjust(image, gain, spread), np.ascontiguousarray(labels)

    @staticmethod
    def _scale(
        image: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], factor: float
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        height, width = labels.shape
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        nearest = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return resized.astype(np.uint8, copy=False), nearest.astype(np.uint8, copy=False)

    def _crop(
        self,
        image: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        height, width = self.crop
        top = int(rng.integers(0, max(labels.shape[0] - height, 0) + 1))
        left = int(rng.integers(0, max(labels.shape[1] - width, 0) + 1))
        image = image[top : top + height, left : left + width]
        labels = labels[top : top + height, left : left + width]
        if labels.shape != (height, width):
            down, right = height - labels.shape[0], width - labels.shape[1]
            image = np.pad(image, ((0, down), (0, right), (0, 0)))
            labels = np.pad(labels, ((0, down), (0, right)), constant_values=IGNORE)
        return image, labels


def adjust(image: npt.NDArray[np.uint8], gain: float, spread: float) -> npt.NDArray[np.uint8]:
    """Multiply brightness by ``gain`` and contrast about the mean by ``spread``; clip to 0..255."""
    if gain == 1.0 and spread == 1.0:
        return np.ascontiguousarray(image)
    mean = float(image.mean())
    # One table look-up for 256 values instead of arithmetic on every pixel.
    table = gain * (mean + spread * (np.arange(256, dtype=np.float64) - mean))
    lookup = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(lookup[image])
