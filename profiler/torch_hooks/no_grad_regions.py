"""Forward passes without gradients between two steps: evaluations, rollouts and generation that use no data loader.

A region is an outermost ``torch.no_grad`` or ``torch.inference_mode``. A forward pass in one is an evaluation

E1  if the module is trained and in ``eval()`` mode, or
E2  if the last steps had no such forward pass before them, or
E3  if it is the fourth region with a forward pass of a trained module before this step, as in a rollout.

Others are part of the training step, such as the pass of a teacher or of a target network in every step. The evaluation
extends from the start of its first region to the end of the last one before the next step.

A global hook sees the first module that is called in a region. It exists inside such regions only, until it was called.
Programs that use ``torch.compile`` are not given one, because their compiled modules would warn about it: there, a
region is an evaluation if ``Module.eval`` was called on a trained module since the last step.
"""

import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

_QUIET_STEPS = 4
_ROLLOUT_REGIONS = 4


class NoGradRegions:
    """Regions without gradients of one thread.

    Args:
        is_trained: Returns whether a module has a parameter that is trained.
        start: Called with the time at which an evaluation began.
        fail: Called with an error of the global hook, which must not raise into the training.

    Attributes:
        guard: Guard of the region that is open; None outside.
    """

    def __init__(
        self,
        is_trained: Callable[[Any], bool],
        start: Callable[[int], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._is_trained, self._start, self._fail = is_trained, start, fail
        self._thread = get_ident()
        self._trained: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._handle: Any = None
        self.guard: Any = None
        self._began_ns = self._first_ns = 0
        self._has_forward = False
        self._step = -1  # number of steps before the present gap between two steps
        self._forward_step = 0  # the same for the last gap with a forward pass
        self._regions = 0  # with a forward pass of a trained module, in this gap
        self._is_evaluating = False
        self._eval_step = -1  # gap in which a trained module was put into eval mode

    def enter(self, guard: Any, step: int, now_ns: int) -> None:
        """Account for the start of a region, unless it is inside another."""
        if self.guard is not None:
            return
        self.guard, self._began_ns, self._has_forward = guard, now_ns, False
        if step != self._step:
            self._step, self._regions, self._is_evaluating, self._first_ns = step, 0, False, now_ns
        if self._is_evaluating:
            self._has_forward = True
        elif uses_compiler():
            if self._eval_step == step:
                self._begin()
        else:
            register = sys.modules["torch.nn.modules.module"].register_module_forward_pre_hook
            self._handle = register(self._before_forward)

    def exit(self, guard: Any) -> bool:
        """Account for the end of a region; return whether an evaluation extends to it."""
        if guard is not self.guard:
            return False
        self.remove_hook()
        self.guard = None
        return self._has_forward and self._is_evaluating

    def on_eval(self, module: Any, step: int) -> None:
        """Account for ``module.eval()``."""
        if self._knows_as_trained(module):
            self._eval_step = step

    def remove_hook(self) -> None:
        """Remove the global hook, if there is one."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.remove()

    def forget_modules(self) -> None:
        """Ask again which modules are trained."""
        self._trained.clear()

    def _before_forward(self, module: Any, args: Any) -> None:  # noqa: ARG002 - torch's signature
        if get_ident() != self._thread:
            return
        try:
            self._on_forward(module)
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._fail(error)

    def _on_forward(self, module: Any) -> None:
        self.remove_hook()
        self._has_forward = True
        is_unusual = self._step - self._forward_step >= _QUIET_STEPS
        is_trained = self._knows_as_trained(module)
        if not self._regions:
            self._first_ns = self._began_ns
        self._regions += is_trained
        self._forward_step = self._step
        is_evaluation = is_trained and not module.training
        if is_evaluation or is_unusual or self._regions >= _ROLLOUT_REGIONS:
            self._begin()

    def _begin(self) -> None:
        self._is_evaluating = self._has_forward = True
        self._start(self._first_ns if self._regions else self._began_ns)

    def _knows_as_trained(self, module: Any) -> bool:
        found = self._trained.get(module)
        if found is None:
            found = self._trained[module] = self._is_trained(module)
        return found


def uses_compiler() -> bool:
    """Return whether the program has used ``torch.compile``; True where that cannot be known."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    if frames is None:
        return False
    backends = getattr(frames, "cached_backends", None)
    return backends is None or any(one is not None for one in tuple(backends.values()))
