"""Hugging Face transformers: ``Trainer(..., callbacks=[EnergyProfilerCallback()])``."""

from typing import Any, Self

from profiler.errors import MissingDependencyError
from profiler.integrations.callback_base import Recording, any_rank

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingDependencyError(
        "transformers", needed_for="This callback", install="pip install transformers accelerate"
    ) from None

_EVALUATED = "eval_"
_SETTINGS = (
    "bf16", "fp16", "gradient_accumulation_steps", "gradient_checkpointing", "learning_rate", "lr_scheduler_type",
    "max_grad_norm", "max_steps", "num_train_epochs", "optim", "per_device_train_batch_size", "seed", "tf32",
    "torch_compile", "warmup_steps", "weight_decay", "world_size",
)  # fmt: skip
"""Arguments that are stored; none holds a path or a token."""


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # members of an enumeration


class EnergyProfilerCallback(TrainerCallback):
    """Callback that records every training and adds its metrics to the Trainer's logs.

    The metrics go to ``trainer.state.log_history``, to the console, and to every reporter after this callback;
    :meth:`attach` puts it before all of them. With ``energy_budget=`` it ends the training when the budget is used or
    the target is out of reach; several ranks agree at a logging step. Inside ``with EnergyProfiler():`` it uses that
    recording instead of starting one.

    The Trainer reports exceptions to no callback: the recording of a failed training ends with the process or with the
    next training. ``with EnergyProfiler(): trainer.train()`` ends it at once.

    Args:
        options: Keywords of :class:`profiler.EnergyProfiler`.

    Raises:
        UsageError: An option is out of range.
    """

    def __init__(self, **options: Any) -> None:
        self._recording = Recording(options)
        self._epoch: dict[str, float] = {}
        self._tokens = 0

    @property
    def profiler(self) -> Any:
        """Profiler of the current or last training, with its ``run``; None before the first."""
        return self._recording.profiler

    def attach(self, trainer: Any) -> Self:
        """Register with a Trainer before its reporters, so that TensorBoard and others receive the metrics."""
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - its signature
        """Start recording, with the settings of the training."""
        settings = {name: getattr(args, name, None) for name in _SETTINGS}
        known = {name: _plain(value) for name, value in settings.items() if value is not None}
        remaining = state.max_steps - state.global_step
        self._recording.start(known, remaining if remaining > 0 else None)
        self._tokens = getattr(state, "num_input_tokens_seen", 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the tokens where the Trainer does, and stop the training of a single process on a used budget."""
        tokens = getattr(state, "num_input_tokens_seen", 0)
        # The Trainer adds up the tokens of all processes.
        if tokens > self._tokens and state.is_world_process_zero and self._recording.profiler is not None:
            self._recording.profiler.add_work(tokens=tokens - self._tokens)
        self._tokens = tokens
        if args.world_size == 1 and self._recording.should_stop:
            control.should_training_stop = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Add the metrics to the logs of a training step; the ranks agree whether to stop."""
        if logs is None or any(name.startswith(_EVALUATED) for name in logs):
            return
        metrics = self._recording.metrics() | self._epoch
        self._epoch = {}
        logs.update(metrics)
        if state.log_history:
            state.log_history[-1].update(metrics)
        if args.world_size > 1 and self._recording.has_budget:
            control.should_training_stop |= any_rank(self._recording.should_stop, args.device)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:  # noqa: ARG002 - its signature
        """Record the metrics of an evaluation during the training."""
        self._recording.log(metrics or {})

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - its signature
        """Keep the joules of the epoch for the next logs."""
        self._epoch = self._recording.epoch_metrics()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - its signature
        """Stop recording."""
        self._recording.stop()
