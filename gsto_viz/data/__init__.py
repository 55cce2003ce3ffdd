"""Data sets: procedural scenes, CamVid, annotated folders; the one safe image reader.

``load_data(SPEC)`` makes any of them. Nothing here needs a network or torch.
"""

from gsto_viz.data.camvid import CamVidDataset
from gsto_viz.data.classes import CAMVID_CLASSES, class_list_from_json, colorize
from gsto_viz.data.folder import FolderDataset
from gsto_viz.data.reader import (
    encode_instances,
    read_image,
    read_instance_map,
    read_label_map,
    write_png,
)
from gsto_viz.data.spec import ResizedDataset, load_data, parse_size

__all__ = [
    "CAMVID_CLASSES",
    "CamVidDataset",
    "FolderDataset",
    "ResizedDataset",
    "class_list_from_json",
    "colorize",
    "encode_instances",
    "load_data",
    "parse_size",
    "read_image",
    "read_instance_map",
    "read_label_map",
    "write_png",
]
