"""Training augmentation of an image together with its labels, drawn from a given generator."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError
from gsto_viz.types import IGNORE, mirror_order

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the grey image (ITU-R BT.601), as OpenCV and Pillow have it."""

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class BaseSize:
    """The size an image has before its random scale factor; one of the three is given.

    Attributes:
        long: Pixels of the longer side, the shape kept (HRNet's ``BASE_SIZE``).
        short: Pixels of the shorter side, the shape kept.
        exact: Height and width, whatever the shape was (LIP: 473x473).
    """

    long: int | None = None
    short: int | None = None
    exact: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.long, self.short, *(self.exact or ())) if v is not None]
        kinds = sum(v is not None for v in (self.long, self.short, self.exact))
        if kinds != 1 or min(given) < 1:
            raise GstoVizError(
                f"{self} is not a base size; give one of long, short and exact, from 1 pixel on"
            )

    def of(self, height: int, width: int) -> tuple[float, float]:
        """Return the height and width, not rounded, of an image of ``height`` x ``width``."""
        if self.exact is not None:
            return float(self.exact[0]), float(self.exact[1])
        if self.long is not None:
            factor = self.long / max(height, width)
        else:
            factor = (self.short or 1) / min(height, width)
        return height * factor, width * factor


@dataclass(frozen=True)
class Photometric:
    """Random hue, saturation or grey, gamma, blur and noise, in this order; all off by default.

    Seven numbers are drawn for an image in any case, and its noise last, so that what one of the
    steps does to an image does not depend on which others are on.

    Attributes:
        hue: Hues are rotated by an angle from ``-+ hue`` degrees (HSV).
        saturation: Distances from the grey image are multiplied by a factor from
            ``1 -+ saturation``. Grey is BT.601 luma, 0.299 R + 0.587 G + 0.114 B.
        gamma: Values, as shares of 255, are raised to a power from ``1 / (1 + gamma)`` to
            ``1 + gamma``, whose logarithm is drawn uniformly.
        grey: Probability of the grey image, with three equal channels.
        blur: A Gaussian with a standard deviation from 0 to ``blur`` pixels smooths the image.
        blur_probability: How often it does.
        noise: Gaussian noise is added to each channel of each pixel, with a standard deviation
            from 0 to ``noise`` times 255.
    """

    hue: float = 0.0
    saturation: float = 0.0
    gamma: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    blur_probability: float = 0.5
    noise: float = 0.0

    @property
    def active(self) -> bool:
        """Whether any step is on."""
        return any((self.hue, self.saturation, self.gamma, self.grey, self.blur, self.noise))

    def __call__(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Return the changed image, (H, W, 3) uint8."""
        hue, saturation, gamma, grey, blurred, sigma, noise = rng.random(7).tolist()
        image = rotate_hue(image, self.hue * (2 * hue - 1))
        image = saturate(
            image, 0.0 if grey < self.grey else 1 + self.saturation * (2 * saturation - 1)
        )
        image = raise_to(image, (1 + self.gamma) ** (2 * gamma - 1))
        if self.blur and blurred < self.blur_probability:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur * sigma), dtype=np.uint8)
        return add_noise(image, self.noise * noise, rng) if self.noise else image


@dataclass(frozen=True)
class Augmentation:
    """Random scale, crop, mirror image, brightness, contrast, and what ``Photometric`` has.

    Padding counts as black pixels of the image from then on: contrast and noise change it, blur
    mixes it with what lies beside it, and its labels stay 255.

    Attributes:
        crop: Height and width of the result.
        scale_range: Least and greatest scale factor, drawn uniformly.
        flip: Probability of a horizontal mirror image.
        brightness: Values are multiplied by a factor from ``1 -+ brightness``.
        contrast: Distances from the image's mean by a factor from ``1 -+ contrast``.
        flip_pairs: Classes that change places in a mirror image (``ClassList.flip_pairs``).
        scale_step: Above 0, only the factors least, least + step, ... up to greatest are drawn.
        base: Size before the scale factor; None takes the image as it is.
        window_first: Cut the crop out of the image and resize only that, not the whole image.
            Several times faster on large images. The window begins and ends on whole pixels of the
            image, so the factor of a crop of h rows differs by up to 1 / h from the one drawn.
        photometric: Drawn and done after everything else; without it the draws are the same.
    """

    crop: tuple[int, int]
    scale_range: tuple[float, float]
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    flip_pairs: tuple[tuple[int, int], ...] = ()
    scale_step: float = 0.0
    base: BaseSize | None = None
    window_first: bool = False
    photometric: Photometric = Photometric()

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> Pair:
        """Augment one image.

        Images are resized bilinearly and labels to the nearest pixel. What a crop lacks is filled
        with 0 in the image and 255 (ignore) in the labels, at the bottom and on the right, as
        HRNet's code does.

        Args:
            image: (H, W, 3) uint8; it may be a view, such as a memory map.
            labels: (H, W) uint8.
            rng: Source of all randomness; the same state gives the same result.

        Returns:
            Image (crop_h, crop_w, 3) and labels (crop_h, crop_w), uint8, new and contiguous.
        """
        size = self._scaled_size(labels.shape, self._factor(rng))
        if self.window_first:
            image, labels = self._resized_window(image, labels, size, rng)
        else:
            image, labels = self._crop(*resize_pair(image, labels, size), rng)
        image, labels = self._pad(image, labels)
        if rng.random() < self.flip:
            image, labels = mirror(image, labels, self.flip_pairs)
        image = change_light(image, rng, self.brightness, self.contrast, self.photometric)
        return _own(image), _own(np.ascontiguousarray(labels))

    def _factor(self, rng: np.random.Generator) -> float:
        """Draw the scale factor."""
        low, high = self.scale_range
        if self.scale_step <= 0:
            return float(rng.uniform(low, high))
        # A little slack: (2.1 - 0.5) / 0.1 is 15.999... in floating point.
        steps = int((high - low) / self.scale_step + 1e-6)
        return low + self.scale_step * int(rng.integers(0, steps + 1))

    def _scaled_size(self, shape: tuple[int, ...], factor: float) -> tuple[int, int]:
        """Return height and width of the whole image after scaling."""
        height, width = shape[:2] if self.base is None else self.base.of(*shape[:2])
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _corner(self, size: Sequence[int], rng: np.random.Generator) -> tuple[int, int]:
        """Draw the top left corner of the crop in a scaled image of ``size``."""
        top = int(rng.integers(0, max(size[0] - self.crop[0], 0) + 1))
        left = int(rng.integers(0, max(size[1] - self.crop[1], 0) + 1))
        return top, left

    def _crop(
        self,
        image: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> Pair:
        top, left = self._corner(labels.shape, rng)
        place = np.s_[top : top + self.crop[0], left : left + self.crop[1]]
        return image[place], labels[place]

    def _resized_window(
        self,
        image: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> Pair:
        """Cut out what the crop shows and resize it; ``size`` is that of the whole scaled image."""
        corner = self._corner(size, rng)
        place, target = [], []
        for start, crop, scaled, length in zip(corner, self.crop, size, labels.shape, strict=True):
            extent = min(crop, scaled)
            first = min(round(start * length / scaled), length - 1)
            last = max(round((start + extent) * length / scaled), first + 1)
            place.append(slice(first, last))
            target.append(extent)
        rows, columns = place
        return resize_pair(image[rows, columns], labels[rows, columns], (target[0], target[1]))

    def _pad(self, image: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> Pair:
        down, right = self.crop[0] - labels.shape[0], self.crop[1] - labels.shape[1]
        if down or right:
            image = np.pad(image, ((0, down), (0, right), (0, 0)))
            labels = np.pad(labels, ((0, down), (0, right)), constant_values=IGNORE)
        return image, labels


def _own(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Copy what is still a view of the input, which may be shared or a memory map."""
    return array if array.flags.owndata else np.array(array)


def resize_pair(
    image: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], size: tuple[int, int]
) -> Pair:
    """Resize an image bilinearly and its labels to the nearest pixel; ``size`` = (height, width).

    At the same size both are returned as they are, not copied.
    """
    if labels.shape == size:
        return image, labels
    to = (size[1], size[0])
    resized = cv2.resize(image, to, interpolation=cv2.INTER_LINEAR)
    nearest = cv2.resize(labels, to, interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.uint8, copy=False), nearest.astype(np.uint8, copy=False)


