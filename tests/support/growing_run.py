"""A finished run that is written down again as if it went on now."""

import json
from pathlib import Path

from profiler.storage.schema import RUN_FILE, SAMPLES, SPANS, STEPS
from tests.support.runs import write_run


class GrowingRun:
    """A run directory that has as many of its steps as it was told to, in a status of its own.

    ``write_run`` writes the whole of it aside first; its options are passed on.
    """

    def __init__(self, path, **options):
        self.path = Path(path)
        whole = write_run(self.path.with_name(f"{self.path.name}-whole"), **options)
        self._meta = json.loads((whole / RUN_FILE).read_text())
        self._rows = {
            table: (whole / table.filename).read_text().splitlines(keepends=True)
            for table in (STEPS, SPANS, SAMPLES)
        }
        self.path.mkdir()
        self.say("running")
        self._write(SPANS, 2)
        self.grow(0)

    def say(self, status, **changes):
        totals = self._meta["totals"] if status != "running" else None
        text = json.dumps({**self._meta, "status": status, "totals": totals, **changes})
        (self.path / RUN_FILE).write_text(text)

    def grow(self, steps):
        """Write what is missing of the first ``steps`` steps and of the samples until then."""
        self._write(STEPS, 1 + steps)
        domains = len(self._meta["domains"])
        self._write(SAMPLES, 1 + domains * (1 + 8 + steps))

    def _write(self, table, lines):
        file = self.path / table.filename
        there = len(file.read_text().splitlines()) if file.exists() else 0
        with file.open("a") as end:
            end.write("".join(self._rows[table][there:lines]))
