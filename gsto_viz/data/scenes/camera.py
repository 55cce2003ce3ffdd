"""The pinhole camera, and the sun and air it looks through.

World axes: x to the right of the road, y up, z along the road, in metres; the ground is y = 0 and
the camera stands at z = 0. Camera axes: right, up, forward. ``depth`` is the forward coordinate.
"""

from dataclasses import dataclass
from math import cos, sin

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Color = tuple[float, float, float]
"""Red, green, blue, each 0..1."""

NEAR_M = 0.4
"""Nothing closer than this to the camera plane is drawn."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the ground plane.

    Attributes:
        eye: Position (x, y, z) in metres.
        axes: (3, 3); its rows are the camera's right, up and forward directions in the world.
        focal_px: Focal length in pixels.
        center_px: Principal point (x, y) in pixels; pixel centres lie at half-integers.
    """

    eye: FloatArray
    axes: FloatArray
    focal_px: float
    center_px: tuple[float, float]

    @classmethod
    def looking(
        cls,
        eye: tuple[float, float, float],
        *,
        heading: float,
        pitch: float,
        roll: float,
        focal_px: float,
        center_px: tuple[float, float],
    ) -> "Camera":
        """Make a camera from angles in radians (heading to the right, pitch downwards)."""
        forward = np.array([sin(heading) * cos(pitch), -sin(pitch), cos(heading) * cos(pitch)])
        right = np.array([cos(heading), 0.0, -sin(heading)])
        up = np.cross(forward, right)
        axes = np.stack(
            [cos(roll) * right + sin(roll) * up, cos(roll) * up - sin(roll) * right, forward]
        )
        return cls(np.array(eye, dtype=np.float64), axes, focal_px, center_px)

    def depth_of(self, x: float, y: float, z: float) -> float:
        """Return the depth of one point in metres (negative behind the camera)."""
        ex, ey, ez = self.eye.tolist()
        fx, fy, fz = self.axes[2].tolist()
        return float((x - ex) * fx + (y - ey) * fy + (z - ez) * fz)

    def project(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Project points.

        Args:
            points: (..., 3) world coordinates in metres.

        Returns:
            Pixel coordinates (..., 2), meaningful only where the depth is positive, and the depths
            (...) in metres.
        """
        local = (points - self.eye) @ self.axes.T
        depth = local[..., 2]
        scale = self.focal_px / np.maximum(depth, 1e-3)
        pixels = np.empty((*depth.shape, 2))
        pixels[..., 0] = self.center_px[0] + scale * local[..., 0]
        pixels[..., 1] = self.center_px[1] - scale * local[..., 1]
        return pixels, depth

    def misses(self, ground: FloatArray, margin_m: float = 0.0) -> bool:
        """Say whether all ground points (N, 2) lie beyond the left or beyond the right image edge.

        Args:
            ground: Points (x, z) in metres.
            margin_m: How far the object reaches beyond these points.
        """
        ex, _, ez = self.eye.tolist()
        (rx, _, rz), _, (fx, _, fz) = self.axes.tolist()
        # Roll tilts the edges a little; the factor leaves room for that and for tall objects.
        slope, extra = 1.15 * self.center_px[0] / self.focal_px, margin_m + 0.3
        left = right = behind = True
        for x, z in ground.tolist():
            aside, depth = (x - ex) * rx + (z - ez) * rz, (x - ex) * fx + (z - ez) * fz
            reach = slope * max(depth, 0.0) + extra
            left, right = left and aside < -reach, right and aside > reach
            behind = behind and depth < -margin_m
        return left or right or behind

    def clip_and_project(self, polygon: FloatArray) -> FloatArray | None:
        """Cut a planar polygon (N, 3) at the near plane and project it; None if nothing is left."""
        pixels, depth = self.project(polygon)
        if depth.min() >= NEAR_M:
            return pixels
        if depth.max() < NEAR_M:
            return None
        return self.project(_cut(polygon, depth - NEAR_M))[0]

    def rays(self, height: int, width: int) -> npt.NDArray[np.float32]:
        """Return the world direction of every pixel's ray, (H, W, 3), scaled to depth 1."""
        right = (np.arange(width) + 0.5 - self.center_px[0]) / self.focal_px
        up = -(np.arange(height) + 0.5 - self.center_px[1]) / self.focal_px
        rays = np.empty((height, width, 3), dtype=np.float32)
        for k in range(3):
            column = up[:, None] * self.axes[1, k] + self.axes[2, k]
            rays[..., k] = column + right[None, :] * self.axes[0, k]
        return rays


def _cut(polygon: FloatArray, depth: FloatArray) -> FloatArray:
    """Keep the part of a polygon with non-negative ``depth`` (one pass of Sutherland-Hodgman)."""
    kept: list[FloatArray] = []
    for k in range(len(polygon)):
        previous = k - 1
        if (depth[k] >= 0) != (depth[previous] >= 0):
            share = depth[previous] / (depth[previous] - depth[k])
            kept.append(polygon[previous] + share * (polygon[k] - polygon[previous]))
        if depth[k] >= 0:
            kept.append(polygon[k])
    return np.array(kept)


@dataclass(frozen=True)
class Light:
    """Sun, air and film of one scene.

    Attributes:
        sun: Unit vector towards the sun.
        direct: Strength of the sun on a surface facing it (0 when overcast).
        ambient: Strength of the sky's light on every surface.
        shadow: Factor on the ground where the sun is hidden, 0..1.
        zenith, horizon: Sky colours; the horizon's is also the colour of haze.
        cloud: Share of the sky under clouds, 0..1.
        visibility_m: Distance at which haze hides 63 % of the contrast.
        gains: Colour temperature and exposure, one factor per channel.
        contrast: Steepness of the tone curve around mid-grey, 0 = straight.
        blur_px: Standard deviation of the lens blur.
        noise: Standard deviation of the sensor noise at full scale 1.
    """

    sun: tuple[float, float, float]
    direct: float
    ambient: float
    shadow: float
    zenith: Color
    horizon: Color
    cloud: float
    visibility_m: float
    gains: Color
    contrast: float
    blur_px: float
    noise: float

    def on(self, normal: tuple[float, float, float]) -> float:
        """Return the brightness of a surface with this unit normal."""
        facing = sum(n * s for n, s in zip(normal, self.sun, strict=True))
        return self.ambient + self.direct * max(0.0, facing)

    def shadow_shift(self) -> tuple[float, float]:
        """Return how far (x, z) the shadow of a point moves per metre of its height."""
        x, y, z = self.sun
        return -x / y, -z / y


def lit(color: Color, strength: float) -> Color:
    """Return a colour under a brightness."""
    return color[0] * strength, color[1] * strength, color[2] * strength
