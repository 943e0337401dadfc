"""Losses: a wrapper around ``torch.autograd.backward``, which ``Tensor.backward`` calls by attribute.

The loss of a step is the sum of the unscaled scalars whose gradients entered the update: the objective that the
step descends.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from profiler.torch_hooks import cuda_events, optimizer
from profiler.torch_hooks.events import Slot
from profiler.torch_hooks.step_detector import Loop

if TYPE_CHECKING:
    from profiler.torch_hooks.manager import Dispatcher

_NO_SLOTS: tuple[Slot, ...] = ()
_UNSCALED = "_energy_profiler_unscaled"
"""What is left on a scaled loss: the loss itself on the tensor, and the factor on its node of the graph."""
_NODES = 64
"""How far behind a loss its scaling is looked for."""


def around(hooks: "Dispatcher") -> Callable[[Any], Callable[..., Any]]:  # noqa: C901 - see below
    """Make the wrapper. Its body is one function because every call inside it would be paid in each step."""
    threads, now, tensor_type = hooks.threads, hooks.now, hooks.tensor

    def wrap(original: Any) -> Callable[..., Any]:  # noqa: C901 - the same
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                loop = threads.loop
            except AttributeError:
                loop = hooks.new_loop()
            if hooks.emit is None or loop is None or loop.busy:
                return original(tensors, *args, **kwargs)
            try:
                if loop.pending is not None:
                    loop.forget_dropped_gradients()
                if (
                    type(tensors) is tensor_type
                    and tensors.is_cpu
                    and not hooks.scaling
                    and (args[0] is None if args else not kwargs)
                ):
                    loss, slots = tensors.item(), _NO_SLOTS
                else:
                    cuda_events.ask(hooks, loop)
                    loss, slots = _losses(hooks, tensors, args[0] if args else kwargs.get("grad_tensors"))
            except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
                loss, slots = (
                    hooks.scalars.refuse(f"a loss could not be read ({type(error).__name__})"),
                    _NO_SLOTS,
                )
            hooks.root = loop
            loop.busy = True
            began = now()
            try:
                result = original(tensors, *args, **kwargs)
            except BaseException:
                loop.inner_updates.clear()
                raise
            finally:
                ended = now()
                loop.busy = False
            try:
                if loop.is_plain and loop.pending is None:
                    loop.pending = (loss, slots, 1, began, ended - began, ended, loop.ready_ns, 0)
                else:
                    loop.add(tensors, loss, slots, began, ended)
                if loop.inner_updates:
                    _end_inner_updates(hooks, loop, ended)
            except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
                hooks.fail(error)
            return result

        return backward

    return wrap


def _losses(hooks: "Dispatcher", tensors: Any, gradients: Any) -> tuple[float | None, tuple[Slot, ...]]:
    listed = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    weights = list(gradients) if isinstance(gradients, (list, tuple)) else [gradients] * len(listed)
    read = [
        hooks.scalars.read(_weighted(_unscaled(hooks, tensor), weight))
        for tensor, weight in zip(listed, weights, strict=False)
    ]
    known = [value for value in read if type(value) is float]
    return (sum(known) if known else None), tuple(value for value in read if isinstance(value, Slot))


def _weighted(loss: Any, gradient: Any) -> Any:
    """A loss handed a gradient of its own descends that multiple of itself."""
    is_weighted = gradient is not None and gradient.numel() == loss.numel() == 1
    return loss.detach() * gradient.detach().reshape(loss.shape) if is_weighted else loss


def _unscaled(hooks: "Dispatcher", tensor: Any) -> Any:
    """The loss that a gradient scaler made ``tensor`` from, or from which it was made after scaling."""
    loss = getattr(tensor, _UNSCALED, None)
    if loss is not None or not hooks.scaling:
        return tensor if loss is None else loss
    nodes = [getattr(tensor, "grad_fn", None)]
    for node in nodes:
        scale = getattr(node, "metadata", {}).get(_UNSCALED)
        if scale is not None:
            return tensor.detach() / scale.to(tensor.device, non_blocking=True)
        if node is not None and len(nodes) < _NODES:
            nodes += [following for following, _ in node.next_functions]
    return tensor


def _end_inner_updates(hooks: "Dispatcher", loop: Loop, ended: int) -> None:
    inner, loop.inner_updates = loop.inner_updates, []
    for one in inner:
        optimizer.update(hooks, loop, one, ended)


def around_scale(hooks: "Dispatcher") -> Callable[[Any], Callable[..., Any]]:
    """Remember, on each tensor that ``GradScaler.scale`` returns, the loss it was made from."""

    def wrap(original: Any) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            if hooks.emit is not None and result is not outputs:
                _mark_all(hooks, outputs, result, getattr(scaler, "_scale", None))
            return result

        return scale

    return wrap


def _mark_all(hooks: "Dispatcher", outputs: Any, result: Any, scale: Any) -> None:
    try:
        several = isinstance(outputs, (list, tuple))
        for loss, scaled in zip(outputs, result, strict=False) if several else ((outputs, result),):
            _mark(hooks, loss, scaled, scale)
    except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
        hooks.fail(error)


def _mark(hooks: "Dispatcher", loss: Any, scaled: Any, scale: Any) -> None:
    if isinstance(loss, hooks.tensor) and scaled is not loss:
        hooks.scaling = True
        setattr(scaled, _UNSCALED, loss.detach())
        if scaled.grad_fn is not None and scale is not None:
            scaled.grad_fn.metadata[_UNSCALED] = scale
