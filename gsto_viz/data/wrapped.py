"""Data sets that stand on another one: what they have of it, and samples kept in memory."""

from gsto_viz.types import ClassList, Dataset, Sample


class WrappedDataset:
    """Name, classes, ids and length of the data set underneath; what it gives is up to others.

    Args:
        base: The data set underneath.
    """

    def __init__(self, base: Dataset) -> None:
        self.base = base

    @property
    def name(self) -> str:
        """The SPEC of the data set underneath: nothing here is part of a SPEC."""
        return self.base.name

    @property
    def classes(self) -> ClassList:
        """The classes of the data set underneath."""
        return self.base.classes

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the data set underneath."""
        return self.base.ids

    def __len__(self) -> int:
        return len(self.base)


class KeptDataset(WrappedDataset):
    """A small data set whose samples stay in memory once they were read or rendered."""

    def __init__(self, base: Dataset) -> None:
        super().__init__(base)
        self._samples: dict[int, Sample] = {}

    def __getitem__(self, index: int) -> Sample:
        """Return one sample, read at most once."""
        if index not in self._samples:
            self._samples[index] = self.base[index]
        return self._samples[index]
