"""The one set of hooks of a process, and the profilers that listen to it."""

import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from profiler._compat import at_fork_in_child
from profiler.torch_hooks import backward, cuda_events, dataloader, optimizer
from profiler.torch_hooks.async_scalars import ScalarReader
from profiler.torch_hooks.events import Kind, Lost, Sink, Slot, Stamp
from profiler.torch_hooks.import_hook import LateModule, when_imported
from profiler.torch_hooks.monkeypatch import Patches
from profiler.torch_hooks.schedulers import Schedulers, scheduler_classes
from profiler.torch_hooks.step_detector import NOTHING, Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from profiler.torch_hooks.cuda_events import DeviceStamps


_NO_UPDATE = "backward passes were seen and no update: no step is counted. Call prof.step() after each update"


class Dispatcher:
    """Hooks into torch while at least one sink is attached; where torch is not imported yet, as soon as it is.

    What it calls runs inside somebody's training step: a few microseconds, no synchronisation of a device, and what
    goes wrong in it ends the hooks and not the training.

    Attributes:
        emit: Called with each event, a plain tuple in the order of :class:`.events.StepEvent`; None
            while nobody listens.
        failure: What ended the hooks, if something did.
        devices: Where the parameters of the optimizers seen so far live: ``cpu``, ``cuda:0``, ...
        root: The loop that entered a root backward pass last.
        scaling: Whether a gradient scaler has been seen, so that losses may be scaled.
        stamps: The device's own times of the first thread that trained on a CUDA device.
        schedulers: The schedulers of the learning rate that step.
    """

    def __init__(self) -> None:
        self.emit: Sink | None = None
        self.failure: str | None = None
        self.devices: set[str] = set()
        self.root: Loop | None = None
        self.scaling = False
        self.stamps: DeviceStamps | None = None
        self.scalars = ScalarReader(LateModule("torch"))
        self.tensor: Any = None
        self.cuda: Any = None
        self.gradients_are_on: Callable[[], bool] = bool
        self.now = time.monotonic_ns
        self.threads = threading.local()
        self._loops: weakref.WeakSet[Loop] = weakref.WeakSet()
        self._graph_task: Callable[[], int] = _no_graph
        self._wait_no_more = _nothing
        self._sinks: tuple[Sink, ...] = ()
        self._times_loading = False
        self.schedulers = Schedulers(self.loop, lambda: self.emit is not None, self.scalars.refuse)
        self._patches = Patches()
        self._lock = threading.Lock()

    def attach(self, sink: Sink, *, times_loading: bool = False) -> None:
        """Start sending events to ``sink``; the first one installs the hooks.

        Args:
            sink: Called with each event, on the training's thread.
            times_loading: Whether to hook into data loaders too; one sink that wants it is enough.
        """
        with self._lock:
            is_first = not self._sinks
            if is_first:
                self.failure = None
            self._listen((*self._sinks, sink))
            is_further = times_loading and not self._times_loading
            self._times_loading |= times_loading
        if is_first:
            self._wait_no_more = when_imported("torch", self._install_if_wanted)
        elif is_further and self.tensor is not None:
            self._hook_loaders()

    def join(self, sink: Sink) -> None:
        """Send events to ``sink`` too while others listen already; else do nothing: no hook is installed for it."""
        with self._lock:
            if self._sinks:
                self._listen((*self._sinks, sink))

    def detach(self, sink: Sink) -> None:
        """Stop sending events to ``sink``; the last one removes the hooks. Safe in any order, and twice."""
        self._take_leave(getattr(self.threads, "loop", None))
        with self._lock:
            self._listen(tuple(other for other in self._sinks if other is not sink))
            if not self._sinks:
                self.forget()

    def _take_leave(self, loop: Loop | None) -> None:
        """Send what is still to be said of the calling thread."""
        cuda_events.ask(self, loop)
        if loop is not None and loop.pending is None and loop.data_ns:
            loop.batches.settle(self, loop)
        if loop is not None and loop.pending is not None and not loop.steps:
            self.scalars.refuse(_NO_UPDATE)

    def forget(self) -> None:
        """Drop every sink and hook; a forked child calls this too, since it must record nothing."""
        self._listen(())
        self._wait_no_more()
        self._patches.remove()
        self._times_loading = False
        self.schedulers.forget()
        self.root = None

    def _listen(self, sinks: tuple[Sink, ...]) -> None:
        self._sinks = sinks
        is_silent = self.failure is not None or not sinks
        self.emit = None if is_silent else sinks[0] if len(sinks) == 1 else self._emit_to_all

    def _emit_to_all(self, event: tuple[object, ...]) -> None:
        for sink in self._sinks:
            sink(event)

    def _install_if_wanted(self) -> None:
        try:
            with self._lock:
                if self._sinks:
                    self._install()
        except Exception as error:  # noqa: BLE001 - this may run inside the training's import of torch
            self.fail(error)

    def _install(self) -> None:
        torch = sys.modules["torch"]
        self.tensor = torch.Tensor
        self._graph_task = torch._C._current_graph_task_id  # noqa: SLF001 - there is no other way to ask
        self.failure = None
        self.cuda = torch.cuda
        self.gradients_are_on = torch.is_grad_enabled
        self.scaling = False
        self.stamps = None
        self.devices.clear()
        self.scalars.unreadable.clear()
        for loop in tuple(self._loops):
            loop.reset()
        self._patches.after_optimizer_steps(optimizer.after_step(self))
        self._patches.replace(sys.modules["torch.autograd"], "backward", backward.around(self))
        for scaler in _with_subclasses(sys.modules["torch.amp.grad_scaler"].GradScaler):
            self._patches.replace(scaler, "step", optimizer.around_scaler_step(self))
            self._patches.replace(scaler, "scale", backward.around_scale(self))
        if self._times_loading:
            self._hook_loaders()
        for scheduler in scheduler_classes():
            self._patches.replace(scheduler, "step", self.schedulers.around)

    def _hook_loaders(self) -> None:
        iterators = getattr(sys.modules.get("torch.utils.data.dataloader"), "_BaseDataLoaderIter", None)
        if iterators is not None:
            self._patches.replace(iterators, "__next__", dataloader.around_next(self))

    def poll(self, waiting: Slot | Stamp) -> float | Lost | None:
        """Return what was on its way from a device, None while it still is, or ``LOST``. On any thread."""
        if type(waiting) is not Stamp:
            return self.scalars.poll(Slot(waiting))
        return self.stamps.poll(waiting) if self.stamps is not None else None

    def glance(self) -> None:
        """See how far a device has come, by its memory alone. On any thread. Never raises."""
        try:
            if self.stamps is not None:
                self.stamps.glance()
        except Exception as error:  # noqa: BLE001 - a recording goes on without the device's own times
            self.stamps = None
            cuda_events.refuse(self, error)

    def loop(self) -> Loop | None:
        """The calling thread's loop; None on a thread of torch's autograd engine, which runs somebody's backward."""
        try:
            found: Loop | None = self.threads.loop
        except AttributeError:
            found = self.new_loop()
        return found

    def new_loop(self) -> Loop | None:
        """Make the calling thread's loop, unless a backward pass is running on it already."""
        if self._graph_task() != -1:
            return None
        self.threads.loop = loop = Loop()
        self._loops.add(loop)
        return loop

    def fail(self, error: Exception) -> None:
        """End the hooks after an error of their own; the sessions find out when they next look."""
        self.failure = f"{type(error).__name__}: {error}"
        self.emit = None

    def manual_step(self, loss: Any) -> None:
        """End a step here, or hand a loss to the step that the hooks saw end. Never raises."""
        try:
            value = None if loss is None else self.scalars.read(loss)
        except Exception as error:  # noqa: BLE001 - a bad loss must not end the training
            what = f"a {type(loss).__name__}; {type(error).__name__}"
            value = self.scalars.refuse(f"prof.step(loss=...) got something that is not a number ({what})")
        try:
            loop = self.loop()
            if loop is not None:
                self._manual(loop, value)
        except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
            self.fail(error)

    def _manual(self, loop: Loop, value: float | Slot | None) -> None:
        seen = loop.keys and not loop.manual
        is_early = seen and loop.pending is not None
        loop.manual = True
        if value is not None:
            old = loop.pending or NOTHING
            loop.pending = (None, (value,), *old[2:]) if isinstance(value, Slot) else (value, (), *old[2:])
        if not is_early:  # else the update is still to come, and takes the loss with it
            optimizer.send(self, loop, Kind.AMEND if seen else Kind.OPEN, self.now(), None, None)


def _with_subclasses(cls: type[Any]) -> list[type[Any]]:
    """``cls`` and everything derived from it: a scaler for sharded models has a ``scale`` of its own."""
    return [cls, *(deeper for child in cls.__subclasses__() for deeper in _with_subclasses(child))]


def _nothing() -> None:
    pass


def _no_graph() -> int:
    return -1


_lock = threading.Lock()
_dispatcher: Dispatcher | None = None


def dispatcher() -> Dispatcher:
    """The process's dispatcher."""
    global _dispatcher  # noqa: PLW0603 - one process has one set of hooks
    with _lock:
        if _dispatcher is None:
            _dispatcher = Dispatcher()
            at_fork_in_child(_dispatcher.forget)
        return _dispatcher
