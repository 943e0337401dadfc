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
        "lightning", needed_for="This callback", install="pip install lightning"
    ) from None


_SETTINGS = (
    "accumulate_grad_batches",
    "gradient_clip_val",
    "max_epochs",
    "num_nodes",
    "precision",
    "world_size",
)


class EnergyProfilerCallback(Callback):
    """Callback that records every fit and logs its metrics with Lightning's loggers at their logging steps.

    With ``energy_budget=`` it ends the fit, on every rank, at a logging step after the budget is used or the target is
    out of reach. Inside ``with EnergyProfiler():`` it uses that recording instead of starting one.

    Args:
        options: Keywords of :class:`profiler.EnergyProfiler`.

    Raises:
        UsageError: An option is out of range.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._recording = Recording(options)
        self._logged = 0

    @property
    def profiler(self) -> Any:
        """Profiler of the current or last fit, with its ``run``; None before the first."""
        return self._recording.profiler

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Start recording, with the hyperparameters of the module as settings."""
        settings = {name: getattr(trainer, name, None) for name in _SETTINGS}
        known = {name: value for name, value in settings.items() if value is not None}
        # Lightning counts the steps of all optimizers together.
        remaining = trainer.max_steps - trainer.global_step if len(trainer.optimizers) == 1 else 0
        self._recording.start(
            {**known, **getattr(pl_module, "hparams", {})}, remaining if remaining > 0 else None
        )
        self._logged = trainer.global_step

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        """Log the metrics at logging steps, and stop the fit on a used budget."""
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

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """Record the validation metrics that the module has logged."""
        if not trainer.sanity_checking:
            self._recording.log(trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """Log the joules of the epoch."""
        metrics = self._recording.epoch_metrics()
        for logger in trainer.loggers if metrics else ():
            logger.log_metrics(metrics, step=trainer.global_step)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """Stop recording."""
        self._recording.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002 - same
        """Stop the recording of a fit that failed or was interrupted."""
        self._recording.stop(exception)
