"""Optimizer updates: the post hook that every step of every optimizer calls."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from profiler.torch_hooks.cuda_events import DeviceStamps, is_capturing, mark
from profiler.torch_hooks.events import Kind, Slot
from profiler.torch_hooks.step_detector import NOTHING, Loop

if TYPE_CHECKING:
    from profiler.torch_hooks.manager import Dispatcher

_OPEN, _JOIN = int(Kind.OPEN), int(Kind.JOIN)
_CAPTURED = (
    "an update was captured into a CUDA graph, and no hook sees the graph's replays: their steps are missing. Count "
    "them with prof.step(loss=...) after each replay"
)


def after_step(hooks: "Dispatcher") -> Callable[[Any, Any, Any], None]:
    """Make the post hook: a short path for the optimizer of the open step, :func:`update` for every other case."""
    threads, now = hooks.threads, hooks.now

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG001 - torch's signature
        ended = now()
        try:
            emit = hooks.emit
            if emit is None:
                return
            loop = threads.loop
            pending = loop.pending
            group = optimizer.param_groups[0]
            rate = group["lr"]
            if (
                pending is None
                or id(group["params"][0]) != loop.key
                or type(rate) is not float
                or hooks.scaling
            ):
                _unusual(hooks, optimizer, ended)
                return
            loss, slots, backwards, first, spent, last, ready, inner = pending
            loaded = loop.data_ns
            if loaded:
                loop.data_ns = 0
            loop.pending = None
            loop.manual = False
            loop.steps += 1
            emit((
                _OPEN, ended, loss, slots, backwards, first, spent, ended - last, rate, None, loaded, ready, inner,
                None,
            ))  # fmt: skip
        except (AttributeError, IndexError, KeyError):
            _unusual(hooks, optimizer, ended)
        except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
            hooks.fail(error)

    return after


def _unusual(hooks: "Dispatcher", optimizer: Any, ended: int) -> None:
    try:
        loop = hooks.loop()
        if loop is not None and not loop.busy:
            update(hooks, loop, optimizer, ended)
        elif (root := loop or hooks.root) is not None:
            root.inner_updates.append(optimizer)
    except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
        hooks.fail(error)


def update(hooks: "Dispatcher", loop: Loop, optimizer: Any, ended: int) -> None:
    """Take note of one update: decide whether it opens a step, and send it on."""
    loop.updates += 1
    group = optimizer.param_groups[0] if optimizer.param_groups else {}
    key = _key(optimizer)
    owner = loop.owners.get(key)
    if owner is None or owner() is None:
        loop.meet(key, optimizer)
        _note_devices(hooks, loop, optimizer)
    if loop.stamps is not None and is_capturing(hooks, loop):
        hooks.scalars.refuse(_CAPTURED)
        loop.pending = None
        return
    loop.recall()
    loop.batches.end(hooks, loop, loop.pending[3] if loop.pending else ended)
    skipped = hooks.scalars.read(optimizer.found_inf) if "found_inf" in optimizer.__dict__ else None
    if skipped and not isinstance(skipped, Slot):
        loop.skip(key)
        return
    kind = _OPEN if loop.opens(key) else _JOIN
    rate = group.get("lr")
    send(hooks, loop, kind, ended, None if rate is None else hooks.scalars.read(rate), skipped)


def _key(optimizer: Any) -> int:
    """What an optimizer is known by (R1)."""
    parameters = optimizer.param_groups[0].get("params") if optimizer.param_groups else None
    return id(parameters[0]) if parameters else id(optimizer)


def send(  # noqa: PLR0917 - called in each step, where keywords cost
    hooks: "Dispatcher", loop: Loop, kind: int, ended: int, rate: Any, skipped: Any
) -> None:
    """Send an event, a plain tuple in the order of ``StepEvent``, and start collecting afresh."""
    loss, slots, backwards, first, spent, last, ready, inner = loop.pending or NOTHING
    loaded, loop.data_ns, loop.pending = loop.data_ns, 0, None
    loop.steps += kind == _OPEN
    if hooks.emit is not None:
        flag = skipped if isinstance(skipped, Slot) else None
        after = ended - last if backwards else 0
        hooks.emit((
            kind, ended, loss, slots, backwards, first, spent, after, rate, flag, loaded, ready, inner,
            mark(hooks, loop, ended),
        ))  # fmt: skip


def _note_devices(hooks: "Dispatcher", loop: Loop, optimizer: Any) -> None:
    """Remember where an optimizer's parameters live; the first thread to train on a CUDA device gets stamps."""
    devices = {p.device for group in optimizer.param_groups for p in group["params"]}
    hooks.devices.update(map(str, devices))
    fast = next((device for device in devices if device.type == "cuda"), None)
    if fast is not None and hooks.stamps is None and not hooks.cuda.is_current_stream_capturing():
        hooks.stamps = loop.stamps = DeviceStamps(hooks.cuda, fast, hooks.scalars.flags(fast))


def around_scaler_step(hooks: "Dispatcher") -> Callable[[Any], Callable[..., Any]]:
    """Take note when ``GradScaler.step`` makes no update."""

    def wrap(original: Any) -> Callable[..., Any]:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            loop = hooks.loop()
            before = loop.updates if loop is not None else 0
            result = original(scaler, optimizer, *args, **kwargs)
            if loop is not None and loop.updates == before and result is None:
                _skip(hooks, loop, optimizer)
            return result

        return step

    return wrap


def _skip(hooks: "Dispatcher", loop: Loop, optimizer: Any) -> None:
    try:
        loop.skip(_key(optimizer))
    except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
        hooks.fail(error)
