"""Lightning: ``Trainer(callbacks=[EnergyProfilerCallback()])``."""

import sys
from typing import Any

from profiler.errors import MissingDependencyError
from profiler.integrations.callback_base import Recording

try:
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        from pytorch_lightning import Callback
    else:
        from lightning.pytorch import Callback
except ImportError:
    raise MissingDependencyError(
        "lightning", needed_for="This callback", install='pip install "energy-profiler[lightning]"'
    ) from None


class EnergyProfilerCallback(Callback):
    """Records every fit, and logs where it stands with Lightning's own loggers at its own logging steps.

    With ``energy_budget=`` it ends the fit, on every rank, at a logging step after the budget is used or the target
    out of reach. Inside a running ``with EnergyProfiler():`` it adds its logs to that recording and starts none.

    Args:
        options: Keywords of :class:`profiler.EnergyProfiler`.

    Raises:
        UsageError: An option that cannot mean anything.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._recording = Recording(options)
        self._logged = 0

    @property
    def profiler(self) -> Any:
        """The profiler of the fit that runs or ran last, with its ``run``; None before the first."""
        return self._recording.profiler

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """Begin to record."""
        self._recording.start()
        self._logged = trainer.global_step

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        """Log at Lightning's logging steps."""
        every, done = trainer.log_every_n_steps, trainer.global_step
        if not every or done // every == self._logged // every:
            return
        self._logged = done
        step = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", done)
        metrics = self._recording.metrics()
        for logger in trainer.loggers if metrics else ():
            logger.log_metrics(metrics, step=step)
        if self._recording.has_budget or trainer.world_size == 1:
            stop = trainer.strategy.reduce_boolean_decision(self._recording.should_stop, all=False)
            trainer.should_stop = trainer.should_stop or stop

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """End the recording."""
        self._recording.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002 - same
        """End the recording of a fit that failed or was interrupted."""
        self._recording.stop(exception)
