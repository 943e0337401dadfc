"""Record a training of Composer: ``Trainer(..., callbacks=[EnergyProfilerCallback()])``."""

from composer.core import Callback

from profiler import EnergyProfiler


class EnergyProfilerCallback(Callback):
    """Records each fit, and the metrics of each evaluation."""

    def __init__(self, **options):
        self.profiler = EnergyProfiler(**options)

    def fit_start(self, state, logger):
        self.profiler.start()

    def eval_end(self, state, logger):
        for metrics in state.eval_metrics.values():
            self.profiler.log(**{name: metric.compute() for name, metric in metrics.items()})

    def fit_end(self, state, logger):
        self.profiler.stop()
