"""Watches a run that goes on: keeps its curve and its numbers, fits now and then, speaks if asked to."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from profiler._compat import write_stderr
from profiler.budget import Goals
from profiler.emissions import Prices
from profiler.forecasting.lr_trace import RateTrace
from profiler.monitoring import metrics
from profiler.monitoring.live_curve import LiveCurve
from profiler.monitoring.live_forecast import Outlook, look
from profiler.records import Progress
from profiler.storage.schema import StepRow
from profiler.units import format_joules, significant

BEAT_SECONDS = 10.0
"""Between two lines, and at least between two fits."""

_FIT_SHARE = 0.001
"""The part of one core that fits may take: one of 60 ms, its backtest included, every minute.

A training on the same two cores was measured to lose twice as long as a fit takes.
"""
_GROWTH = 1.02
"""A curve that has not grown by this factor in joules says what it said before."""
_MEAN_SECONDS = 10.0
_JOIN_SECONDS = 2.0


NOTHING = Progress(seconds=0.0, steps=0, step_joules=0.0, total_joules=0.0, modelled_joules=0.0, watts={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known at one moment; replaced as a whole, so that any thread may read it."""

    now: Progress
    before: Progress
    level: float | None


class LiveView:
    """What is known of one recording while it goes on.

    Args:
        rates: Accumulates the learning rate.
        speaks: Whether to write a line every ten seconds.
        goals: What is asked of the run.
        prices: What its energy costs.
        alarm: Called once, with a sentence, when the budget is used or the target out of reach.
        beat_seconds: Time between lines.

    Attributes:
        curve: The loss against joules.
        speaks: Whether it writes a line now and then.
        earlier_joules: What the runs took that this one goes on from: the energy budget is that of all of them.
        should_stop: Whether the budget is used or the target out of reach.
    """

    def __init__(
        self,
        *,
        rates: RateTrace,
        speaks: bool,
        goals: Goals,
        prices: Prices,
        alarm: Callable[[str], None],
        beat_seconds: float | None = None,
    ) -> None:
        self.curve = LiveCurve(rates)
        self.should_stop = False
        self.speaks = speaks
        self.earlier_joules = 0.0
        self._goals, self._prices, self._alarm = goals, prices, alarm
        self._beat_seconds = beat_seconds or BEAT_SECONDS
        self._wanted = goals != Goals()
        self._past: deque[Progress] = deque()
        self._seen: Seen | None = None
        self._outlook: Outlook | None = None
        self._doubts = 0
        self._fit_due = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # -- any thread -----------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """The numbers by now; the first call asks for forecasts too, which come with the next beat."""
        self._wanted = True
        seen = self._seen
        if seen is None:
            return {}
        return metrics.flat(
            seen.now,
            seen.before,
            level=seen.level,
            outlook=self._outlook,
            goals=self._goals,
            earlier_joules=self.earlier_joules,
            prices=self._prices,
        )

    @property
    def latest(self) -> Progress | None:
        """Where the run stands; None before anything is known."""
        return None if self._seen is None else self._seen.now

    def close(self) -> None:
        """End the thread. A fit under way is waited for, a standard error that nobody reads is not."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    # -- the sampler's thread -------------------------------------------------------------------------------------

    def observe(self, row: StepRow) -> None:
        """Take in a finished row of steps."""
        self.curve.observe(row)

    def advance(self, now: Progress) -> None:
        """Take in where the run stands."""
        past = self._past
        past.append(now)
        while now.seconds - past[0].seconds > _MEAN_SECONDS:
            past.popleft()
        self._seen = Seen(now=now, before=past[0], level=self.curve.level())
        budget = self._goals.energy_budget
        if budget is not None and (now.total_joules or 0.0) + self.earlier_joules >= budget:
            self._trip(f"the energy budget of {format_joules(budget)} is used")
        if (self._wanted or self.speaks) and self._thread is None and not self._ended.is_set():
            self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="energy-profiler-live", daemon=True)
        with suppress(
            RuntimeError
        ):  # some Pythons start no thread while they end, when nobody looks any more
            thread.start()
            self._thread = thread

    # -- its own thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001 - the record goes on without it
            self._say(f"the live view ended ({type(error).__name__}: {error}); the record goes on")

    def _watch(self) -> None:
        from profiler.monitoring import status_line

        before = NOTHING
        while not self._ended.wait(self._beat_seconds):
            self._fit()
            seen = self._seen
            if self.speaks and seen is not None:
                self._say(
                    status_line.text(seen.now, before, level=seen.level, outlook=self._outlook),
                    status_line.lead(),
                )
                before = before if seen.now.total_joules is None else seen.now

    @staticmethod
    def _say(text: str, lead: str = "") -> None:
        write_stderr(f"{lead}energy-profiler: {text}")

    def _fit(self) -> None:
        last, joules = self._outlook, self.curve.bins.last_joules
        if time.monotonic() < self._fit_due or (last and joules < _GROWTH * last.joules):
            return
        import profiler.forecasting.fit  # noqa: F401 - what a first fit loads is no measure of the next

        begun = time.thread_time()
        bins, rates = self.curve.copied()
        self._outlook = look(bins, rates.as_fit_kwargs(), self._goals.after(self.earlier_joules))
        self._fit_due = time.monotonic() + (time.thread_time() - begun) / _FIT_SHARE
        self._judge()

    def _judge(self) -> None:
        """Two fits in a row must agree that the target is out of reach."""
        found = self._outlook
        self._doubts = self._doubts + 1 if found is not None and found.is_out_of_reach(self._goals) else 0
        if self._doubts > 1:
            target = f"loss {significant(self._goals.target_loss or 0.0, 4)}"
            budget = self._goals.energy_budget
            within = f" within {format_joules(budget)}" if budget is not None else ""
            self._trip(f"{target} will not be reached{within}, with at least 95 % probability")

    def _trip(self, sentence: str) -> None:
        if not self.should_stop:
            self.should_stop = True
            self._alarm(sentence)
