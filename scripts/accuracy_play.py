"""Recording of a scene: the real pynvml on the simulated library and a fake clock, and the real recorder."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from accuracy_scenes import Scene

from profiler.analysis.window_energy import row_edges
from profiler.recording.pipeline import Pipeline
from profiler.recording.sampler import DRAIN_SECONDS
from profiler.recording.sampling_interval import SamplingInterval
from profiler.records import Domain, Reading
from profiler.sensors.environment import Environment
from profiler.sensors.nvml import open_nvml
from profiler.storage.schema import SAMPLES, SPANS, STEPS, Columns, SampleRow, SpanRow, StepRow, Table
from profiler.testing.clock import FakeClock
from profiler.torch_hooks.events import StepEvent
from tests.support.pipelines import build_pipeline, rows_of
from tests.support.simulated_nvml import SimulatedGpu, simulated_nvml, write_script

SECOND = 1_000_000_000
PRE_ROLL_SECONDS = 0.15
SETTLE_SECONDS = 0.3
PRE_ROLL_PERIOD = 0.005
READ_SECONDS = 50e-6
LATENESS_SECONDS = 0.002
"""Maximum delay of a thread's wake-up."""


class MemoryWriter:
    """Keeps the recorder's rows in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {}

    def append(self, table: Table, row: Any) -> None:
        """Append a row."""
        self.rows.setdefault(table.filename, []).append(row)

    def append_columns(self, table: Table, columns: Columns) -> None:
        """Append rows of steps."""
        self.rows.setdefault(table.filename, []).extend(rows_of(columns))

    def when_written(self, action: Callable[[], None]) -> None:
        """Call the action now."""
        action()

    def flush(self) -> None:
        """Do nothing."""


@dataclass(slots=True, kw_only=True)
class Played:
    """Result of a recording, with the true energies.

    Attributes:
        scene: The recorded scene.
        domain: Domain of the GPU.
        recorder: The finished recorder.
        start: Start of the window in seconds of the waveform.
        end: End of the window in seconds of the waveform.
        steps: Rows of the steps.
        spans: Rows of the spans between them.
        samples: Rows of the samples.
        readings: Every reading as (seconds of the waveform, joules, watts).
    """

    scene: Scene
    domain: Domain
    recorder: Pipeline
    start: float
    end: float
    steps: list[StepRow]
    spans: list[SpanRow]
    samples: list[SampleRow]
    readings: list[tuple[float, float | None, float | None]] = field(default_factory=list)

    @property
    def joules(self) -> float:
        """Recorded energy of the window, in joules."""
        totals = self.recorder.totals
        return (totals.step_microjoules + totals.span_microjoules) / 1e6

    def truth(self, start: float, end: float) -> float:
        """Return the true joules between two times of the waveform."""
        return self.scene.waveform.joules(end) - self.scene.waveform.joules(start)

    def edges(self) -> tuple[Any, Any]:
        """Return the ends of the rows and the cumulative energies, as the reader uses them."""
        tables = [
            pd.DataFrame(
                [(row.end_seconds / 1e9, row.cumulative_joules / 1e6) for row in rows],
                columns=["end_seconds", "cumulative_joules"],
            )
            for rows in (self.steps, self.spans)
        ]
        return row_edges(*tables)

    def frame(self) -> pd.DataFrame:
        """Return the samples as the reader does."""
        return pd.DataFrame(
            {
                "time_seconds": [row.time_seconds / 1e9 for row in self.samples],
                "domain": [row.domain for row in self.samples],
                "energy_joules": [row.energy_joules / 1e6 for row in self.samples],
            }
        )


class Stage:
    """Records scenes with one build of the simulated library.

    Args:
        library: Result of ``build_library``.
        folder: Folder for the scripts.
    """

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = library
        self._script = folder / "gpus.txt"

    @contextmanager
    def sensor(self, gpu: SimulatedGpu, clock: FakeClock, lead_seconds: float) -> Iterator[Any]:
        """Open the GPU; its waveform started ``lead_seconds`` ago."""
        write_script(self._script, [gpu], epoch_ns=clock.now_ns() - round(lead_seconds * SECOND))
        with simulated_nvml(self._library, self._script, clock=clock):
            environment = Environment(
                environ={}, powercap_root=Path("/nowhere"), system_root=Path("/nowhere"), clock=clock
            )
            (sensor,) = open_nvml(environment).sensors
            yield sensor
            sensor.close()

    def play(self, scene: Scene, gpu: SimulatedGpu, *, seconds: float, seed: int) -> Played:
        """Record ``seconds`` of a scene from a random time in its first second."""
        draw = random.Random(seed)  # noqa: S311 - not for secrets
        clock = FakeClock(start_ns=1_000 * SECOND + draw.randrange(SECOND))
        with self.sensor(gpu, clock, lead_seconds=1 + draw.random()) as sensor:
            return Performance(scene, sensor, clock, draw, lead=self._epoch_ns()).record(seconds)

    def _epoch_ns(self) -> int:
        return next(
            int(line.split()[1]) for line in self._script.read_text().splitlines() if line.startswith("epoch")
        )


class Performance:
    """A recording in progress: the sampler's schedule on a fake clock."""

    def __init__(self, scene: Scene, sensor: Any, clock: FakeClock, draw: random.Random, lead: int) -> None:
        self.scene, self.sensor, self.clock, self.draw, self.epoch_ns = scene, sensor, clock, draw, lead
        self.writer = MemoryWriter()
        self.recorder, self.inbox, *_ = build_pipeline(sensor.domains, self.writer)
        self.meters = self.recorder.meters
        self.interval = SamplingInterval()
        self.readings: list[tuple[float, float | None, float | None]] = []

    @property
    def now(self) -> float:
        """Present time in seconds of the waveform."""
        return (self.clock.now_ns() - self.epoch_ns) / SECOND

    def read(self) -> None:
        """Read the sensor once."""
        readings: list[Reading] = list(self.sensor.read())
        self.readings += [
            ((r.time_ns - self.epoch_ns) / SECOND, r.energy_joules, r.power_watts) for r in readings
        ]
        self.recorder.add(readings)

    def record(self, seconds: float) -> Played:
        """Record like a session: readings before the window, the window, and readings after it."""
        seconds *= 1 + self.draw.random() / 10
        self._read_until(self.meters.have_moved, PRE_ROLL_SECONDS)
        start_ns = self.clock.now_ns()
        start = self.now
        self.recorder.begin(start_ns)
        end_ns = start_ns + round(seconds * SECOND)
        self._run(start, end_ns)
        self.clock.advance((end_ns - self.clock.now_ns()) / SECOND)
        self.meters.close(end_ns)
        self._read_until(lambda: self.meters.have_settled(end_ns), SETTLE_SECONDS)
        self._send_steps(start, start + seconds)
        self.recorder.finish(end_ns)
        rows = self.writer.rows
        return Played(
            scene=self.scene, domain=self.sensor.domains[0], recorder=self.recorder, start=start,
            end=start + seconds, steps=rows.get(STEPS.filename, []), spans=rows.get(SPANS.filename, []),
            samples=rows.get(SAMPLES.filename, []),
            readings=self.readings,
        )  # fmt: skip

    def _read_until(self, done: Any, limit_seconds: float) -> None:
        deadline = self.clock.now_ns() + round(limit_seconds * SECOND)
        self.read()
        while not done() and self.clock.now_ns() < deadline:
            self.clock.advance(PRE_ROLL_PERIOD + self._late())
            self.read()

    def _late(self) -> float:
        return self.draw.random() * LATENESS_SECONDS

    def _run(self, start: float, end_ns: int) -> None:
        self._edges = iter(self.scene.edges)
        self._next_edge = next(self._edges, None)
        due = drain_due = self.clock.now_ns()
        while self.clock.now_ns() < end_ns:
            self.read()
            if self.clock.now_ns() >= drain_due:
                self._send_steps(start, self.now)
                self.recorder.drain(self.clock.now_ns())
                drain_due = self.clock.now_ns() + round(DRAIN_SECONDS * SECOND)
            due += round(self.period() * SECOND)
            late = round(self._late() * SECOND)
            self.clock.advance(
                min(max(due - self.clock.now_ns(), 0) + late, end_ns - self.clock.now_ns()) / SECOND
            )

    def period(self) -> float:
        """Return the seconds until the next reading."""
        self.interval.adapt(self.meters.polling_periods(), READ_SECONDS)
        return self.interval.next_seconds()

    @staticmethod
    def _step(end_ns: int) -> StepEvent:
        return StepEvent(
            kind=0, end_ns=end_ns, loss=1.0, pending_losses=(), backwards=1, first_backward_ns=end_ns, backward_ns=0,
            optimizer_ns=0, learning_rate=0.1, skipped=None,
        )  # fmt: skip

    def _send_steps(self, start: float, until: float) -> None:
        while self._next_edge is not None and self._next_edge <= until:
            if self._next_edge > start:
                end = self.epoch_ns + round(self._next_edge * SECOND)
                self.inbox.events.append(self._step(end))
            self._next_edge = next(self._edges, None)