def mirror(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    flip_pairs: tuple[tuple[int, int], ...] = (),
) -> Pair:
    """Mirror left and right: what was a left arm is then a right arm, and is labelled so."""
    image = np.asarray(cv2.flip(image, 1), dtype=np.uint8)
    labels = np.asarray(cv2.flip(labels, 1), dtype=np.uint8)
    if flip_pairs:
        table = np.array(mirror_order(flip_pairs, 256), dtype=np.uint8)
        labels = np.asarray(cv2.LUT(labels, table), dtype=np.uint8)
    return image, labels


def paste_rare(under: Pair, over: Pair) -> Pair:
    """Paste the rarer half of the classes of one crop onto another of the same size.

    The classes that ``over`` shows are ordered by their pixels there, the lower number first where
    they are equal; of n classes, the n // 2 with fewest pixels go over in place, with their labels.
    Copying some classes of one training image onto another is ClassMix (Olsson et al.,
    arXiv 2007.07936), which draws them; to take the rarer ones is ours: thin and small things.
    """
    counts = np.bincount(over[1].ravel(), minlength=256)[:IGNORE]
    present = np.flatnonzero(counts)
    rare = present[np.argsort(counts[present], kind="stable")][: len(present) // 2]
    pasted = np.isin(over[1], rare)
    return np.where(pasted[..., None], over[0], under[0]), np.where(pasted, over[1], under[1])


def change_light(
    image: npt.NDArray[np.uint8],
    rng: np.random.Generator,
    brightness: float,
    contrast: float,
    photometric: Photometric,
) -> npt.NDArray[np.uint8]:
    """Draw and change what an image looks like, (H, W, 3); see ``Augmentation``."""
    gain = rng.uniform(1 - brightness, 1 + brightness)
    spread = rng.uniform(1 - contrast, 1 + contrast)
    image = adjust(image, gain, spread)
    return photometric(image, rng) if photometric.active else image


def adjust(image: npt.NDArray[np.uint8], gain: float, spread: float) -> npt.NDArray[np.uint8]:
    """Multiply brightness by ``gain`` and contrast about the mean by ``spread``; clip to 0..255."""
    if gain == 1.0 and spread == 1.0:
        return np.ascontiguousarray(image)
    mean = float(image.mean())
    return _looked_up(image, gain * (mean + spread * (np.arange(256, dtype=np.float64) - mean)))


def _looked_up(
    image: npt.NDArray[np.uint8], table: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Map each of the 256 values, instead of arithmetic on every pixel; round and clip."""
    lookup = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(image), lookup), dtype=np.uint8)


def rotate_hue(image: npt.NDArray[np.uint8], degrees: float) -> npt.NDArray[np.uint8]:
    """Rotate the hue of each pixel (HSV), keeping its saturation and value."""
    if degrees == 0.0:
        return image
    # In floats: hues of 8 bits are whole steps of 1.4 degrees, and the way back is off by 7 of 255.
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hue = hsv[..., 0]
    np.add(hue, degrees % 360, out=hue)
    np.subtract(hue, 360, out=hue, where=hue >= 360)  # five times as fast as a remainder
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(cv2.convertScaleAbs(rgb), dtype=np.uint8)  # rounds and clips


def saturate(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """Multiply distances from the grey image (BT.601 luma) by ``factor``; 0 gives that image."""
    if factor == 1.0:
        return image
    matrix = factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))
    return np.asarray(cv2.transform(image, matrix), dtype=np.uint8)


def raise_to(image: npt.NDArray[np.uint8], power: float) -> npt.NDArray[np.uint8]:
    """Raise values, as shares of 255, to a power: gamma correction."""
    if power == 1.0:
        return image
    return _looked_up(image, 255 * (np.arange(256) / 255) ** power)


def add_noise(
    image: npt.NDArray[np.uint8], sigma: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Add Gaussian noise with standard deviation ``sigma`` x 255 to each channel of each pixel."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(255 * sigma)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), dtype=np.uint8)  # rounds and clips
