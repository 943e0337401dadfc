"""Wrapper around the ``__next__`` of a ``DataLoader``'s iterator."""

from collections.abc import Callable
from typing import Any

from profiler.torch_hooks.step_detector import StepDetectors


def around_next(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``_BaseDataLoaderIter.__next__``."""
    context, now = detectors.context, detectors.context.now

    def wrap(original: Any) -> Callable[..., Any]:
        def next_batch(iterator: Any) -> Any:
            detector = None if context.emit is None else detectors.current()
            if detector is None or detector.is_loading:
                return original(iterator)
            is_last = False
            detector.is_loading = True
            began_ns = now()
            try:
                return original(iterator)
            except StopIteration:
                is_last = True
                raise
            finally:
                ended_ns = now()
                detector.is_loading = False
                try:
                    detector.on_batch(id(iterator), began_ns, ended_ns, is_last=is_last)
                except Exception as error:  # noqa: BLE001 - the training must not notice
                    context.fail(error)

        return next_batch

    return wrap
