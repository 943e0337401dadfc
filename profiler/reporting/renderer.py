"""Interface of the renderers: what each receives beside the report, and what each returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PLOTLYJS = ("inline", "cdn", "directory")
"""Places from which a page loads the script of its figures: the page itself, plotly's server, a file beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """Options of all renderers; each ignores those that do not concern it.

    Attributes:
        plotlyjs: One of `PLOTLYJS`.
        extension: Extension of the file.
    """

    plotlyjs: str = "inline"
    extension: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A rendered report.

    Attributes:
        content: The file.
        companions: Further files that it refers to, by name.
    """

    content: bytes
    companions: Mapping[str, bytes] = field(default_factory=dict)
