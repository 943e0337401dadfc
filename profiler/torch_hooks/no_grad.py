"""Wrappers around ``torch.no_grad``, ``torch.inference_mode`` and ``Module.eval``."""

from collections.abc import Callable
from threading import get_ident
from typing import Any

from profiler.torch_hooks.step_detector import StepDetectors


def around_enter(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``__enter__``."""
    context = detectors.context

    def wrap(original: Any) -> Callable[..., Any]:
        def enter(guard: Any) -> Any:
            result = original(guard)
            detector = detectors.root
            # Optimizers and gradient scalers open a region in each step, between its backward passes and its end.
            if detector is None or (detector.passes.is_pending and not detector.is_inferring):
                return result
            if context.emit is None or detector.thread_id != get_ident():
                return result
            if getattr(guard, "mode", True):  # of torch.inference_mode(False)
                detector.enter_no_grad(guard)
            return result

        return enter

    return wrap


def around_exit(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``__exit__``."""

    def wrap(original: Any) -> Callable[..., Any]:
        def leave(guard: Any, *error: Any) -> Any:
            detector = detectors.root
            if detector is not None and detector.regions.guard is guard and detector.thread_id == get_ident():
                detector.exit_no_grad(guard)
            return original(guard, *error)

        return leave

    return wrap


def around_eval(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``Module.eval``."""

    def wrap(original: Any) -> Callable[..., Any]:
        def eval_mode(module: Any) -> Any:
            detector = detectors.root
            if detector is not None and detector.thread_id == get_ident():
                detector.on_eval(module)
            return original(module)

        return eval_mode

    return wrap
