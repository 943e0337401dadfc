"""Wrapper around ``apply`` of the optimizers of Keras 3, which are not torch's.

The step detector sees each of them as an object with the ``param_groups`` of a torch optimizer.
"""

import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from profiler.torch_hooks.step_detector import StepDetectors

_OTHER_BACKEND = (
    "Keras uses the backend {backend}, whose steps the hooks do not see. Record them with a callback that calls "
    "prof.step(loss=...) after each batch, as in examples/integrations/keras_callback.py"
)
_UNKNOWN = "the hooks do not know Keras {version}: its updates are not seen and steps are inferred from backward passes"


class _View:
    """Parameters and learning rate of a Keras optimizer in the form of a torch optimizer's."""

    def __init__(self, optimizer: Any) -> None:
        self.calls = 0
        self.param_groups = [
            {"params": [variable.value for variable in optimizer._trainable_variables], "lr": None}  # noqa: SLF001 - no public name
        ]

    def update_rate(self, variable: Any, read: Callable[[Any], Any]) -> None:
        """Read the learning rate: a float where it is on the host, else the tensor."""
        tensor = getattr(variable, "value", variable)
        is_readable = not hasattr(tensor, "is_cpu") or tensor.is_cpu
        self.param_groups[0]["lr"] = read(tensor) if is_readable else tensor


def optimizer_class(keras: Any, warn: Callable[[str], None]) -> Any:
    """Return the class of Keras that defines ``apply``; None with a warning where its updates cannot be seen."""
    try:
        backend = keras.config.backend()
        owner = next(cls for cls in keras.optimizers.Optimizer.__mro__ if "apply" in cls.__dict__)
    except (AttributeError, StopIteration):
        warn(_UNKNOWN.format(version=getattr(keras, "__version__", "of this version")))
        return None
    if backend != "torch":
        warn(_OTHER_BACKEND.format(backend=backend))
        return None
    return owner


def around_apply(detectors: StepDetectors) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator of ``Optimizer.apply``."""
    context, now = detectors.context, detectors.context.now
    views: WeakKeyDictionary[Any, _View] = WeakKeyDictionary()  # no view refers to its optimizer

    def note(optimizer: Any, ended_ns: int) -> None:
        view = views.get(optimizer)
        if view is None:
            view = views[optimizer] = _View(optimizer)
        view.calls += 1
        detector = detectors.current()
        if detector is None:
            return
        detector.end_inference()
        if view.calls % (optimizer.gradient_accumulation_steps or 1) == 0:
            view.update_rate(optimizer.learning_rate, context.scalars.read)
            detector.on_optimizer_step(view, ended_ns)

    def wrap(original: Any) -> Callable[..., Any]:
        def apply(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(optimizer, *args, **kwargs)
            if context.emit is not None:
                try:
                    note(optimizer, now())
                except Exception as error:  # noqa: BLE001 - the training must not notice
                    context.fail(error)
            return result

        return apply

    return wrap


def imported_keras() -> Any:
    """Return Keras if the training has imported it, and torch with it; else None."""
    return sys.modules.get("keras") if sys.modules.get("torch") is not None else None
