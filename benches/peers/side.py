"""The two sides of a sitting: a child that takes turns over its standard input, and this process itself."""

import json
import os
import subprocess
import time


def _waited(pid):
    """Seconds that a process's threads have stood ready without a core to run on (Linux; else None)."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        return sum(int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[1]) for t in threads) / 1e9
    except (OSError, IndexError):
        return None


class Turn:
    """What one turn gave, and how much of it passed in waiting for a core."""

    def __init__(self, pid, work):
        before, start = _waited(pid), time.perf_counter()
        self.outcome = work()
        wall, after = time.perf_counter() - start, _waited(pid)
        known = before is not None and after is not None
        self.disturbed = max(0.0, after - before) / wall if known else 0.0


class Child:
    """A process that answers each line of JSON with another; the first line it says unasked."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.greeting = self._hear()

    def ask(self, request):
        """Sends a line, waits for its answer."""
        line = request if isinstance(request, str) else json.dumps(request)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._hear()

    def turn(self, request):
        """`ask` as a turn."""
        return Turn(self.process.pid, lambda: self.ask(request))

    def _hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended with {self.process.wait()}; its message is above")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def own_turn(work):
    """A turn of this process."""
    return Turn(os.getpid(), work)
