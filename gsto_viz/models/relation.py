"""Pixel-to-region relations (RSE of Bai et al., RA-L 2021, arXiv:2106.01744): our reconstruction.

Each pixel of a fine map chooses what it takes from a window of the next coarser map. The paper says
so, and that a positional embedding gives the spatial relation; its equations, widths and window
were not available. Here, with m heads of d channels and a window of k x k cells around the
coarse cell that covers pixel i,

    w_ij = softmax_j(q_i . (k_j + e_{j-i}) / sqrt(d)),    RSE(i) = sum_j w_ij v_j,

where q is a 1x1 convolution of the fine map, k and v are 1x1 convolutions of the coarse one, and
e is the concatenation of an embedding of the row offset and one of the column offset. Cells outside
the map have weight 0.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.models.blocks import spatial_size


class Relation(nn.Module):
    """What the pixels of a fine map take from a coarse map of half its size.

    The coarse map is never resized: queries are grouped by the coarse cell that covers them.

    Args:
        fine_channels: Of the map whose pixels choose.
        coarse_channels: Of the map that they choose from.
        channels: Of queries, keys and values, all heads together.
        heads: m; each has ``channels / m``, an even number.
        window: k, odd.

    Attributes:
        weights: A module whose output is w, (N, m, k*k, H, W): what each pixel listens to, in rows
            of the window from the upper left.

    Raises:
        GstoVizError: An even window, or heads that do not divide the channels into even parts.
    """

    def __init__(
        self,
        fine_channels: int,
        coarse_channels: int,
        channels: int,
        *,
        heads: int = 4,
        window: int = 3,
    ) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise GstoVizError(f"a window of {window} cells has no centre; give an odd number")
        if heads < 1 or channels % (2 * heads):
            raise GstoVizError(
                f"{heads} heads do not divide {channels} channels into even parts (one half for "
                f"rows, one for columns); give a multiple of {2 * max(1, heads)} channels"
            )
        self.heads, self.window = heads, window
        self.query = nn.Conv2d(fine_channels, channels, 1, bias=False)
        self.key = nn.Conv2d(coarse_channels, channels, 1, bias=False)
        self.value = nn.Conv2d(coarse_channels, channels, 1, bias=False)
        half = channels // heads // 2
        self.rows = nn.Parameter(torch.zeros(heads, half, window))
        self.columns = nn.Parameter(torch.zeros(heads, half, window))
        self.weights = nn.Identity()

    def reset_parameters(self) -> None:
        """Forget the embeddings: 0, at which all offsets are alike; convolutions keep theirs."""
        nn.init.zeros_(self.rows)
        nn.init.zeros_(self.columns)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(N, C, H, W), (N, C', ceil(H/2), ceil(W/2)) -> (N, channels, H, W).

        Raises:
            GstoVizError: The coarse map has not half the rows and columns.
            RefusedImageError: Some cells of the window lie outside the coarse map from everywhere.
        """
        size, cells = spatial_size(fine), spatial_size(coarse)
        self._check(size, cells)
        # Scaled before the product, which stays within float16.
        query = self.query(fine) * (self.heads / self.query.out_channels) ** 0.5
        keys = self._windows(self.key(coarse)) + self._offsets()[..., None, None]
        scores = torch.einsum("nmdhawb,nmdkhw->nmkhawb", _grouped(self._split(query)), keys)
        inside = self._inside(coarse)[:, :, None, :, None]
        weights = scores.masked_fill(~inside, float("-inf")).softmax(2)
        weights = self.weights(_ungrouped(weights, size))
        values = self._windows(self.value(coarse))
        taken = torch.einsum("nmkhawb,nmdkhw->nmdhawb", _grouped(weights), values)
        return _ungrouped(taken, size).flatten(1, 2)

    def products(self, height: int, width: int) -> int:
        """Return the multiply-adds of its two products for a fine map of so many cells."""
        return 2 * self.window**2 * self.value.out_channels * height * width

    def _check(self, fine: tuple[int, int], coarse: tuple[int, int]) -> None:
        if coarse != ((fine[0] + 1) // 2, (fine[1] + 1) // 2):
            raise GstoVizError(
                f"maps of {fine[0]}x{fine[1]} and {coarse[0]}x{coarse[1]} cells (height x width) "
                "are not neighbours: the coarse one has half the rows and columns, rounded up"
            )
        if min(coarse) < least_cells(self.window):
            raise RefusedImageError(
                f"a window of {self.window}x{self.window} cells is larger than a map of "
                f"{coarse[0]}x{coarse[1]} cells (height x width); enlarge the image"
            )

    def _split(self, x: Tensor) -> Tensor:
        """(N, channels, ...) -> (N, m, d, ...)."""
        return x.unflatten(1, (self.heads, -1))

    def _windows(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) -> the window of each cell, (N, m, d, k*k, h, w)."""
        k = self.window
        found = F.unfold(x, k, padding=k // 2).unflatten(1, (x.shape[1], k * k))
        return self._split(found).unflatten(-1, spatial_size(x))

    def _offsets(self) -> Tensor:
        """Return e for each cell of the window, (m, d, k*k)."""
        k = self.window
        rows = self.rows[..., None].expand(-1, -1, k, k)
        columns = self.columns[:, :, None].expand(-1, -1, k, k)
        return torch.cat([rows, columns], 1).flatten(2)

    def _inside(self, coarse: Tensor) -> Tensor:
        """Return which cells of each window lie on the map, (k*k, h, w)."""
        k, ones = self.window, coarse.new_ones(1, 1, *spatial_size(coarse))
        return F.unfold(ones, k, padding=k // 2)[0].unflatten(-1, spatial_size(coarse)) > 0


def least_cells(window: int) -> int:
    """Return the rows and columns of the smallest map that has a cell for each of the window's.

    On a smaller one the outermost cells of the window lie outside from everywhere.
    """
    return window // 2 + 1


def window_needs(window: int) -> dict[str, int]:
    """Return the same by its reason, as ``refuse_small`` takes it."""
    return {f"pixels choose from {window}x{window} cells": least_cells(window)}


def _grouped(x: Tensor) -> Tensor:
    """(N, m, c, H, W) -> by the coarse cell that covers each pixel, (N, m, c, h, 2, w, 2)."""
    height, width = spatial_size(x)
    x = F.pad(x, (0, width % 2, 0, height % 2))
    return x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))


def _ungrouped(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, m, c, h, 2, w, 2) -> (N, m, c, *size), the way back."""
    return x.flatten(5, 6).flatten(3, 4)[..., : size[0], : size[1]]
