"""Procedural street scenes: exact labels, known geometry, any number of images, no licence.

A pinhole camera stands in a street; everything has metric sizes and is projected, so that the size
of an object in pixels follows from its distance. One integer buffer says which *piece* (a wall, a
wheel, the sky) each pixel shows; image, labels and instances are all read from it, which makes the
annotation exact.

The classes are CamVid's eleven. Countable things with instance ids are Pole, SignSymbol, Car
(with vans, lorries and buses, as in CamVid's eleven classes), Pedestrian and Bicyclist; the others
are stuff with instance id 0. Grass and hedges count as Tree, paved yards as Pavement.

``figures`` are persons with key points, see ``gsto_viz.data.scenes.figures``.

``decorrelated`` scenes show the same streets with objects whose size does not depend on their
class, see ``gsto_viz.data.scenes.decorrelated``.
"""

from gsto_viz.data.scenes.dataset import SceneDataset, render_scene, scene_seed, write_scenes
from gsto_viz.data.scenes.figures import FigureDataset, render_figures
from gsto_viz.data.scenes.probe import PROBE_CLASSES, probe_room, scale_probe

__all__ = [
    "PROBE_CLASSES",
    "FigureDataset",
    "SceneDataset",
    "probe_room",
    "render_figures",
    "render_scene",
    "scale_probe",
    "scene_seed",
    "write_scenes",
]
