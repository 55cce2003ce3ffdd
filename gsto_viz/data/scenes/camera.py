"""The pinhole camera, its sun and air, and the street it stands in.

World axes: x to the right of the road, y up, z along the road, in metres; the ground is y = 0 and
the camera stands at z = 0. Camera axes: right, up, forward. ``depth`` is the forward coordinate.
"""

from dataclasses import dataclass
from math import cos, sin

import numpy as np
import numpy.typing as npt

from gsto_viz.types import FloatArray

Color = tuple[float, float, float]
"""Red, green, blue, each 0..1."""
Spot = tuple[float, float]
"""A ground point (x, z) in metres."""

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
        """Return whether all ground points (N, 2) lie beyond one edge, left or right, of the image.

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


@dataclass(frozen=True)
class Street:
    """The cross-section of a street and its course; lengths in metres.

    Attributes:
        road: Width of the carriageway; its middle line is x = curve * z^2 / 2.
        pavement: Widths of the left and the right pavement.
        curve: Curvature in 1/m.
        crossing: Near and far end along z of a crossing road; None without one.
        zebra: z of the near end of a pedestrian crossing; None without one.
        dash: Period and phase of the dashed middle line.
        edge_lines: Whether lines run along the kerbs.
        green: Whether the ground behind the left and the right pavement is grass.
        colors: Road, pavement, kerb, yard and grass.
    """

    road: float
    pavement: tuple[float, float]
    curve: float
    crossing: tuple[float, float] | None
    zebra: float | None
    dash: tuple[float, float]
    edge_lines: bool
    green: tuple[bool, bool]
    colors: tuple[Color, Color, Color, Color, Color]

    def at(self, u: float, z: float) -> tuple[float, float]:
        """Return the ground point (x, z) that lies ``u`` to the right of the middle line."""
        return u + 0.5 * self.curve * z * z, z

    def along(self, z: float) -> float:
        """Return the road's direction at z: radians to the right of the z axis."""
        return float(np.arctan(self.curve * z))

    def frontage(self, side: int) -> float:
        """Return u of the outer edge of the pavement on side -1 (left) or 1 (right)."""
        return side * (self.road / 2 + self.pavement[(side + 1) // 2])

    def in_crossing(self, near: float, far: float, margin: float = 0.0) -> bool:
        """Return whether the stretch near..far of z touches the crossing road."""
        if self.crossing is None:
            return False
        return near < self.crossing[1] + margin and far > self.crossing[0] - margin


def sample_street(rng: np.random.Generator) -> Street:
    """Draw a street."""
    road = rng.uniform(6.0, 14.0)
    near = rng.uniform(14.0, 60.0)
    crossing = (near, near + rng.uniform(6.0, 10.0)) if rng.random() < 0.4 else None
    zebra = rng.uniform(9.0, 35.0) if rng.random() < 0.35 else None
    if crossing is not None and zebra is not None:
        zebra = crossing[0] - 5.0
    return Street(
        road=road,
        pavement=(rng.uniform(1.6, 5.0), rng.uniform(1.6, 5.0)),
        curve=rng.normal(0.0, 0.0012),
        crossing=crossing,
        zebra=zebra,
        dash=(rng.uniform(5.0, 9.0), rng.uniform(0.0, 9.0)),
        edge_lines=bool(rng.random() < 0.5),
        green=(bool(rng.random() < 0.4), bool(rng.random() < 0.4)),
        colors=_ground_colors(rng),
    )


def _ground_colors(rng: np.random.Generator) -> tuple[Color, Color, Color, Color, Color]:
    """Draw colours of road, pavement, kerb, yard and grass; road and pavement overlap."""
    return (
        tint(rng, rng.uniform(0.26, 0.50), 0.02),
        tint(rng, rng.uniform(0.36, 0.66), 0.06),
        tint(rng, rng.uniform(0.50, 0.72), 0.02),
        tint(rng, rng.uniform(0.34, 0.60), 0.06),
        foliage_color(rng),
    )


def tint(rng: np.random.Generator, level: float, spread: float) -> Color:
    """Return a grey of this level with a slight cast, warm or cool."""
    warm = rng.normal(0.0, spread)
    return level + warm, level, level - warm


def foliage_color(rng: np.random.Generator) -> Color:
    """Return the green, sometimes brownish, of leaves or grass."""
    green = rng.uniform(0.26, 0.50)
    autumn = rng.uniform(0.65, 1.25)
    return green * autumn * 0.82, green, green * rng.uniform(0.3, 0.7)


def sample_camera(rng: np.random.Generator, street: Street, height: int, width: int) -> Camera:
    """Draw a camera in the street; the field of view depends on the image's shape, not its size."""
    side = rng.uniform(-0.42, 0.42) * street.road
    if rng.random() < 0.15:
        side = float(np.sign(side)) * (street.road / 2 + 0.8)
    # The geometric mean keeps the field of view of a 1:2 image and stays sane for other shapes.
    focal = rng.uniform(0.65, 1.15) * float(np.sqrt(height * width / 2.0)) * np.sqrt(2.0)
    return Camera.looking(
        (side, rng.uniform(1.2, 2.6), 0.0),
        heading=float(np.clip(rng.normal(0.0, 0.16), -0.4, 0.4)),
        pitch=rng.normal(0.01, 0.035),
        roll=rng.normal(0.0, 0.012),
        focal_px=focal,
        center_px=(width / 2, height * rng.uniform(0.40, 0.52)),
    )


def sample_light(rng: np.random.Generator) -> Light:
    """Draw sun, sky, air and film: clear, overcast or hazy, morning to evening."""
    overcast = rng.random() < 0.35
    azimuth, elevation = rng.uniform(-np.pi, np.pi), rng.uniform(0.35, 1.15)
    warmth = rng.normal(0.0, 0.06)
    exposure = float(np.exp(rng.normal(0.0, 0.16)))
    grey = rng.uniform(0.62, 0.92)
    blue = rng.uniform(0.55, 0.85)
    horizon = (grey + 0.02, grey + 0.02, grey + 0.03)
    zenith = horizon if overcast else (blue * 0.55, blue * 0.78, min(1.0, blue * 1.15))
    flat = np.cos(elevation)
    return Light(
        sun=(
            float(flat * np.sin(azimuth)),
            float(np.sin(elevation)),
            float(flat * np.cos(azimuth)),
        ),
        direct=0.0 if overcast else rng.uniform(0.35, 0.75),
        ambient=rng.uniform(0.75, 0.95) if overcast else rng.uniform(0.5, 0.72),
        shadow=rng.uniform(0.72, 0.88) if overcast else rng.uniform(0.42, 0.68),
        zenith=zenith,
        horizon=horizon,
        cloud=rng.uniform(0.5, 1.0) if overcast else rng.uniform(0.0, 0.6),
        visibility_m=float(np.exp(rng.uniform(np.log(120.0), np.log(900.0)))),
        gains=(exposure * (1 + warmth), exposure, exposure * (1 - warmth)),
        contrast=rng.uniform(0.0, 0.7),
        blur_px=rng.uniform(0.35, 0.9),
        noise=rng.uniform(0.006, 0.03),
    )


def rectangle(x: float, z: float, half: tuple[float, float], yaw: float) -> FloatArray:
    """Return the corners (4, 2) of an upright object's footprint.

    Args:
        x: Centre, to the right, in metres.
        z: Centre, along the road, in metres.
        half: Half length (along its own forward axis) and half width, in metres.
        yaw: Its forward direction, radians to the right of the z axis.

    Returns:
        Ground points (x, z): front right, front left, rear left, rear right.
    """
    ahead = np.array([np.sin(yaw), np.cos(yaw)]) * half[0]
    right = np.array([np.cos(yaw), -np.sin(yaw)]) * half[1]
    center = np.array([x, z])
    return center + np.stack([ahead + right, ahead - right, -ahead - right, right - ahead])


SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

THINGS = (POLE, SIGN, CAR, PEDESTRIAN, BICYCLIST)
"""Classes whose objects get instance ids."""
