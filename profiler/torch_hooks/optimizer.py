"""Hook after every optimizer step, and wrapper around ``GradScaler.step``."""

from collections.abc import Callable
from threading import get_ident
from typing import Any

from profiler.torch_hooks.step_detector import StepDetectors


def after_step(detectors: StepDetectors) -> Callable[[Any, Any, Any], None]:
    """Return the post hook of optimizer steps."""
    context, now = detectors.context, detectors.context.now

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG001 - torch's signature
        ended_ns = now()
        if context.emit is None:
            return
        detector = detectors.root
        if detector is None or detector.thread_id != get_ident():
            detector = detectors.current()
        try:
            if detector is not None:
                detector.on_optimizer_step(optimizer, ended_ns)
            elif detectors.root is not None:  # on a thread of autograd, inside the backward pass of another
                detectors.root.defer_update(optimizer)
        except Exception as error:  # noqa: BLE001 - the training must not notice
            context.fail(error)

    return after


def around_scaler_step(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``GradScaler.step``, which reports skipped updates."""
    context = detectors.context

    def wrap(original: Any) -> Callable[..., Any]:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            detector = detectors.root
            if detector is None or detector.thread_id != get_ident():
                detector = detectors.current()
            before = detector.updates if detector is not None else 0
            result = original(scaler, optimizer, *args, **kwargs)
            if detector is not None and detector.updates == before and result is None:
                try:
                    detector.skip_update(optimizer)
                except Exception as error:  # noqa: BLE001 - the training must not notice
                    context.fail(error)
            return result

        return step

    return wrap
