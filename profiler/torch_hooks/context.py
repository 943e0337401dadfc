"""State that the hooks of all threads share."""

import gc
import sys
import time
from typing import TYPE_CHECKING, Any

from profiler.torch_hooks.cuda_events import DeviceEvents
from profiler.torch_hooks.environments import EnvironmentWatch
from profiler.torch_hooks.trainings import Trainings

if TYPE_CHECKING:
    from collections.abc import Callable

    from profiler.torch_hooks.async_scalars import ScalarReader
    from profiler.torch_hooks.events import Sink
    from profiler.torch_hooks.losses import LossReader


class HookContext:
    """Output and readers of the hooks.

    The hooks run inside training steps. Each may cost a few microseconds and must not synchronize a device, and an
    error of its own ends the hooks, not the training.

    Attributes:
        emit: Receiver of each event; None while no sink is attached and after a failure.
        failure: Error that ended the hooks; None if there was none.
        inferred_steps: Number of steps inferred from backward passes, because no optimizer was seen.
        scalars: Reader of scalar tensors, with the warnings of this recording.
        losses: Reader of the losses of backward passes.
        trainings: Trainings of all threads.
        environments: Watch for environments of reinforcement learning that are stepped between updates.
        devices: Devices of the parameters of all known optimizers: ``cpu``, ``cuda:0``, ...
        device_events: Events of the first thread that trains on a CUDA device.
        cuda: ``torch.cuda``; None until torch is imported.
        now: Monotonic clock of the hooks, in nanoseconds.
        are_gradients_enabled: ``torch.is_grad_enabled``.
    """

    # The hooks find the processor's caches full of the training's data, so they should touch little memory.
    __slots__ = (
        "are_gradients_enabled",
        "cuda",
        "device_events",
        "devices",
        "emit",
        "environments",
        "failure",
        "inferred_steps",
        "losses",
        "now",
        "scalars",
        "trainings",
    )

    def __init__(self, scalars: "ScalarReader", losses: "LossReader") -> None:
        self.emit: Sink | None = None
        self.failure: str | None = None
        self.inferred_steps = 0
        self.scalars = scalars
        self.losses = losses
        self.trainings = Trainings()
        self.environments = EnvironmentWatch()
        self.devices: set[str] = set()
        self.device_events: DeviceEvents | None = None
        self.cuda: Any = None
        self.now = time.monotonic_ns
        self.are_gradients_enabled: Callable[[], bool] = bool

    def reset(self) -> None:
        """Start a new recording."""
        self.failure = None
        self.inferred_steps = 0
        self.scalars.warnings.clear()
        self.losses.reset()
        self.trainings.reset()
        self.environments.reset()
        self.devices.clear()
        self.device_events = None

    def use(self, torch: Any) -> None:
        """Read tensors of ``torch`` from now on."""
        self.losses.tensor_type = torch.Tensor
        self.cuda = torch.cuda
        self.are_gradients_enabled = torch.is_grad_enabled

    def fail(self, error: Exception) -> None:
        """End the hooks after an error of their own."""
        self.failure = f"{type(error).__name__}: {error}"
        self.emit = None

    def watch_environments(self) -> None:
        """Watch for steps of environments from now on, because an update was made. Never raises."""
        try:
            self.environments.start()
        except Exception as error:  # noqa: BLE001 - classes of other libraries may raise anything
            self.scalars.warn(
                f"steps of environments cannot be seen ({type(error).__name__}: {error}): if this is reinforcement "
                "learning, a forecast of its loss is meaningless"
            )

    def add_device(self, device: Any) -> DeviceEvents | None:
        """Note a device that is trained on, and return events for it if it is the first CUDA device."""
        self.devices.add(str(device))
        is_first = device.type == "cuda" and self.device_events is None
        if not is_first or self.cuda.is_current_stream_capturing():
            return None
        self.device_events = DeviceEvents(self.cuda, device, self.scalars.flags(device))
        return self.device_events

    @staticmethod
    def has_optimizer() -> bool:
        """Return whether an optimizer of torch exists in this process. Takes some milliseconds."""
        base = sys.modules["torch.optim.optimizer"].Optimizer
        # torch marks the step of a class at its first instance, in all versions known today.
        is_marked = hasattr(base, "_patch_step_function")
        used = [cls for cls in _subclasses(base) if not is_marked or getattr(cls.step, "hooked", False)]
        return bool(used) and any(
            issubclass(
                type(one), base
            )  # isinstance() runs code of other objects, such as proxies, which may raise
            for one in gc.get_referrers(*used)
        )

    def drop_device_events(self, error: Exception) -> None:
        """Continue without the device's own times after an error in reading them."""
        self.device_events = None
        self.scalars.warn(
            f"the device's own times cannot be read ({type(error).__name__}: {error}): joules may go to the step that "
            "was being launched instead of the one that used them"
        )


def _subclasses(cls: Any) -> list[Any]:
    return [one for child in cls.__subclasses__() for one in (child, *_subclasses(child))]
