"""Real processes without waiting for torch each time: a Python that has imported it forks itself for every script.

Run as a program, it reads one request a line and answers with the child's pid, then with its exit status. The child
falls off the end of this file, so that the interpreter ends as it does behind any script.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent


class Child:
    """A script under way: ``pid``, ``lines`` (its stdout, as it comes), and after ``wait`` also ``stderr``."""

    def __init__(self, server, folder):
        self._server = server
        self._folder = folder
        self.pid = int(server.stdout.readline())
        self.lines = (folder / "stdout").open(encoding="utf-8")

    def wait(self):
        """Read the rest of what it says, and return its exit status; below zero is the signal that ended it."""
        self.stdout = self.lines.read()
        self.lines.close()
        self.stderr = (self._folder / "stderr").read_text(encoding="utf-8")
        return int(self._server.stdout.readline())

    def kill(self, number):
        os.kill(self.pid, number)


class WarmPython:
    """Starts scripts one after the other."""

    def __init__(self):
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, script, folder):
        os.mkfifo(folder / "stdout")
        self._server.stdin.write(json.dumps([dedent(script), str(folder)]) + "\n")
        self._server.stdin.flush()
        return Child(self._server, Path(folder))

    def close(self):
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


def serve():
    """Fork for each request; returns in the children, with their script."""
    import torch._dynamo  # noqa: F401 - torch does it at an optimizer's first step

    gc.freeze()  # what is here already is not copied when a child collects its garbage
    for line in sys.stdin:
        script, folder = json.loads(line)
        child = os.fork()
        if child == 0:
            become(Path(folder))
            return script
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return ""


def become(folder):
    """Take on a child's streams and folder."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the suite runs under nohup
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    said, errors = os.open("stdout", os.O_WRONLY), os.open("stderr", os.O_WRONLY | os.O_CREAT)
    for number, descriptor in enumerate((nothing, said, errors)):
        os.dup2(descriptor, number)
        os.close(descriptor)


if __name__ == "__main__":
    exec(compile(serve(), "script.py", "exec"), {"__name__": "__main__"})
