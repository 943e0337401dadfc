"""The process's hooks and the sinks that receive their events."""

import sys
import threading
from collections.abc import Callable
from typing import Any

from profiler._compat import at_fork_in_child
from profiler.torch_hooks import backward, dataloader, keras_optimizer, no_grad, optimizer
from profiler.torch_hooks.async_scalars import ScalarReader
from profiler.torch_hooks.context import HookContext
from profiler.torch_hooks.events import EventId, Expired, PendingScalar, RepeatedUpdate, Sink, StepEvent
from profiler.torch_hooks.import_hook import LateModule, when_imported
from profiler.torch_hooks.losses import LossReader
from profiler.torch_hooks.monkeypatch import Patches
from profiler.torch_hooks.schedulers import Schedulers, scheduler_classes
from profiler.torch_hooks.step_detector import StepDetectors

_SEVERAL = "prof.step(loss=...) got several elements; pass their mean"


class HookManager:
    """Installs the hooks while at least one sink is attached; if torch is not imported yet, at its import.

    Attributes:
        context: State that the hooks share.
        detectors: Step detectors of all threads.
        schedulers: Learning-rate schedulers that have made a step.
    """

    def __init__(self) -> None:
        scalars = ScalarReader(LateModule("torch"))
        self.context = HookContext(scalars, LossReader(scalars))
        self.detectors = StepDetectors(self.context)
        self.schedulers = Schedulers(self.detectors)
        self._cancel_import_hooks: tuple[Callable[[], None], ...] = ()
        self._sinks: tuple[Sink, ...] = ()
        self._is_installed = False
        self._times_loading = False
        self._patches = Patches()
        self._lock = threading.Lock()

    @property
    def failure(self) -> str | None:
        """Error that ended the hooks; None if there was none."""
        return self.context.failure

    @property
    def scalars(self) -> ScalarReader:
        """Reader of scalar tensors, with the warnings of this recording."""
        return self.context.scalars

    @property
    def inferred_steps(self) -> int:
        """Number of steps that were inferred from backward passes, because no optimizer was seen."""
        return self.context.inferred_steps

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices of the parameters of all known optimizers."""
        return tuple(self.context.devices)

    @property
    def parameter_count(self) -> int | None:
        """Number of trained parameters; None if unknown."""
        return self.context.trainings.parameter_count

    @property
    def is_convolutional(self) -> bool:
        """True if a relevant share of the trained weights are those of convolutions over images or spectrograms."""
        return self.context.trainings.is_convolutional

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries of reinforcement learning whose environments were stepped between updates."""
        return self.context.environments.libraries

    def attach(self, sink: Sink, *, times_loading: bool = False) -> None:
        """Send events to ``sink``; the first sink installs the hooks.

        Args:
            sink: Called with each event, on the training's thread.
            times_loading: Hook data loaders too; one sink that needs it is enough.
        """
        with self._lock:
            is_first = not self._sinks
            if is_first:
                self.context.reset()
                self.detectors.reset()
            self._set_sinks((*self._sinks, sink))
            is_new = times_loading and not self._times_loading
            self._times_loading |= times_loading
        if is_first:
            self._cancel_import_hooks = (
                when_imported("torch", lambda: self._guarded(self._install)),
                when_imported("keras", lambda: self._guarded(self._hook_keras)),
            )
        elif is_new and self._is_installed:
            self._hook_loaders()

    def join(self, sink: Sink) -> None:
        """Send events to ``sink`` only if another sink is attached; never installs hooks."""
        with self._lock:
            if self._sinks:
                self._set_sinks((*self._sinks, sink))

    def detach(self, sink: Sink) -> None:
        """Stop sending events to ``sink``; the last one removes the hooks. Safe in any order, and twice."""
        detector = self.detectors.existing()
        if detector is not None:
            detector.close()
        self.leave(sink)

    def leave(self, sink: Sink) -> None:
        """Do the same without sending anything, so that a sink may call it while it receives an event."""
        with self._lock:
            self._set_sinks(tuple(other for other in self._sinks if other is not sink))
            if not self._sinks:
                self.reset()

    def reset(self) -> None:
        """Remove every sink and hook."""
        self._set_sinks(())
        for cancel in self._cancel_import_hooks:
            cancel()
        self._patches.remove()
        self.context.environments.remove()
        self._is_installed = self._times_loading = False
        self.schedulers.reset()
        self.detectors.remove_hooks()
        self.detectors.root = None

    def after_fork_in_child(self) -> None:
        """Remove every sink and hook in a forked child, which records nothing of its parent's."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self.reset()

    def _set_sinks(self, sinks: tuple[Sink, ...]) -> None:
        self._sinks = sinks
        is_silent = self.context.failure is not None or not sinks
        self.context.emit = None if is_silent else sinks[0] if len(sinks) == 1 else self._emit_to_all

    def _emit_to_all(self, event: StepEvent | RepeatedUpdate) -> None:
        for sink in self._sinks:
            sink(event)

    def _guarded(self, install: Callable[[], None]) -> None:
        try:
            with self._lock:
                if self._sinks:
                    install()
        except Exception as error:  # noqa: BLE001 - this may run inside an import of the training's
            self.context.fail(error)

    def _install(self) -> None:
        torch = sys.modules["torch"]
        self.context.use(torch)
        # There is no public way to detect a running backward pass.
        self.detectors.current_graph_task = torch._C._current_graph_task_id  # noqa: SLF001
        replace = self._patches.replace
        self._patches.after_optimizer_steps(optimizer.after_step(self.detectors))
        replace(sys.modules["torch.autograd"], "backward", backward.around_backward(self.detectors))
        for scaler in _with_subclasses(sys.modules["torch.amp.grad_scaler"].GradScaler):
            replace(scaler, "step", optimizer.around_scaler_step(self.detectors))
            replace(scaler, "scale", backward.around_scale(self.detectors))
        for scheduler in scheduler_classes():
            replace(scheduler, "step", self.schedulers.around_step)
        self._hook_regions(torch)
        if self._times_loading:
            self._hook_loaders()
        self._is_installed = True

    def _hook_regions(self, torch: Any) -> None:
        for guard in (torch.no_grad, torch.inference_mode):
            self._patches.replace(guard, "__enter__", no_grad.around_enter(self.detectors))
            self._patches.replace(guard, "__exit__", no_grad.around_exit(self.detectors))
        self._patches.replace(torch.nn.Module, "eval", no_grad.around_eval(self.detectors))

    def _hook_keras(self) -> None:
        keras = keras_optimizer.imported_keras()
        owner = None if keras is None else keras_optimizer.optimizer_class(keras, self.scalars.warn)
        if owner is not None:
            self._patches.replace(owner, "apply", keras_optimizer.around_apply(self.detectors))

    def _hook_loaders(self) -> None:
        iterators = getattr(sys.modules.get("torch.utils.data.dataloader"), "_BaseDataLoaderIter", None)
        if iterators is not None:
            self._patches.replace(iterators, "__next__", dataloader.around_next(self.detectors))

    def poll(self, pending: PendingScalar | EventId) -> float | Expired | None:
        """Return a scalar or an end time from a device, None until it is known, or ``EXPIRED``. Safe on any thread."""
        if not isinstance(pending, EventId):
            return self.context.scalars.poll(pending)
        events = self.context.device_events
        return events.poll(pending) if events is not None else None

    def poll_flags(self) -> None:
        """Check the progress of a device by reading its flags in host memory. Safe on any thread; never raises."""
        try:
            if self.context.device_events is not None:
                self.context.device_events.poll_flags()
        except Exception as error:  # noqa: BLE001 - the recording continues without the device's times
            self.context.drop_device_events(error)

    def manual_step(self, loss: Any) -> None:
        """End a step, or set the loss of the step that an optimizer ended. Never raises.

        Args:
            loss: A number, a one-element tensor or None.
        """
        try:
            value = None if loss is None else self.scalars.read(loss, several=_SEVERAL)
        except Exception as error:  # noqa: BLE001 - an unreadable loss must not end the training
            value = None
            what = f"a {type(loss).__name__}; {type(error).__name__}"
            self.scalars.warn(f"prof.step(loss=...) got something that is not a number ({what})")
        try:
            detector = self.detectors.current()
            if detector is not None:
                detector.on_manual_step(value, self.context.now())
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self.context.fail(error)


def _with_subclasses(cls: type[Any]) -> list[type[Any]]:
    """Return ``cls`` and its subclasses: a scaler for sharded models defines its own ``scale``."""
    return [cls, *(deeper for child in cls.__subclasses__() for deeper in _with_subclasses(child))]


_lock = threading.Lock()
_manager: HookManager | None = None


def hook_manager() -> HookManager:
    """Return the process's hook manager."""
    global _manager  # noqa: PLW0603 - a process has one set of hooks
    with _lock:
        if _manager is None:
            _manager = HookManager()
            at_fork_in_child(_manager.after_fork_in_child)
        return _manager
