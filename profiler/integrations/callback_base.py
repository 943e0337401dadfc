"""Recording of a training by a callback, shared by all frameworks."""

import os
from collections.abc import Mapping
from typing import Any

from profiler._compat import write_message
from profiler.config import environment_defaults
from profiler.energy_profiler import EnergyProfiler, running

TOTAL_JOULES = "energy/total_joules"
EPOCH_JOULES = "energy/epoch_joules"
_VALIDATION = ("val", "eval", "test")
_SPEEDS = ("runtime", "per_second", "_time")
_PLAN = ("total_steps", "planned_learning_rate")
"""Keywords that state the length of a run; a user's own replaces that of the framework."""


def is_validation(name: str) -> bool:
    """Return whether a metric of a framework is one of a validation, by its name; its speed is none."""
    return name.startswith(_VALIDATION) and not name.endswith(_SPEEDS)


class Recording:
    """Profiler of each training, or the profiler that is recording already.

    Args:
        options: Keywords of :class:`profiler.EnergyProfiler`.

    Attributes:
        profiler: Profiler of the current or last training; None before the first.
        has_budget: Whether the options may end the training, so that ranks must agree. It depends on the options only,
            because all ranks must take part in the agreement.

    Raises:
        UsageError: An option is out of range.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.has_budget = not EnergyProfiler(**options).budget.is_empty
        self._options = options
        self._is_ours = False
        self._epoch_start = 0.0
        self.profiler: EnergyProfiler | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the recording, for frameworks that copy callbacks to other processes."""
        return vars(self) | {"_is_ours": False, "profiler": None}

    def start(self, settings: Mapping[str, Any], total_steps: int | None = None) -> None:
        """Start recording, unless another profiler of this process is recording, so that joules are counted once.

        Args:
            settings: Settings of the training; those that are not plain values are ignored.
            total_steps: Optimizer steps that the framework plans; None if unknown.
        """
        self.stop(RuntimeError("the previous training never reported its end"))
        self._epoch_start = 0.0
        outer = running()
        self._is_ours = outer is None
        stated = self._options.keys() | environment_defaults(os.environ).keys()
        options = dict(self._options)
        if total_steps is not None and stated.isdisjoint(_PLAN):
            options["total_steps"] = total_steps
        self.profiler = EnergyProfiler(**options).start() if outer is None else outer
        if outer is not None and self._options:
            ignored = ", ".join(f"{name}=" for name in self._options)
            write_message(f"another profiler is recording; options of the callback are ignored: {ignored}")

        self.profiler.add_settings(settings)

    def stop(self, error: BaseException | None = None) -> None:
        """Stop the recording if this callback started it; ``error`` ended the training, if any."""
        if self._is_ours and self.profiler is not None:
            self.profiler.__exit__(None if error is None else type(error), error, None)
        self._is_ours = False

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the profiler."""
        return {} if self.profiler is None else self.profiler.metrics()

    def epoch_metrics(self) -> dict[str, float]:
        """Return the joules since the previous call, as of the last reading; empty where they are unknown."""
        total = self.metrics().get(TOTAL_JOULES)
        if total is None:
            return {}
        since, self._epoch_start = self._epoch_start, total
        return {EPOCH_JOULES: total - since}

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Record the validation metrics among those of a framework."""
        chosen = {name: value for name, value in metrics.items() if is_validation(name)}
        if self.profiler is not None and chosen:
            self.profiler.log(**chosen)

    @property
    def should_stop(self) -> bool:
        """True if this process requests the end of the training."""
        return self.profiler is not None and self.profiler.should_stop


def any_rank(value: bool, device: Any) -> bool:  # noqa: FBT001 - like the built-in any()
    """Return whether ``value`` is true on any rank. A collective operation: every rank must call it."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    flag = torch.tensor(float(value), device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag.item())
