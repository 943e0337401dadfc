"""Unscaled losses of backward passes.

The loss of a step is the sum of the unscaled scalars whose gradients entered the update: the objective that the step
descends. ``GradScaler.scale`` therefore marks the scaled loss's node of the graph with the loss, and with the scale for
losses that are changed after scaling.
"""

from typing import TYPE_CHECKING, Any

from profiler.torch_hooks.async_scalars import ScalarReader
from profiler.torch_hooks.events import PendingScalar

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "_energy_profiler_unscaled"
_NOTHING: dict[str, Any] = {}
_MAX_NODES = 64
"""Depth of the search for a scaled tensor behind a loss."""


def _none() -> None:
    """Weak reference to nothing."""


class LossReader:
    """Reader of the losses on which ``backward`` is called.

    Attributes:
        tensor_type: ``torch.Tensor``; None until torch is imported.
        has_scaled: Whether a gradient scaler has been seen, so that losses may be scaled.
        scaled: Weak reference to the last result of a gradient scaler whose loss could be read at once.
        scaled_loss: That loss.
    """

    __slots__ = ("_scalars", "has_scaled", "scaled", "scaled_loss", "tensor_type")

    def __init__(self, scalars: ScalarReader) -> None:
        self._scalars = scalars
        self.tensor_type: Any = None
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self.has_scaled = False
        self.scaled: Callable[[], Any] = _none
        self.scaled_loss: float | None = None

    def read(self, tensors: Any, gradients: Any) -> tuple[float | None, tuple[PendingScalar, ...]]:
        """Return the sum of the losses known on the host, and the losses still on their way from a device."""
        listed = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
        weights = list(gradients) if isinstance(gradients, (list, tuple)) else [gradients] * len(listed)
        values = [
            self._scalars.read(_weighted(self.unscaled(tensor), weight))
            for tensor, weight in zip(listed, weights, strict=False)
        ]
        known = [value for value in values if type(value) is float]
        return (sum(known) if known else None), tuple(v for v in values if isinstance(v, PendingScalar))

    def unscaled(self, tensor: Any) -> Any:
        """Return the loss that a gradient scaler made ``tensor`` from, or ``tensor`` itself."""
        if not self.has_scaled:
            return tensor
        nodes = [getattr(tensor, "grad_fn", None)]
        for node in nodes:
            found = getattr(node, "metadata", _NOTHING).get(MARK)
            if found is not None:
                loss, scale = found
                if node is nodes[0]:
                    return loss
                return (
                    tensor if scale is None else tensor.detach() / scale.to(tensor.device, non_blocking=True)
                )
            if node is not None and len(nodes) < _MAX_NODES:
                nodes += [following for following, _ in node.next_functions]
        return tensor

    def mark_scaled(self, outputs: Any, scaled: Any, scaler: Any) -> None:
        """Mark the result of ``scaler.scale(outputs)``."""
        if isinstance(outputs, (list, tuple)):
            for loss, result in zip(outputs, scaled, strict=False):
                self.mark_scaled(loss, result, scaler)
        elif isinstance(outputs, self.tensor_type) and scaled is not outputs:
            node = scaled.grad_fn
            if node is not None:
                self.has_scaled = True
                node.metadata[MARK] = outputs, getattr(scaler, "_scale", None)


def _weighted(loss: Any, gradient: Any) -> Any:
    """Return the loss times the gradient passed to ``backward``: the step descends that multiple."""
    is_weighted = gradient is not None and gradient.numel() == loss.numel() == 1
    return loss.detach() * gradient.detach().reshape(loss.shape) if is_weighted else loss
