"""Steps as a Parquet table."""

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING

from profiler.errors import MissingDependencyError
from profiler.export.table import steps_of

if TYPE_CHECKING:
    from profiler.run import Run


def export(run: "Run") -> bytes:
    """Return the table; values that were not measured are null.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise MissingDependencyError(
            "pyarrow", needed_for="The format parquet", install='pip install "energy-profiler[parquet]"'
        )
    out = io.BytesIO()
    steps_of(run).to_parquet(out, engine="pyarrow", index=False)
    return out.getvalue()
