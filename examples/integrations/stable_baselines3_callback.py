"""Record a training of stable-baselines3: ``model.learn(10_000, callback=EnergyProfilerCallback())``.

The loss of a policy gradient does not measure progress; the mean return of the last episodes does.
"""

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from profiler import EnergyProfiler


class EnergyProfilerCallback(BaseCallback):
    """Records each call of ``learn`` with the mean reward of its last episodes (``ep_rew_mean``)."""

    def __init__(self, **options):
        super().__init__()
        self.profiler = EnergyProfiler(**options)

    def _on_training_start(self):
        self.profiler.start()

    def _on_step(self):
        return not self.profiler.should_stop

    def _on_rollout_end(self):
        if self.model.ep_info_buffer:
            self.profiler.log(reward=np.mean([episode["r"] for episode in self.model.ep_info_buffer]))

    def _on_training_end(self):
        self.profiler.stop()
