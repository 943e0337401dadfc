"""Hugging Face transformers: ``Trainer(..., callbacks=[EnergyProfilerCallback()])``."""

from typing import Any, Self

from profiler.errors import MissingDependencyError
from profiler.integrations.callback_base import Recording, any_rank

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingDependencyError(
        "transformers", needed_for="This callback", install='pip install "energy-profiler[transformers]"'
    ) from None

_EVALUATED = "eval_"


class EnergyProfilerCallback(TrainerCallback):
    """Records every training, and adds where it stands to the Trainer's logs.

    The numbers go to ``trainer.state.log_history``, to the console, and to every reporter that comes behind this
    callback; :meth:`attach` puts it in front of them all. With ``energy_budget=`` it ends the training when the budget
    is used or the target out of reach; several ranks agree on it at a logging step. Inside a running
    ``with EnergyProfiler():`` it adds its logs to that recording and starts none.

    The Trainer tells no callback of an exception: the recording of a training that failed ends with the process or
    with the next training. ``with EnergyProfiler(): trainer.train()`` ends it at once.

    Args:
        options: Keywords of :class:`profiler.EnergyProfiler`.

    Raises:
        UsageError: An option that cannot mean anything.
    """

    def __init__(self, **options: Any) -> None:
        self._recording = Recording(options)

    @property
    def profiler(self) -> Any:
        """The profiler of the training that runs or ran last, with its ``run``; None before the first."""
        return self._recording.profiler

    def attach(self, trainer: Any) -> Self:
        """Register with a Trainer, in front of its reporters, so that TensorBoard and its like see the numbers."""
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - its signature
        """Begin to record."""
        self._recording.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - its signature
        """End the training of a single process that has used its budget."""
        if args.world_size == 1 and self._recording.should_stop:
            control.should_training_stop = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Add to the logs of a training step; the ranks agree on whether to go on."""
        if logs is None or any(name.startswith(_EVALUATED) for name in logs):
            return
        metrics = self._recording.metrics()
        logs.update(metrics)
        if state.log_history:
            state.log_history[-1].update(metrics)
        if args.world_size > 1 and self._recording.has_budget:
            control.should_training_stop |= any_rank(says=self._recording.should_stop, device=args.device)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - its signature
        """End the recording."""
        self._recording.stop()
