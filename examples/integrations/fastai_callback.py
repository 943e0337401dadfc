"""Record a fastai training: ``Learner(..., cbs=EnergyProfilerCallback())``.

fastai has optimizers and data loaders of its own, so the callback reports the steps and the validation.
"""

from fastai.callback.core import Callback

from profiler import EnergyProfiler


class EnergyProfilerCallback(Callback):
    """Records each fit, and the validation metrics of each epoch."""

    def __init__(self, **options):
        self.profiler = EnergyProfiler(**options)

    def before_fit(self):
        self.profiler.start()

    def after_step(self):
        self.profiler.step(loss=self.loss.detach())

    def before_validate(self):
        self.validation = self.profiler.phase("evaluation")
        self.validation.__enter__()

    def after_validate(self):
        self.validation.__exit__(None, None, None)

    def after_epoch(self):
        names = self.recorder.metric_names[1:-1]  # without the epoch and the time
        values = dict(zip(names, self.recorder.log[1:], strict=False))
        self.profiler.log(**{name: value for name, value in values.items() if name != "train_loss"})

    def after_fit(self):
        self.profiler.stop()
