"""Alignment of ranks by step: common blocks, in which the rows of all ranks end."""

from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

    Steps = npt.NDArray[np.int64]
    Array = npt.NDArray[np.float64]


def common_ends(ends: "Iterable[Steps]") -> "Steps":
    """Return the steps at which a row ends on every rank that came so far, in order.

    Rows are single steps at first and aligned blocks of 2^k steps later, so that the rows of the slowest writer nearly
    always contain those of the others. A rank that ended early does not constrain the steps after its last row.
    """
    import numpy as np

    return reduce(_both, ends, np.empty(0, dtype=np.int64))


def _both(one: "Steps", other: "Steps") -> "Steps":
    import numpy as np

    if np.array_equal(one, other) or not len(other):
        return one
    if not len(one):
        return other
    until = min(one[-1], other[-1])
    longer = one if one[-1] > other[-1] else other
    shared = np.intersect1d(one[one <= until], other[other <= until], assume_unique=True)
    return np.concatenate((shared, longer[longer > until]))


def block_of(ends: "Steps", blocks: "Steps") -> "Steps":
    """Return the index of the block in which each row ends."""
    import numpy as np

    if np.array_equal(ends, blocks):
        return np.arange(len(blocks))
    return np.searchsorted(blocks, ends).astype(np.int64)


def is_aligned(at: "Steps", count: int) -> bool:
    """Return true if each row is a block: ``at`` increases strictly, so that its last value decides."""
    return len(at) == count and (not count or int(at[-1]) == count - 1)


def sums(values: "Array", at: "Steps", count: int) -> "Array":
    """Add values up by index; NaN adds nothing."""
    import numpy as np

    numbers = np.where(np.isnan(values), 0.0, values)
    if is_aligned(at, count):
        return numbers
    found: Array = np.bincount(at, weights=numbers, minlength=count).astype(np.float64)
    return found


def known(values: "Array", at: "Steps", count: int) -> "npt.NDArray[np.bool_]":
    """Return for each index true if any of its values is a number."""
    import numpy as np

    numbers = ~np.isnan(values)
    return numbers if is_aligned(at, count) else np.bincount(at, weights=numbers, minlength=count) > 0
