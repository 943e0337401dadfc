"""Record a skorch training: ``NeuralNet(..., callbacks=[EnergyProfilerCallback()])``."""

from skorch.callbacks import Callback

from profiler import EnergyProfiler


class EnergyProfilerCallback(Callback):
    """Records each fit; steps and losses are those of the net's torch optimizer."""

    def __init__(self, **options):
        self.options = options

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.profiler = EnergyProfiler(**self.options).start()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        for name in ("valid_loss", "valid_acc"):
            if name in net.history[-1]:
                self.profiler.log(**{name: net.history[-1, name]})

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.profiler.stop()
