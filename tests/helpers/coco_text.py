"""Masks as the COCO API writes them, by the rules of its format and pixel by pixel."""

import numpy as np


def runs_of(mask: np.ndarray) -> list[int]:
    """Lengths of runs down the columns, zeros first."""
    lengths, current, length = [], False, 0
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != current:
                lengths.append(length)
                current, length = not current, 0
            length += 1
    return [*lengths, length]


def packed(lengths: list[int]) -> str:
    """The text of the COCO API: 5 bits a character, from the fourth number on differences."""
    text = ""
    for i, length in enumerate(lengths):
        x = length - lengths[i - 2] if i > 2 else length
        while True:
            group, x = x & 31, x >> 5
            more = x != -1 if group & 16 else x != 0
            text += chr(group + (32 if more else 0) + 48)
            if not more:
                break
    return text
