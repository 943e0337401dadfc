"""Wrappers around ``torch.autograd.backward`` and ``GradScaler.scale``.

``Tensor.backward`` looks the former up as an attribute of the module, so that one wrapper covers both.
"""

from collections.abc import Callable
from threading import get_ident
from typing import Any
from weakref import ref

from profiler.torch_hooks.losses import MARK
from profiler.torch_hooks.step_detector import NO_PENDING, StepDetectors


def around_backward(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:  # noqa: C901, PLR0915
    """Return the decorator of ``torch.autograd.backward``."""
    context, losses, now = detectors.context, detectors.context.losses, detectors.context.now

    def wrap(original: Any) -> Callable[..., Any]:  # noqa: C901
        # One function, because each call inside it costs a training step 0.25 us; with the parameters of torch,
        # because collecting them in a tuple and a dict costs it 0.5 us.
        def backward(  # noqa: C901, PLR0912 - see above
            tensors: Any,
            grad_tensors: Any = None,
            retain_graph: Any = None,
            create_graph: Any = False,  # noqa: FBT002 - torch's signature
            *more: Any,
            inputs: Any = None,
            **others: Any,
        ) -> Any:
            if more or others:
                further = wrap(_with_further(original, more, others))
                return further(tensors, grad_tensors, retain_graph, create_graph, inputs=inputs)
            detector = detectors.root
            if detector is None or detector.thread_id != get_ident():
                detector = detectors.current()
                if detector is not None and not detector.in_backward and context.emit is not None:
                    detectors.root = detector
            if detector is None or detector.in_backward or context.emit is None:
                return original(tensors, grad_tensors, retain_graph, create_graph, inputs=inputs)
            passes = detector.passes
            pending_losses = NO_PENDING
            try:
                if passes.is_pending:
                    detector.check_gradients(passes, tensors, inputs)
                # The loss is read before the pass, since the training may change it in place afterwards.
                is_plain = type(tensors) is losses.tensor_type and grad_tensors is None
                if is_plain and not losses.has_scaled and tensors.is_cpu:
                    loss = tensors.item()
                elif is_plain and losses.scaled() is tensors and not tensors._version:  # noqa: SLF001 - no public name
                    loss = losses.scaled_loss
                else:
                    loss, pending_losses = detector.read_loss(tensors, grad_tensors)
            except Exception as error:  # noqa: BLE001 - the training must not notice
                loss, pending_losses = None, NO_PENDING
                context.scalars.warn(f"a loss could not be read ({type(error).__name__})")
            detector.in_backward = True
            began_ns = now()
            try:
                result = original(tensors, grad_tensors, retain_graph, create_graph, inputs=inputs)
            except BaseException:
                detector.inner_updates.clear()
                raise
            finally:
                ended_ns = now()
                detector.in_backward = False
            try:
                if passes.is_pending:
                    passes.add(loss, pending_losses, began_ns, ended_ns, detector.ready_ns)
                else:
                    passes.is_pending = True
                    passes.loss, passes.pending_losses, passes.backwards = loss, pending_losses, 1
                    passes.first_ns, passes.last_ns, passes.ready_ns = began_ns, ended_ns, detector.ready_ns
                    passes.paused_ns = passes.inner_ns = 0
                # The last pass of a usual step need not be remembered, because no other follows it: 1 us less per step.
                if passes.backwards < detector.most_passes:
                    detector.remember_gradients(tensors, inputs)
                if detector.inner_updates:
                    detector.end_inner_updates(ended_ns)
            except Exception as error:  # noqa: BLE001 - the training must not notice
                context.fail(error)
            return result

        return backward

    return wrap


def _with_further(original: Any, more: tuple[Any, ...], named: dict[str, Any]) -> Callable[..., Any]:
    """Return ``original`` with further arguments than those that torch passes."""

    def backward(
        tensors: Any, grad_tensors: Any, retain_graph: Any, create_graph: Any, *, inputs: Any = None
    ) -> Any:
        own = {} if inputs is None else {"inputs": inputs}
        return original(tensors, grad_tensors, retain_graph, create_graph, *more, **own, **named)

    return backward


def around_scale(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``GradScaler.scale``, which marks each scaled loss with the loss it was made from."""
    context, losses = detectors.context, detectors.context.losses

    def wrap(original: Any) -> Callable[..., Any]:
        # The usual case is handled here, because each call inside a step costs it 0.25 us.
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            if context.emit is None or result is outputs:
                return result
            try:
                if type(outputs) is losses.tensor_type and outputs.is_cpu and outputs.numel() == 1:
                    node = result.grad_fn
                    if node is not None:
                        losses.has_scaled = True
                        node.metadata[MARK] = outputs, getattr(scaler, "_scale", None)
                        # The backward pass that follows finds the loss without a search.
                        losses.scaled, losses.scaled_loss = ref(result), outputs.item()
                else:
                    losses.mark_scaled(outputs, result, scaler)
            except Exception as error:  # noqa: BLE001 - the training must not notice
                context.fail(error)
            return result

        return scale

    return wrap
