"""Jinja templates of the pages, all with autoescape."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from profiler._compat import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("profiler.reporting"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _shown(value: Any) -> Any:
    """Replace control characters in text, such as those that reverse its direction; markup is not changed."""
    return printable(value) if type(value) is str else value


def render_template(template: str, /, **variables: Any) -> str:
    """Render a template of ``templates/``."""
    return _environment().get_template(template).render(variables)


def static(name: str) -> bytes:
    """Return a file of ``static/``."""
    return files("profiler.reporting").joinpath("static", name).read_bytes()


def trusted(name: str) -> "Markup":
    """Return a script or style of ``static/`` as markup, for elements whose content is not escaped."""
    from markupsafe import Markup

    return Markup(static(name).decode())  # noqa: S704 - a file of this package
