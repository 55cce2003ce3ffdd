"""Data sets: procedural scenes, those of ``DATA_SETS`` and your own annotated folders.

And the one safe image reader, training augmentation, a check of whole data sets.

``load_data(SPEC)`` makes any of them. Nothing here needs a network or torch.
"""

from gsto_viz.data.base import (
    AnnotatedFiles,
    Annotation,
    DataSet,
    Entry,
    KeptDataset,
    WrappedDataset,
    annotation_of,
    with_objects,
)
from gsto_viz.data.cache import (
    PredecodedCache,
    Problem,
    check_dataset,
    raise_problems,
    sample_problem,
    unread_names,
)
from gsto_viz.data.classes import (
    CAMVID_CLASSES,
    class_list_from_json,
    shipped_classes,
)
from gsto_viz.data.coding import Coding, read_label_map
from gsto_viz.data.loaders import DATA_SETS, LABEL_IDS, write_pascal_context_masks
from gsto_viz.data.people import (
    VISIBILITY,
    PeopleCount,
    PersonDataset,
    people_counts,
    with_persons,
)
from gsto_viz.data.pose import PersonCrop, PoseAugmentation, person_crop
from gsto_viz.data.reader import (
    encode_instances,
    read_image,
    read_instance_map,
    read_values,
    write_png,
)
from gsto_viz.data.spec import (
    PROCEDURAL,
    ResizedDataset,
    data_kind,
    is_held_out,
    load_data,
    parse_size,
    portable_name,
    resize_image,
    resize_map,
    spec_help,
    spec_table,
    weights_notice,
)
from gsto_viz.data.transforms import Augmentation, BaseSize, Photometric, paste_rare
from gsto_viz.joints import joints_of

__all__ = [
    "CAMVID_CLASSES",
    "DATA_SETS",
    "LABEL_IDS",
    "PROCEDURAL",
    "VISIBILITY",
    "AnnotatedFiles",
    "Annotation",
    "Augmentation",
    "BaseSize",
    "Coding",
    "DataSet",
    "Entry",
    "KeptDataset",
    "PeopleCount",
    "PersonCrop",
    "PersonDataset",
    "Photometric",
    "PoseAugmentation",
    "PredecodedCache",
    "Problem",
    "ResizedDataset",
    "WrappedDataset",
    "annotation_of",
    "check_dataset",
    "class_list_from_json",
    "data_kind",
    "encode_instances",
    "is_held_out",
    "joints_of",
    "load_data",
    "parse_size",
    "paste_rare",
    "people_counts",
    "person_crop",
    "portable_name",
    "raise_problems",
    "read_image",
    "read_instance_map",
    "read_label_map",
    "read_values",
    "resize_image",
    "resize_map",
    "sample_problem",
    "shipped_classes",
    "spec_help",
    "spec_table",
    "unread_names",
    "weights_notice",
    "with_objects",
    "with_persons",
    "write_pascal_context_masks",
    "write_png",
]
