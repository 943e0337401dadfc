"""Exceptions of the package.

::

    ProfilerError                 base class
    |-- MissingDependencyError    an optional package is not installed; the message has the install command
    |-- UsageError                an invalid argument (also a ValueError)
    |-- SensorError               a reading failed; the sampler counts it and continues
    |   `-- SensorUnavailableError   a source cannot be used at all: reason and remedy
    |-- RunError                  a run directory cannot be used; names the file and, if known, the line
    |   |-- RunNotFoundError      the path does not exist
    |   |-- RunForeignError       the path exists but is not a run directory
    |   |-- RunDamagedError       the files of a run directory violate their schema
    |   `-- RunTooNewError        written with a newer major version of the schema
    `-- ForecastRefusedError      the curve does not support a forecast: code, reason and remedy

None of them is raised into a training loop.
"""

from pathlib import Path


class ProfilerError(Exception):
    """Base class of all exceptions that this package raises on purpose."""


class MissingDependencyError(ProfilerError, ImportError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, *, needed_for: str, install: str) -> None:
        super().__init__(f"{needed_for} needs {package}, which is not installed. Install it with: {install}")
        self.package = package
        self.install = install


class UsageError(ProfilerError, ValueError):
    """An invalid argument."""


class SensorError(ProfilerError):
    """A single reading failed."""


class SensorUnavailableError(SensorError):
    """A source cannot be used on this machine; has the reason and, if there is one, the remedy."""

    def __init__(self, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"{reason}. {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class RunError(ProfilerError):
    """A run directory cannot be used."""

    def __init__(self, path: Path, what: str, *, line: int | None = None, remedy: str = "") -> None:
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"{where}: {what}" + (f" {remedy}" if remedy else ""))
        self.path = path
        self.line = line


class RunNotFoundError(RunError, FileNotFoundError):
    """The path of a run does not exist."""


class RunForeignError(RunError):
    """The path exists but is not a run directory."""


class RunDamagedError(RunError):
    """The files of a run directory violate their schema."""


class RunTooNewError(RunError):
    """The run was written with a newer major version of the schema."""


class ForecastRefusedError(ProfilerError):
    """The curve does not support a forecast.

    Attributes:
        code: Stable identifier for programs: ``too_few_points``, ``span_too_short``, ``constant``, ``diverging``,
            ``no_metric``, ``too_few_runs`` or ``no_common_range``.
        reason: One sentence for people.
        remedy: A change that would make a forecast possible.
    """

    def __init__(self, code: str, reason: str, *, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.code = code
        self.reason = reason
        self.remedy = remedy
