"""Record a Keras training: ``model.fit(..., callbacks=[EnergyProfilerCallback()])``."""

import keras

from profiler import EnergyProfiler


class EnergyProfilerCallback(keras.callbacks.Callback):
    """Records each fit, and the metrics that Keras computes at the end of each epoch."""

    def __init__(self, **options):
        super().__init__()
        self.profiler = EnergyProfiler(**options)

    def on_train_begin(self, logs=None):
        self.profiler.start()

    def on_train_batch_end(self, batch, logs=None):
        if keras.config.backend() != "torch":  # on torch, steps and losses are recorded without this
            self.profiler.step(loss=(logs or {}).get("loss"))

    def on_epoch_end(self, epoch, logs=None):
        self.profiler.log(**{name: value for name, value in (logs or {}).items() if name != "loss"})

    def on_train_end(self, logs=None):
        self.profiler.stop()
