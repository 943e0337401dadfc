"""Injected failures of the system calls that write a run directory, and of sensor reads."""

import errno
import os
from pathlib import Path

from profiler.errors import SensorError

CALLS = ("open", "write", "fsync", "ftruncate", "replace", "close", "write_text", "write_bytes")


class FaultyCalls:
    """Counts the calls that concern one directory and makes chosen ones fail.

    Args:
        folder: Calls on files below it are counted; others pass.
        call: The call that fails, one of `CALLS`.
        first: Number of the first failing call, from 1; 0 for none.
        last: Number of the last failing call.
        code: The error number. For ``write``, ``SHORT`` writes half of the data instead.
    """

    SHORT = -1

    def __init__(self, folder, call="", *, first=0, last=None, code=errno.ENOSPC):
        self.folder = str(folder)
        self.call, self.first, self.last, self.code = call, first, first if last is None else last, code
        self.counts = dict.fromkeys(CALLS, 0)
        self.failed = 0
        self._descriptors = set()
        self._real = {name: getattr(os, name) for name in CALLS if hasattr(os, name)}

    def _fails(self, name):
        self.counts[name] += 1
        if name != self.call or not self.first <= self.counts[name] <= self.last:
            return False
        self.failed += 1
        return True

    def _concerns(self, path):
        return isinstance(path, str | os.PathLike) and str(Path(path).absolute()).startswith(self.folder)

    def _open(self, path, *args, **kwargs):
        concerns = self._concerns(path)
        if concerns and self._fails("open"):
            raise OSError(self.code, os.strerror(self.code), str(path))
        descriptor = self._real["open"](path, *args, **kwargs)
        if concerns:
            self._descriptors.add(descriptor)
        return descriptor

    def _on_descriptor(self, name):
        def call(descriptor, *args):
            if descriptor in self._descriptors and self._fails(name):
                if self.code == self.SHORT:
                    return self._real[name](descriptor, args[0][: len(args[0]) // 2])
                if name == "close":  # Linux closes the descriptor even if it reports an error
                    self._real[name](descriptor)
                raise OSError(self.code, os.strerror(self.code))
            if name == "close":
                self._descriptors.discard(descriptor)
            return self._real[name](descriptor, *args)

        return call

    def _replace(self, source, target, **kwargs):
        if self._concerns(target) and self._fails("replace"):
            raise OSError(self.code, os.strerror(self.code), str(target))
        return self._real["replace"](source, target, **kwargs)

    def _path_write(self, name):
        real = getattr(Path, name)

        def call(path, data, *args, **kwargs):
            if self._concerns(path) and self._fails(name):
                real(path, data[: len(data) // 2], *args, **kwargs)  # as a full disk does
                raise OSError(self.code, os.strerror(self.code), str(path))
            return real(path, data, *args, **kwargs)

        return call

    def install(self, monkeypatch):
        """Replace the calls until the end of the test."""
        monkeypatch.setattr(os, "open", self._open)
        monkeypatch.setattr(os, "replace", self._replace)
        for name in ("write", "fsync", "ftruncate", "close"):
            monkeypatch.setattr(os, name, self._on_descriptor(name))
        for name in ("write_text", "write_bytes"):
            monkeypatch.setattr(Path, name, self._path_write(name))


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
