"""Rows in memory to which others are appended, without a copy of those before them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[Any]


class GrowingRows:
    """Rows whose numbers are in arrays that double when they are full.

    Args:
        rows: The first rows.

    Attributes:
        frame: All rows so far. Earlier frames remain as they were.
    """

    def __init__(self, rows: "pd.DataFrame") -> None:
        self.frame = rows
        self._arrays: dict[str, Array] = {}

    def append(self, rows: "pd.DataFrame") -> None:
        """Append rows with the same columns."""
        import pandas as pd

        if not len(rows):
            return
        if not len(self.frame):
            self.frame = rows
            return
        columns = {name: self._extended(name, self.frame[name], rows[name]) for name in self.frame.columns}
        self.frame = pd.DataFrame(columns, copy=False)

    def _extended(
        self, name: str, before: "pd.Series[Any]", new: "pd.Series[Any]"
    ) -> "Array | pd.Series[Any]":
        import numpy as np
        import pandas as pd

        if (
            not isinstance(before.dtype, np.dtype)
            or before.dtype.kind not in "if"
            or new.dtype != before.dtype
        ):
            self._arrays.pop(name, None)
            return pd.concat([before, new], ignore_index=True)
        count, end = len(before), len(before) + len(new)
        array = self._arrays.get(name)
        if array is None or len(array) < end:
            array = self._arrays[name] = np.empty(2 * end, dtype=before.dtype)
            array[:count] = before.to_numpy()
        array[count:end] = new.to_numpy()
        return array[:end]
