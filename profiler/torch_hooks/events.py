"""Events that the hooks send to their sinks."""

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Any, NamedTuple


class Kind(IntEnum):
    """The effect of an event on the sequence of steps."""

    OPEN = 0
    """First update of a new step."""
    JOIN = 1
    """Update that belongs to the open step: a second optimizer, a sub-group, a duplicate call of the hook."""
    AMEND = 2
    """No update: a loss passed to ``prof.step`` for the open step."""
    EVALUATE = 3
    """No update: an evaluation begins."""
    TRAIN = 4
    """No update: the evaluation ends."""
    TURN = 5
    """Update that belongs to the open step and has a loss of its own, whose backward pass precedes the first update."""
    FOLLOW = 6
    """Update of another optimizer after backward passes of its own: part of the open step, unless SPLIT follows."""
    SPLIT = 7
    """First update of a new step. The updates since the first FOLLOW of the open step are a step of their own."""


class PendingScalar(int):
    """Number of a scalar whose copy from the device may not have arrived yet; counts from 0."""

    __slots__ = ()


class PendingArray(PendingScalar):
    """One-element array of another library that computes asynchronously, such as JAX; counts down from -2.

    Attributes:
        array: The array; it has ``is_ready()`` and ``item()``.
    """

    array: Any


class EventId(int):
    """Number of a device event recorded at the end of an update; counts from 0."""

    __slots__ = ()


class Expired(Enum):
    """Result of polling a scalar whose memory was reused before it was read."""

    EXPIRED = 0


EXPIRED = Expired.EXPIRED


class StepEvent(NamedTuple):
    """One optimizer update, or another event of a :class:`Kind`.

    Attributes:
        kind: A :class:`Kind`.
        end_ns: Monotonic time at which the update returned.
        loss: Sum of the losses known on the host, or None if there are none.
        pending_losses: Losses that are still being copied from a device.
        backwards: Root backward passes whose gradients entered the update.
        first_backward_ns: Start of the first of them; 0 if there was none.
        backward_ns: Time inside them.
        optimizer_ns: Time from the end of the last of them to ``end_ns``.
        learning_rate: Rate of the parameter group with the most trained elements; None if unknown.
        skipped: Flag on a device that is not zero if the update was skipped; None if it was made.
        data_ns: Time spent waiting for data loaders since the last update; 0 if none was used.
        ready_ns: Time at which the last batch before the first backward pass arrived; 0 if unknown.
        inner_forward_ns: Time between the first and the last backward pass that was not spent loading.
        device_end: Event at the end of the update on an asynchronous device; None if the host waits for the work.
        training: Index of the training, from 0; a disjoint set of parameters starts a new one.
    """

    kind: int
    end_ns: int
    loss: float | None
    pending_losses: tuple[PendingScalar, ...]
    backwards: int
    first_backward_ns: int
    backward_ns: int
    optimizer_ns: int
    learning_rate: float | None
    skipped: PendingScalar | None
    data_ns: int = 0
    ready_ns: int = 0
    inner_forward_ns: int = 0
    device_end: EventId | None = None
    training: int = 0


RepeatedUpdate = tuple[int, float | None, int, int, float, int, int, int, int, int, int]
"""An update that opens a step like the one before, in a loop on the host.

A plain and short tuple, because it is sent per step: a named one costs the training 1.4 us more. Its items are
``end_ns``, ``loss``, ``first_backward_ns``, the end of the last backward pass, ``learning_rate``, ``training``,
``backwards``, the time between the first and the last backward pass outside them, ``inner_forward_ns``, ``data_ns`` and
``ready_ns``, as in :class:`StepEvent`.
"""


def expand(update: RepeatedUpdate) -> StepEvent:
    """Return a repeated update as an event."""
    end_ns, loss, first_ns, last_ns, rate, training, backwards, paused_ns, inner_ns, data_ns, ready_ns = (
        update
    )
    return StepEvent(
        Kind.OPEN, end_ns, loss, (), backwards, first_ns, last_ns - first_ns - paused_ns, end_ns - last_ns, rate, None,
        data_ns, ready_ns, inner_ns, None, training,
    )  # fmt: skip


Sink = Callable[[StepEvent | RepeatedUpdate], object]
