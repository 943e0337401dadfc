"""A comparison of runs as JSON; infinite joules are null."""

import json
from typing import TYPE_CHECKING

from profiler.reporting.json import REPORT_VERSION, plain
from profiler.reporting.renderer import Rendered, RenderOptions

if TYPE_CHECKING:
    from profiler.reporting.records import Comparison


def render(comparison: "Comparison", _: RenderOptions) -> Rendered:
    """Render as JSON; ends with a newline."""
    body = {"report_version": REPORT_VERSION, **plain(comparison)}
    return Rendered(content=f"{json.dumps(body, indent=1, allow_nan=False)}\n".encode())
