"""The crop of a person that a pose network sees, and its training augmentation.

Geometry and numbers are those of HRNet's code (Sun et al., CVPR 2019;
github.com/leoxiaobin/deep-high-resolution-net.pytorch, ``lib/dataset/JointsDataset.py`` and
``lib/utils/transforms.py``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.transforms import Photometric, change_light
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS, Joints
from gsto_viz.types import FloatArray, Person

PADDING = 1.25
"""By what the frame of a crop is larger than the box of its person."""


@dataclass(frozen=True)
class PersonCrop:
    """Where a crop lies in its image: one scale for both axes, rotated, perhaps mirrored.

    Attributes:
        center: x and y in the image of what lies at (width / 2, height / 2) of the crop.
        extent: Pixels of the image that the crop is wide.
        size: Height and width of the crop.
        rotation: Degrees by which its frame is turned clockwise, so that its content appears
            turned the other way.
        mirrored: Whether left and right of the image are exchanged before that.
    """

    center: tuple[float, float]
    extent: float
    size: tuple[int, int]
    rotation: float = 0.0
    mirrored: bool = False

    @classmethod
    def around(
        cls,
        center: tuple[float, float],
        extents: tuple[float, float],
        size: tuple[int, int],
        padding: float = PADDING,
    ) -> "PersonCrop":
        """Return the smallest frame of the crop's shape over a box, enlarged.

        Args:
            center: x and y of the middle of the box, in pixels of the image.
            extents: Width and height of the box.
            size: Height and width of the crop.
            padding: By what the frame is larger than that.

        Raises:
            GstoVizError: The box has no extent.
        """
        height, width = size
        extent = max(extents[0], extents[1] * width / height)
        if not (0 < extent < math.inf and all(map(math.isfinite, center))):
            raise GstoVizError(
                f"a person's box of {extents[0]:g} x {extents[1]:g} pixels around "
                f"({center[0]:g}, {center[1]:g}) cannot be cropped; give one with width and height"
            )
        return cls(center, extent * padding, size)

    @property
    def area(self) -> float:
        """Pixels of the image in its frame."""
        return self.extent**2 * self.size[0] / self.size[1]

    @property
    def forward(self) -> FloatArray:
        """The matrix (2, 3) from pixels of the image to those of the crop."""
        zoom = self.size[1] / self.extent
        return _about(zoom * self._turn().T @ self._mirror(), self.center, self._middle())

    @property
    def inverse(self) -> FloatArray:
        """The matrix (2, 3) from pixels of the crop to those of the image."""
        zoom = self.extent / self.size[1]
        return _about(zoom * self._mirror() @ self._turn(), self._middle(), self.center)

    def _middle(self) -> tuple[float, float]:
        return self.size[1] / 2, self.size[0] / 2

    def _mirror(self) -> FloatArray:
        return np.diag([-1.0 if self.mirrored else 1.0, 1.0])

    def _turn(self) -> FloatArray:
        angle = math.radians(self.rotation)
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def to_crop(self, points: npt.NDArray[np.floating]) -> FloatArray:
        """Map x and y of the image, (..., 2), to the crop."""
        return points @ self.forward[:, :2].T + self.forward[:, 2]

    def to_image(self, points: npt.NDArray[np.floating]) -> FloatArray:
        """Map x and y of the crop, (..., 2), to the image."""
        return points @ self.inverse[:, :2].T + self.inverse[:, 2]

    def cut(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the crop (h, w, 3) of an image (H, W, 3), bilinear, black beside the image."""
        height, width = self.size
        crop = cv2.warpAffine(image, self.forward, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray(crop, dtype=np.uint8)

    def place(
        self, joints: npt.NDArray[np.float32], flip_order: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        """Return joints in pixels of the crop.

        Args:
            joints: (J, 3): x, y in the image, and 0 where a joint is not annotated.
            flip_order: For each joint the one that it is in a mirror image
                (``ClassList.flip_order``), which a mirrored crop exchanges.

        Returns:
            (J, 3); rows of joints that are not annotated or lie outside the crop are 0.
        """
        if self.mirrored:
            joints = joints[list(flip_order)]
        places = self.to_crop(joints[:, :2].astype(np.float64))
        inside = (places >= -0.5) & (places < np.array(self.size[::-1]) - 0.5)
        placed = np.column_stack((places, joints[:, 2]))
        placed[~inside.all(axis=1) | (joints[:, 2] == 0)] = 0
        return placed.astype(np.float32)


def _about(linear: FloatArray, start: tuple[float, float], end: tuple[float, float]) -> FloatArray:
    """Return the affine map (2, 3) with a linear part (2, 2) that takes ``start`` to ``end``."""
    return np.column_stack((linear, np.array(end) - linear @ np.array(start)))


def person_crop(
    box: tuple[float, float, float, float], size: tuple[int, int], padding: float = PADDING
) -> PersonCrop:
    """Return the frame in which a person is evaluated: its box, upright.

    Args:
        box: x and y of the top left corner, width and height, in pixels of the image.
        size: Height and width of the crop.
        padding: By what the frame is larger than the smallest of its shape over the box.

    Raises:
        GstoVizError: The box has no extent.
    """
    x, y, width, height = box
    return PersonCrop.around((x + width / 2, y + height / 2), (width, height), size, padding)


@dataclass(frozen=True)
class PoseAugmentation:
    """Random scale, rotation, mirror image, half of the body, and light, of a person's crop.

    The same numbers are drawn for a person whatever is on, those of the light last.

    Attributes:
        size: Height and width of the crop.
        joints: Which joints there are: left and right, upper and lower.
        padding: By what a frame is larger than the box of its person.
        scale: Frames are made larger by a factor drawn from N(1, ``scale``), clipped to
            ``1 -+ scale``.
        rotation: Standard deviation of the rotation, degrees; clipped to twice as much.
        rotated: How often there is one.
        flip: Probability of a mirror image, in which left and right joints change places.
        half_body: How often only the upper or the lower joints of a person are framed, around
            their mean.
        half_body_above: Only persons with more annotated joints than this are halved.
        half_body_upper: How often the upper half is taken where it has more than two joints; else,
            and where it has not, the lower half with more than two, or the upper one.
        half_body_padding: By what that frame is larger than the box of its joints.
        brightness: As in ``Augmentation``.
        contrast: As in ``Augmentation``.
        photometric: As in ``Augmentation``.
    """

    size: tuple[int, int]
    joints: Joints = COCO_JOINTS
    padding: float = PADDING
    scale: float = 0.35
    rotation: float = 45.0
    rotated: float = 0.6
    flip: float = 0.5
    half_body: float = 0.3
    half_body_above: int = 8
    half_body_upper: float = 0.6914624612740131  # that a standard normal number is below 1/2
    half_body_padding: float = 1.5
    brightness: float = 0.0
    contrast: float = 0.0
    photometric: Photometric = field(default_factory=Photometric)

    def __call__(
        self, image: npt.NDArray[np.uint8], person: Person, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Cut a person out of an image (H, W, 3) uint8.

        Returns:
            The crop (*size, 3) uint8, and the joints (J, 3) float32 in its pixels as
            ``PersonCrop.place`` gives them.

        Raises:
            GstoVizError: The person's box has no extent.
        """
        frame = self.draw(person, rng)
        crop = change_light(frame.cut(image), rng, self.brightness, self.contrast, self.photometric)
        return crop, frame.place(person.joints, self.joints.classes.flip_order)

    def draw(self, person: Person, rng: np.random.Generator) -> PersonCrop:
        """Draw the frame of a person; errors as for a call."""
        halved, upper, rotated, flipped = rng.random(4).tolist()
        scale, turn = rng.standard_normal(2).tolist()
        frame = None
        if halved < self.half_body:
            frame = self._half(person.joints, upper < self.half_body_upper)
        frame = frame or person_crop(person.box, self.size, self.padding)
        factor = min(max(1 + self.scale * scale, 1 - self.scale), 1 + self.scale)
        limit = 2 * self.rotation
        return replace(
            frame,
            extent=frame.extent * factor,
            rotation=min(max(self.rotation * turn, -limit), limit) * (rotated < self.rotated),
            mirrored=flipped < self.flip,
        )

    def _half(self, joints: npt.NDArray[np.float32], upper: bool) -> PersonCrop | None:
        """Return the frame of one half of the joints; None of a person that is not halved."""
        annotated = joints[:, 2] > 0
        if annotated.sum() <= self.half_body_above:
            return None
        above = np.isin(np.arange(len(joints)), self.joints.upper)
        high, low = (joints[annotated & part, :2].astype(np.float64) for part in (above, ~above))
        chosen = high if (upper and len(high) > 2) or len(low) <= 2 else low
        if len(np.unique(chosen, axis=0)) < 2:
            return None
        extents = np.ptp(chosen, axis=0)
        x, y = chosen.mean(axis=0).tolist()
        width, height = extents.tolist()
        return PersonCrop.around((x, y), (width, height), self.size, self.half_body_padding)
