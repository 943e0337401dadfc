"""What can go wrong, as one tree.

::

    ProfilerError                 everything this package raises on purpose
    |-- MissingDependencyError    an optional package is not installed; the message has the install line
    |-- UsageError                an argument that cannot mean anything (also a ValueError)
    |-- SensorError               a reading failed, now; the sampler counts it and goes on
    |   `-- SensorUnavailableError   a source cannot be used at all: reason and remedy
    |-- RunError                  a run directory cannot be used; names the file and, where there is one, the line
    |   |-- RunNotFoundError      there is nothing at that path
    |   |-- RunForeignError       something is there, and it is not a run directory
    |   |-- RunDamagedError       a run directory whose files contradict their own schema
    |   `-- RunTooNewError        written by a newer major version of the schema
    `-- ForecastRefusedError      the curve does not support a forecast: typed reason and remedy

Nothing of this tree is ever raised into a training loop.
"""

from pathlib import Path


class ProfilerError(Exception):
    """Everything this package raises on purpose."""


class MissingDependencyError(ProfilerError, ImportError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, *, needed_for: str, install: str) -> None:
        super().__init__(f"{needed_for} needs {package}, which is not installed. Install it with: {install}")
        self.package = package
        self.install = install


class UsageError(ProfilerError, ValueError):
    """An argument that cannot mean anything."""


class SensorError(ProfilerError):
    """A reading failed this time."""


class SensorUnavailableError(SensorError):
    """A source cannot be used on this machine, with the reason and, where there is one, the remedy."""

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
    """There is nothing at that path."""


class RunForeignError(RunError):
    """Something is there, and it is not a run directory."""


class RunDamagedError(RunError):
    """A run directory whose files contradict their own schema."""


class RunTooNewError(RunError):
    """Written by a newer major version of the schema."""


class ForecastRefusedError(ProfilerError):
    """The curve does not support a forecast.

    Attributes:
        code: A stable word for programs: ``too_few_points``, ``span_too_short``, ``constant``, ``diverging``,
            ``no_metric``, ``too_few_runs`` or ``no_common_range``.
        reason: One sentence for people.
        remedy: What would make a forecast possible.
    """

    def __init__(self, code: str, reason: str, *, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.code = code
        self.reason = reason
        self.remedy = remedy
