"""What the hooks tell a profiler."""

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import NamedTuple, Self


class Kind(IntEnum):
    """What an event means for the count of steps."""

    OPEN = 0
    """The first update of a new step."""
    JOIN = 1
    """An update that belongs to the open step: a second optimizer, a sub-group, a double fire."""
    AMEND = 2
    """No update: a loss handed over for the open step."""
    EVALUATE = 3
    """No update: batches began to be loaded that nothing is trained on."""
    TRAIN = 4
    """No update: the end of that."""


class Slot(int):
    """A scalar still on its way from a device: its number among all that were sent, from 0."""

    __slots__ = ()


class Lost(Enum):
    """What is found in place of a scalar that was not read before its memory was used anew."""

    LOST = 0


LOST = Lost.LOST


class Stamp(int):
    """The end of an update on a device, still on its way."""

    __slots__ = ()


class StepEvent(NamedTuple):
    """One optimizer update, or one of the few other things of a :class:`Kind`.

    The hooks send it as a plain tuple in this order, which is cheaper to make.

    Attributes:
        kind: A :class:`Kind`.
        end_ns: Monotonic time at which the update returned.
        loss: Sum of the losses known on the host, or None when none was seen there.
        slots: Losses still on their way.
        backwards: Root backward passes whose gradients entered the update.
        first_backward_ns: When the first of them began; 0 when there was none.
        backward_ns: Time inside them.
        optimizer_ns: From the end of the last of them to ``end_ns``.
        learning_rate: Of the first parameter group; None when unknown.
        skipped: A flag on its way from a device that is not zero when the update was skipped; None when it was made.
        data_ns: Time in which data loaders were waited for since the last update; 0 where none was used.
        ready_ns: When the last batch before the first backward pass was there; 0 when unknown.
        inner_forward_ns: Time between the first and the last backward pass that was not spent loading.
        stamp: The end on a device that runs behind the host; None where the host waits for the work itself.
    """

    kind: int
    end_ns: int
    loss: float | None
    slots: tuple[Slot, ...]
    backwards: int
    first_backward_ns: int
    backward_ns: int
    optimizer_ns: int
    learning_rate: float | None
    skipped: Slot | None
    data_ns: int = 0
    ready_ns: int = 0
    inner_forward_ns: int = 0
    stamp: Stamp | None = None

    @classmethod
    def of(cls, raw: tuple[object, ...]) -> Self:
        """Name the parts of what the hooks sent, which may leave out those that have a default."""
        if len(raw) == len(cls._fields):
            return tuple.__new__(cls, raw)
        return cls(*raw)  # type: ignore[arg-type] # they send them in this order


Sink = Callable[[tuple[object, ...]], object]
