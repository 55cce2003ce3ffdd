"""The street itself: camera, light, cross-section of the road, and what the ground looks like."""

from dataclasses import dataclass

import numpy as np

from gsto_viz.data.scenes.camera import Camera, Color, FloatArray, Light


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
        """Say whether the stretch near..far of z touches the crossing road."""
        if self.crossing is None:
            return False
        return near < self.crossing[1] + margin and far > self.crossing[0] - margin


def sample_street(rng: np.random.Generator) -> Street:
    """Draw a street."""
    road = float(rng.uniform(6.0, 14.0))
    near = float(rng.uniform(14.0, 60.0))
    crossing = (near, near + float(rng.uniform(6.0, 10.0))) if rng.random() < 0.4 else None
    zebra = float(rng.uniform(9.0, 35.0)) if rng.random() < 0.35 else None
    if crossing is not None and zebra is not None:
        zebra = crossing[0] - 5.0
    return Street(
        road=road,
        pavement=(float(rng.uniform(1.6, 5.0)), float(rng.uniform(1.6, 5.0))),
        curve=float(rng.normal(0.0, 0.0012)),
        crossing=crossing,
        zebra=zebra,
        dash=(float(rng.uniform(5.0, 9.0)), float(rng.uniform(0.0, 9.0))),
        edge_lines=bool(rng.random() < 0.5),
        green=(bool(rng.random() < 0.4), bool(rng.random() < 0.4)),
        colors=_ground_colors(rng),
    )


def _ground_colors(rng: np.random.Generator) -> tuple[Color, Color, Color, Color, Color]:
    """Draw colours of road, pavement, kerb, yard and grass; road and pavement overlap."""
    return (
        tint(rng, float(rng.uniform(0.26, 0.50)), 0.02),
        tint(rng, float(rng.uniform(0.36, 0.66)), 0.06),
        tint(rng, float(rng.uniform(0.50, 0.72)), 0.02),
        tint(rng, float(rng.uniform(0.34, 0.60)), 0.06),
        foliage_color(rng),
    )


def tint(rng: np.random.Generator, level: float, spread: float) -> Color:
    """Return a grey of this level with a slight cast, warm or cool."""
    warm = float(rng.normal(0.0, spread))
    return level + warm, level, level - warm


def foliage_color(rng: np.random.Generator) -> Color:
    """Return the green, sometimes brownish, of leaves or grass."""
    green = float(rng.uniform(0.26, 0.50))
    autumn = float(rng.uniform(0.65, 1.25))
    return green * autumn * 0.82, green, green * float(rng.uniform(0.3, 0.7))


def sample_camera(rng: np.random.Generator, street: Street, height: int, width: int) -> Camera:
    """Draw a camera in the street; the field of view depends on the image's shape, not its size."""
    side = float(rng.uniform(-0.42, 0.42)) * street.road
    if rng.random() < 0.15:
        side = float(np.sign(side)) * (street.road / 2 + 0.8)
    # The geometric mean keeps the field of view of a 1:2 image and stays sane for other shapes.
    focal = float(rng.uniform(0.65, 1.15)) * float(np.sqrt(height * width / 2.0)) * np.sqrt(2.0)
    return Camera.looking(
        (side, float(rng.uniform(1.2, 2.6)), 0.0),
        heading=float(np.clip(rng.normal(0.0, 0.16), -0.4, 0.4)),
        pitch=float(rng.normal(0.01, 0.035)),
        roll=float(rng.normal(0.0, 0.012)),
        focal_px=focal,
        center_px=(width / 2, height * float(rng.uniform(0.40, 0.52))),
    )


def sample_light(rng: np.random.Generator) -> Light:
    """Draw sun, sky, air and film: clear, overcast or hazy, morning to evening."""
    overcast = rng.random() < 0.35
    azimuth, elevation = float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(0.35, 1.15))
    warmth = float(rng.normal(0.0, 0.06))
    exposure = float(np.exp(rng.normal(0.0, 0.16)))
    grey = float(rng.uniform(0.62, 0.92))
    blue = float(rng.uniform(0.55, 0.85))
    horizon = (grey + 0.02, grey + 0.02, grey + 0.03)
    zenith = horizon if overcast else (blue * 0.55, blue * 0.78, min(1.0, blue * 1.15))
    flat = np.cos(elevation)
    return Light(
        sun=(
            float(flat * np.sin(azimuth)),
            float(np.sin(elevation)),
            float(flat * np.cos(azimuth)),
        ),
        direct=0.0 if overcast else float(rng.uniform(0.35, 0.75)),
        ambient=float(rng.uniform(0.75, 0.95)) if overcast else float(rng.uniform(0.5, 0.72)),
        shadow=float(rng.uniform(0.72, 0.88)) if overcast else float(rng.uniform(0.42, 0.68)),
        zenith=zenith,
        horizon=horizon,
        cloud=float(rng.uniform(0.5, 1.0)) if overcast else float(rng.uniform(0.0, 0.6)),
        visibility_m=float(np.exp(rng.uniform(np.log(120.0), np.log(900.0)))),
        gains=(exposure * (1 + warmth), exposure, exposure * (1 - warmth)),
        contrast=float(rng.uniform(0.0, 0.7)),
        blur_px=float(rng.uniform(0.35, 0.9)),
        noise=float(rng.uniform(0.006, 0.03)),
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
