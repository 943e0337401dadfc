"""A run directory that looks like real training: two GPUs, a CPU, set-up, evaluations, checkpoints, a schedule."""

import math
import random

from profiler.storage.schema import SAMPLES, SPANS, STEPS, SampleRow, SpanRow, StepRow
from profiler.storage.writer import RunWriter

_SECOND = 1_000_000_000
_IDLE = {"gpu:0": 62.0, "gpu:1": 58.0, "cpu:package-0": 48.0, "dram:package-0": 9.0}
_BUSY = {"gpu:0": 385.0, "gpu:1": 372.0, "cpu:package-0": 96.0, "dram:package-0": 17.0}
_EVALUATING = {"gpu:0": 260.0, "gpu:1": 255.0, "cpu:package-0": 110.0, "dram:package-0": 14.0}
_SOURCES = {
    "gpu:0": ("NVML total energy", "counter", 0.1, 0.03),
    "gpu:1": ("NVML total energy", "counter", 0.1, 0.03),
    "cpu:package-0": ("powercap intel-rapl:0", "counter", 0.001, 0.01),
    "dram:package-0": ("memory model", "modelled", None, 0.3),
}


class _Log:
    """Writes a run tile by tile, keeping the books in microjoules."""

    def __init__(self, path, called):
        self.writer, self.called = RunWriter(path, _refuse), called
        self.now, self.total, self.modelled = 0, 0, 0
        self.energy = dict.fromkeys(_SOURCES, 0)
        self.noise = random.Random(0)

    def sample(self):
        for name, (_, provenance, *_) in _SOURCES.items():
            row = SampleRow(
                time_seconds=self.now, domain=self.called(name), power_watts=None, energy_joules=self.energy[name],
                provenance=provenance,
            )  # fmt: skip
            self.writer.append(SAMPLES, row)

    def tile(self, seconds, watts, *, looks=1):
        """Spend energy; returns what a row says of it."""
        start, before, modelled = self.now, self.total, self.modelled
        for _ in range(looks):
            length = int(seconds * _SECOND / looks)
            for name, level in watts.items():
                spent = int(level * (1 + self.noise.gauss(0, 0.04)) * length / 1000)
                self.energy[name] += spent
                self.total += spent
                self.modelled += spent if name == "dram:package-0" else 0
            self.now += length
            self.sample()
        return {
            "start_seconds": start, "end_seconds": self.now, "total_joules": self.total - before,
            "modelled_joules": self.modelled - modelled, "cumulative_joules": self.total, "uncertainty_joules": 4.0,
        }  # fmt: skip

    def span(self, kind, seconds, watts, looks):
        self.writer.append(SPANS, SpanRow(kind=kind, **self.tile(seconds, watts, looks=looks)))

    def steps(self, last, count, loss, rate, seconds):
        power = {name: level * (1 + 0.02 * math.sin(last / 900)) for name, level in _BUSY.items()}
        books = self.tile(seconds, power)
        row = StepRow(
            step=last, step_count=count, loss=loss, nonfinite_count=0, backwards=count, learning_rate=rate,
            gpu_joules=None, cpu_joules=None, dram_joules=None, other_joules=None,
            data_seconds=int(seconds * 0.04 * _SECOND), forward_seconds=int(seconds * 0.3 * _SECOND),
            backward_seconds=int(seconds * self.noise.uniform(0.5, 0.58) * _SECOND),
            optimizer_seconds=int(seconds * 0.06 * _SECOND), phase="warm-up" if last <= 800 else "", **books,
        )  # fmt: skip
        self.writer.append(STEPS, row)


def _refuse(reason):
    raise AssertionError(reason)


def law(step):
    """Loss of a language model, in nats."""
    return 2.05 + 6.2 * (step + 40) ** -0.33


def cosine(part):
    """A learning rate that is annealed over about twice the run, after a warm-up."""
    return 6e-4 * min(15 * part, 0.55 + 0.45 * math.cos(math.pi * part / 2.2))


def write(path, *, rows=1500, name="llama-130m on 2 x H100, lr 6e-4", called=str, rate=cosine, **meta):
    """Write the run: a row is eight steps.

    ``called`` renames domains, ``rate`` gives the learning rate after a part of the run, ``meta`` adds to run.json.
    """
    log = _Log(path, called)
    log.writer.open(_meta(name, called) | meta)
    log.sample()
    log.span("setup", 41.0, _IDLE, 30)
    for row in range(1, rows + 1):
        loss = law(8 * row) * math.exp(log.noise.gauss(0, 0.012))
        log.steps(8 * row, 8, loss, rate(row / rows), 0.88)
        if row % (rows // 6) == 0:
            log.span("evaluation", 45.0, _EVALUATING, 30)
            log.span("checkpoint", 12.0, _IDLE, 8)
    log.span("teardown", 6.0, _IDLE, 4)
    log.writer.flush()
    log.writer.close()
    return path


def _meta(name, called):
    domains = [
        {"name": called(domain), "source": source, "provenance": provenance, "billed": True, "parent": None,
         "update_period_seconds": period, "gain_uncertainty": gain, "device": None, "notes": [], "bridged_seconds": 0.0}
        for domain, (source, provenance, period, gain) in _SOURCES.items()
    ]  # fmt: skip
    return {
        "schema_version": "1.0", "name": name, "started_at": "2026-01-02T03:04:05.000+00:00",
        "started_unix_seconds": 1767323045.0, "status": "completed", "rank": 0, "world_size": 1, "attempt": 0,
        "versions": {}, "domains": domains, "missing": [], "totals": {"edge_joules": 9.0},
        "refusals": [
            {"source": "dram", "reason": "this processor has no counter for its memory", "remedy": ""},
            {"source": "perf", "reason": "kernel.perf_event_paranoid is 4",
             "remedy": "sudo sysctl kernel.perf_event_paranoid=0"},
        ],
        "warnings": ["CPU counters are those of the whole socket: 3 other processes were busy on it."],
        "overhead": {"sampler_cpu_seconds": 11.2, "samples": 13000, "longest_read_seconds": 0.0041,
                     "start_seconds": 0.021, "stop_seconds": 0.0011, "bytes_written": 2_400_000},
    }  # fmt: skip
