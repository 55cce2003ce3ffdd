"""Data sets: procedural scenes, CamVid, Cityscapes, LIP, Pascal-Context, ADE20K, annotated folders.

And the one safe image reader, training augmentation, a check of whole data sets.

``load_data(SPEC)`` makes any of them. Nothing here needs a network or torch.
"""

from gsto_viz.data.ade20k import ADE20KDataset
from gsto_viz.data.base import KeptDataset, WrappedDataset
from gsto_viz.data.cache import PredecodedCache, Problem, check_dataset, raise_problems
from gsto_viz.data.camvid import CamVidDataset
from gsto_viz.data.cityscapes import CITYSCAPES_CLASSES, CityscapesDataset
from gsto_viz.data.classes import ADE20K_CLASSES, CAMVID_CLASSES, class_list_from_json, colorize
from gsto_viz.data.folder import FolderDataset
from gsto_viz.data.lip import LIP_CLASSES, LIPDataset
from gsto_viz.data.pascal_context import (
    PASCAL_CONTEXT_59_CLASSES,
    PASCAL_CONTEXT_60_CLASSES,
    PascalContextDataset,
    write_pascal_context_masks,
)
from gsto_viz.data.reader import (
    encode_instances,
    read_image,
    read_instance_map,
    read_label_map,
    write_png,
)
from gsto_viz.data.spec import ResizedDataset, load_data, parse_size

__all__ = [
    "ADE20K_CLASSES",
    "CAMVID_CLASSES",
    "CITYSCAPES_CLASSES",
    "LIP_CLASSES",
    "PASCAL_CONTEXT_59_CLASSES",
    "PASCAL_CONTEXT_60_CLASSES",
    "ADE20KDataset",
    "CamVidDataset",
    "CityscapesDataset",
    "FolderDataset",
    "KeptDataset",
    "LIPDataset",
    "PascalContextDataset",
    "PredecodedCache",
    "Problem",
    "ResizedDataset",
    "WrappedDataset",
    "check_dataset",
    "class_list_from_json",
    "colorize",
    "encode_instances",
    "load_data",
    "parse_size",
    "raise_problems",
    "read_image",
    "read_instance_map",
    "read_label_map",
    "write_pascal_context_masks",
    "write_png",
]
