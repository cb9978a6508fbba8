"""The two sides of a sitting: a child that takes turns over its standard input, and this process itself."""

import json
import os
import subprocess
import time


def _times(pid):
    """Seconds that a process's threads have run, and stood ready without a core (both 0 where unknown)."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        stats = [open(f"/proc/{pid}/task/{thread}/schedstat").read().split() for thread in threads]
    except OSError:
        return 0.0, 0.0
    return tuple(sum(int(stat[i]) for stat in stats) / 1e9 for i in (0, 1))


def _work(seconds):
    """Core seconds of work of all processes in the next so many seconds (0 where unknown)."""

    def spent():
        try:
            user, nice, system = map(int, open("/proc/stat").readline().split()[1:4])
        except OSError:
            return 0
        return (user + nice + system) / os.sysconf("SC_CLK_TCK")

    before = spent()
    time.sleep(seconds)
    return spent() - before


def busy():
    """The part of a core that others keep busy while both sides rest."""
    span = 0.5
    return _work(span) / span


class Turn:
    """What one turn gave, its core seconds, and the part of it that passed in waiting for a core."""

    def __init__(self, pid, work):
        (ran, waited), start = _times(pid), time.perf_counter()
        self.outcome = work()
        wall = time.perf_counter() - start
        ran_after, waited_after = _times(pid)
        # Threads that ended take their times along.
        self.cpu = max(0.0, ran_after - ran)
        self.disturbed = max(0.0, waited_after - waited) / wall


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
