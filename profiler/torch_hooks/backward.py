"""Wrappers around ``torch.autograd.backward`` and ``GradScaler.scale``.

``Tensor.backward`` looks the former up as an attribute of the module, so that one wrapper covers both.
"""

from collections.abc import Callable
from threading import get_ident
from typing import Any

from profiler.torch_hooks.step_detector import StepDetectors


def around_backward(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``torch.autograd.backward``."""
    context = detectors.context

    def wrap(original: Any) -> Callable[..., Any]:
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            detector = detectors.root
            if detector is None or detector.thread_id != get_ident():
                detector = detectors.current()
            if detector is None or detector.in_backward or context.emit is None:
                return original(tensors, *args, **kwargs)
            detectors.root = detector
            return detector.on_backward(original, tensors, args, kwargs)

        return backward

    return wrap


def around_scale(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``GradScaler.scale``, which marks each scaled loss with the loss it was made from."""
    context = detectors.context

    def wrap(original: Any) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            if context.emit is not None and result is not outputs:
                try:
                    context.losses.mark_scaled(outputs, result, getattr(scaler, "_scale", None))
                except Exception as error:  # noqa: BLE001 - the training must not notice
                    context.fail(error)
            return result

        return scale

    return wrap
