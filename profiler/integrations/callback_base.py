"""What every callback does: record from the start of a training to its end, once, and know when to stop."""

from typing import Any

from profiler._compat import write_stderr
from profiler.energy_profiler import EnergyProfiler, running


class Recording:
    """A profiler for each training, or the one that records already.

    Args:
        options: Keywords of :class:`profiler.EnergyProfiler`.

    Attributes:
        profiler: The profiler of the training that runs or ran last; None before the first.
        has_budget: Whether the options may end the training, which ranks then have to agree on: it is the same on each,
            whatever else records on one of them.

    Raises:
        UsageError: An option that cannot mean anything.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.has_budget = not EnergyProfiler(**options).budget.is_empty
        self._options = options
        self._is_ours = False
        self.profiler: EnergyProfiler | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Frameworks copy callbacks into other processes, where a recording cannot follow."""
        return vars(self) | {"_is_ours": False, "profiler": None}

    def start(self) -> None:
        """Begin to record, unless somebody does already: joules are counted once."""
        self.stop(RuntimeError("the training before never said that it ended"))
        outer = running()
        self._is_ours = outer is None
        self.profiler = EnergyProfiler(**self._options).start() if outer is None else outer
        if outer is not None and self._options:
            ignored = ", ".join(f"{name}=" for name in self._options)
            write_stderr(f"energy-profiler: recording already; the callback's {ignored} is left aside")

    def stop(self, error: BaseException | None = None) -> None:
        """End what was started here; ``error`` is what ended the training."""
        if self._is_ours and self.profiler is not None:
            self.profiler.__exit__(None if error is None else type(error), error, None)
        self._is_ours = False

    def metrics(self) -> dict[str, float]:
        """The numbers by now."""
        return {} if self.profiler is None else self.profiler.metrics()

    @property
    def should_stop(self) -> bool:
        """Whether this process says that the training should stop."""
        return self.profiler is not None and self.profiler.should_stop


def any_rank(*, says: bool, device: Any) -> bool:
    """Whether any rank says so. Every rank must ask at the same moment, or all of them wait for ever."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return says
    flag = torch.tensor(float(says), device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag.item())
