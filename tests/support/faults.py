"""Injected failures of the system calls that write a run directory, and of sensor reads."""

import errno
import os
from pathlib import Path

from profiler.errors import SensorError

CALLS = ("open", "write", "fsync", "ftruncate", "posix_fallocate", "replace", "close", "write_bytes")


class FaultyCalls:
    """Counts the calls that concern one directory and makes chosen ones fail.

    Args:
        folder: Calls on files below it are counted; others pass.
        call: The calls that fail, of `CALLS`, joined by ``+``; they are counted together.
        first: Number of the first failing call, from 1; 0 for none.
        last: Number of the last failing call.
        code: The error number. For ``write``, ``SHORT`` writes half of the data instead.
    """

    SHORT = -1

    def __init__(self, folder, call="", *, first=0, last=None, code=errno.ENOSPC):
        self.folder = str(folder)
        self.calls, self.code = call.split("+"), code
        self.first, self.last = first, first if last is None else last
        self.counts = dict.fromkeys(CALLS, 0)
        self.failed = 0
        self._real = {name: getattr(os, name) for name in CALLS if hasattr(os, name)}

    def _fails(self, name):
        self.counts[name] += 1
        number = sum(self.counts[call] for call in self.calls if call)
        if name not in self.calls or not self.first <= number <= self.last:
            return False
        self.failed += 1
        return True

    def _concerns(self, path):
        return isinstance(path, str | os.PathLike) and str(Path(path).absolute()).startswith(self.folder)

    def _open(self, path, *args, **kwargs):
        if self._concerns(path) and self._fails("open"):
            raise OSError(self.code, os.strerror(self.code), str(path))
        return self._real["open"](path, *args, **kwargs)

    def _is_ours(self, descriptor):
        try:
            return str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(self.folder)
        except OSError:
            return False

    def _on_descriptor(self, name):
        def call(descriptor, *args):
            if self._is_ours(descriptor) and self._fails(name):
                if self.code == self.SHORT:
                    return self._real[name](descriptor, args[0][: len(args[0]) // 2])
                if name == "close":  # Linux closes the descriptor even if it reports an error
                    self._real[name](descriptor)
                raise OSError(self.code, os.strerror(self.code))
            return self._real[name](descriptor, *args)

        return call

    def _replace(self, source, target, **kwargs):
        if self._concerns(target) and self._fails("replace"):
            raise OSError(self.code, os.strerror(self.code), str(target))
        return self._real["replace"](source, target, **kwargs)

    @property
    def _write_bytes(self):
        real = Path.write_bytes

        def write_bytes(path, data):
            if self._concerns(path) and self._fails("write_bytes"):
                real(path, data[: len(data) // 2])  # as a full disk does
                raise OSError(self.code, os.strerror(self.code), str(path))
            return real(path, data)

        return write_bytes

    def install(self, monkeypatch):
        """Replace the calls until the end of the test."""
        monkeypatch.setattr(os, "open", self._open)
        monkeypatch.setattr(os, "replace", self._replace)
        for name in ("write", "fsync", "ftruncate", "posix_fallocate", "close"):
            monkeypatch.setattr(os, name, self._on_descriptor(name))
        monkeypatch.setattr(Path, "write_bytes", self._write_bytes)


class FaultySensor:
    """A sensor whose reads from number ``first`` to ``last`` raise; reads are counted from 1."""

    def __init__(self, sensor, *, first=0, last=None, error=None):
        self._sensor = sensor
        self.first, self.last = first, first if last is None else last
        self.error = error or SensorError("injected failure")
        self.reads = self.failed = 0

    @property
    def domains(self):
        return self._sensor.domains

    def read(self):
        self.reads += 1
        if self.first <= self.reads <= self.last:
            self.failed += 1
            raise self.error
        return self._sensor.read()

    def close(self):
        self._sensor.close()
