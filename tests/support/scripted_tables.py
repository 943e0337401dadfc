"""Runs in memory whose rows are given one by one, at known power."""

import math

import pandas as pd

from profiler import load_run
from profiler.storage.reader import StoredRun, Tables
from profiler.storage.schema import SPANS, STEPS
from tests.support.runs import write_run

WATTS, SECONDS = 400.0, 0.25
"""Power of the scripted runs and duration of a step."""


class Script:
    """A run of rows given one by one, at constant power."""

    def __init__(self, path, watts=WATTS):
        self.meta = dict(load_run(write_run(path, steps=2)).meta)
        self.path, self.watts, self.time, self.joules = path, watts, 0.0, 0.0
        self.steps, self.spans = [], []

    def row(self, seconds, watts=None):
        start, used = self.time, seconds * (watts or self.watts)
        self.time, self.joules = start + seconds, self.joules + used
        return {
            "start_seconds": start, "end_seconds": self.time, "total_joules": used, "modelled_joules": 0.0,
            "cumulative_joules": self.joules, "uncertainty_joules": 0.0,
        }  # fmt: skip

    def span(self, kind, seconds, watts=None):
        self.spans.append({**self.row(seconds, watts), "kind": kind})
        return self

    def step(self, loss, seconds=SECONDS, data=math.nan, training=0, watts=None):
        number = len(self.steps) + 1
        strange = loss is not None and not math.isfinite(loss)
        row = self.row(seconds, watts)
        self.steps.append({
            **row, "step": number, "step_count": 1, "loss": loss, "nonfinite_count": int(strange),
            "backwards": 1, "learning_rate": 0.001, "data_seconds": data, "forward_seconds": math.nan,
            "backward_seconds": math.nan, "optimizer_seconds": math.nan, "phase": "", "training": training,
            "gpu_joules": row["total_joules"], "cpu_joules": math.nan, "dram_joules": math.nan,
            "other_joules": math.nan,
        })  # fmt: skip
        return self

    def run(self, samples=None):
        domain = {**self.meta["domains"][0], "gain_uncertainty": 0.02}
        kept = samples if samples is not None else self.samples()
        tables = Tables(
            steps=pd.DataFrame(self.steps, columns=STEPS.columns),
            spans=pd.DataFrame(self.spans, columns=SPANS.columns),
            samples=kept,
            metrics=pd.DataFrame({"name": [], "value": [], "cumulative_joules": [], "step": [], "time_seconds": []}),
        )  # fmt: skip
        meta = {**self.meta, "domains": [domain], "totals": None}
        return StoredRun(self.path, meta, tables=tables)

    def samples(self):
        ends = sorted([(row["end_seconds"], row["cumulative_joules"]) for row in self.steps + self.spans])
        times, energies = zip((0.0, 0.0), *ends, strict=True)
        return pd.DataFrame({
            "time_seconds": times, "domain": "gpu:0", "power_watts": self.watts, "energy_joules": energies,
            "provenance": "counter",
        })  # fmt: skip
