"""Does TensorBoard read our events as they are meant, across resumes?

    python3 trainer/tests/check_tensorboard.py

makes an environment with TensorBoard under target/, writes the events of a run that was killed and resumed
twice (trainer/examples/write_events.rs), and compares what TensorBoard's readers see with metrics.jsonl.
"""

import json
import math
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "target" / "tensorboard-venv"
RUN = ROOT / "target" / "tensorboard-run"
PACKAGES = ["tensorboard==2.20.0", "setuptools<81"]


def inside_environment():
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (ENVIRONMENT / "ready").touch()
    sys.exit(subprocess.run([python, __file__, "inside"]).returncode)


def expected():
    """What should be seen: tag -> [(step, value)]."""
    seen = {}
    for line in (RUN / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step = row.pop("step")
        for tag, value in row.items():
            seen.setdefault(tag, []).append((step, value))
    return seen


def compare(reader, tags, points):
    wanted = expected()
    assert sorted(tags) == sorted(wanted), (reader, sorted(tags), sorted(wanted))
    for tag, values in wanted.items():
        found = points(tag)
        assert [step for step, _ in found] == [step for step, _ in values], (reader, tag, found)
        for (step, a), (_, b) in zip(found, values):
            assert math.isclose(a, b, rel_tol=1e-6), (reader, tag, step, a, b)
    print(f"{reader}: {len(wanted)} tags, {len(wanted['lm_loss'])} steps, all as in metrics.jsonl")


def accumulators():
    from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
    from tensorboard.util import tensor_util

    every = {event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0}
    old = event_accumulator.EventAccumulator(str(RUN), size_guidance=every)
    old.Reload()
    compare("EventAccumulator", old.Tags()["scalars"], lambda tag: [(e.step, e.value) for e in old.Scalars(tag)])
    new = plugin_event_accumulator.EventAccumulator(str(RUN), tensor_size_guidance={"scalars": 0}, size_guidance=every)
    new.Reload()
    value = lambda event: float(tensor_util.make_ndarray(event.tensor_proto))
    compare("plugin EventAccumulator", new.Tags()["tensors"], lambda tag: [(e.step, value(e)) for e in new.Tensors(tag)])


def server(fast):
    """The server that a browser talks to, with its data loader in Rust or the one in Python."""
    port = 6116 + fast
    command = [ENVIRONMENT / "bin" / "tensorboard", "--logdir", RUN, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--samples_per_plugin", "scalars=10000", f"--load_fast={'true' if fast else 'false'}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        def get(path, **query):
            url = f"http://127.0.0.1:{port}/data/plugin/scalars/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)

        try:
            tags = {}
            for _ in range(60):
                time.sleep(1)
                try:
                    tags = get("tags")
                    if tags and len(get("scalars", run=".", tag="lm_loss")) == 150:
                        break
                except OSError:
                    assert process.poll() is None, "the server did not start"
            points = lambda tag: [(step, value) for _, step, value in get("scalars", run=".", tag=tag)]
            compare(f"tensorboard --load_fast={str(fast).lower()}", tags.get(".", {}), points)
        finally:
            process.terminate()


def main():
    shutil.rmtree(RUN, ignore_errors=True)
    cargo = ["cargo", "run", "--quiet", "--locked", "-p", "octo-trainer", "--example", "write_events", "--", RUN]
    subprocess.run(cargo, check=True, cwd=ROOT)
    accumulators()
    server(fast=False)
    server(fast=True)


if __name__ == "__main__":
    main() if sys.argv[1:] == ["inside"] else inside_environment()
