"""From surfaces to a photograph: sky, haze, lens, exposure, sensor."""

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import Light
from gsto_viz.data.scenes.canvas import Canvas
from gsto_viz.data.scenes.shading import Surface
from gsto_viz.data.scenes.terrain import SKY_PIECE, FloatImage

CLOUD_CELLS = (6, 13, 27)
"""Cells of the three sizes of clouds across the image."""


def expose(
    canvas: Canvas, surface: Surface, rays: FloatImage, light: Light, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Turn shaded surfaces into an image.

    Args:
        canvas: Says where the sky is.
        surface: What ``shade`` returned; changed here.
        rays: (H, W, 3) directions of the pixels.
        light: Sun, air and film.
        rng: Clouds and sensor noise.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    sky = np.flatnonzero(canvas.pieces == SKY_PIECE)
    surface.color.reshape(-1, 3)[sky] = _sky(sky, rays, light, rng)
    color = surface.color
    # Rows of all channels side by side: NumPy is several times slower on inner loops of three.
    rows = color.reshape(color.shape[0], -1)
    horizon = np.tile(np.array(light.horizon, np.float32), color.shape[1])
    clear = np.exp(surface.depth * np.float32(-1 / light.visibility_m))
    rows -= horizon
    rows *= np.repeat(clear, 3, axis=1)
    rows += horizon
    blurred = cv2.GaussianBlur(color, (0, 0), light.blur_px, borderType=cv2.BORDER_REFLECT)
    return _develop(np.asarray(blurred, dtype=np.float32), light, rng)


def _sky(
    where: npt.NDArray[np.intp], rays: FloatImage, light: Light, rng: np.random.Generator
) -> FloatImage:
    """Return the sky's colours (N, 3): a gradient from horizon to zenith, and clouds."""
    height, width = rays.shape[:2]
    side = 2 * CLOUD_CELLS[-1]
    cells = np.zeros((side, side), dtype=np.float32)
    for k, count in enumerate(CLOUD_CELLS):
        grid = rng.standard_normal((count, count), dtype=np.float32)
        cells += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) * np.float32(0.6**k)
    cover = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR).ravel()[where]
    up = np.clip(rays[..., 1].ravel()[where], 0.0, 1.0)
    rise = np.sqrt(np.minimum(up * np.float32(1.6), np.float32(1.0)))[:, None]
    horizon, zenith = np.array(light.horizon, np.float32), np.array(light.zenith, np.float32)
    sky = horizon + (zenith - horizon) * rise
    veil = np.clip(cover * 0.35 + light.cloud - 0.35, 0.0, 1.0)[:, None]
    shade = (1.0 - 0.12 * np.clip(cover, -1.0, 1.5))[:, None]
    white = np.minimum(horizon * np.float32(1.12), np.float32(1.0)) * shade
    mixed: FloatImage = sky + (white - sky) * veil
    return mixed


def _develop(color: FloatImage, light: Light, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Apply exposure, tone curve, vignetting and sensor noise; round to bytes."""
    height, width = color.shape[:2]
    x = np.repeat(np.linspace(-1, 1, width, dtype=np.float32) ** 2, 3)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    vignette = 1 - np.float32(0.07) * (x + y)
    rows = color.reshape(height, -1)
    rows *= np.tile(np.array(light.gains, np.float32), width)
    rows *= vignette
    if light.contrast:
        curve = color - np.float32(0.5)
        curve *= color
        curve *= 1 - color
        curve *= np.float32(light.contrast)
        color += curve
    color += _sensor_noise(color.shape, light.noise, rng)
    color *= np.float32(255.0)
    color += np.float32(0.5)
    np.clip(color, 0.0, 255.0, out=color)
    return color.astype(np.uint8)


def _sensor_noise(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> FloatImage:
    """Return zero-mean noise: the sum of two uniform bytes, several times faster than a normal."""
    count = int(np.prod(shape))
    first, second = np.frombuffer(rng.bytes(2 * count), dtype=np.int8).reshape(2, count)
    noise = np.add(first, second, dtype=np.int16).astype(np.float32)
    # Each byte is uniform on -128..127: mean -1/2, variance (256^2 - 1) / 12.
    noise += np.float32(1.0)
    noise *= np.float32(deviation / np.sqrt((256.0**2 - 1) / 6))
    return noise.reshape(shape)
