"""Every benchmark, one after the other, into one folder and one JSON; an interrupted run goes on.

Each step is a script of this package in a process of its own. Its output is ``<step>.part.json``
until the step is done and ``<step>.json`` afterwards; steps whose file is there, written by the
same commit, are not run again, and scripts that can go on inside a step do. ``full.json`` holds all
reports. A step that fails is named at the end, with its error, and does not stop the others.

Usage: python -m benchmarks.full [--folder bench_results] [--steps accuracy_gmm4,speed,...]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.accuracy import accuracy, tolerance
from benchmarks.harness.report import chosen, environment, write

# one step for each problem where a script cannot go on in the middle
STEPS = {
    **{
        f"{script}_{name}": (f"accuracy.{script}", "--problems", name)
        for script, known in (("accuracy", accuracy.PROBLEMS), ("tolerance", tolerance.PROBLEMS))
        for name in known
    },
    "work_precision": ("comparison.work_precision", "--seeds", "5", "--resume"),
    "equal_error": ("comparison.equal_error",),
    "separation": ("comparison.separation",),
    "scaling": ("speed.scaling",),
    "losses": ("comparison.losses",),
    "speed": ("speed.speed",),
    "calibration": ("accuracy.calibration",),
    "random_mixtures": ("accuracy.random_mixtures",),
    "random_mixtures_1e7": (
        "accuracy.random_mixtures",
        *("--dims", "15", "--ratios", "4", "--search-evals", "1e7"),
    ),
    "detection": ("accuracy.detection",),
    "repeated": ("accuracy.repeated",),
    "posteriors": ("accuracy.posteriors",),
    "drift": ("accuracy.drift",),
    "blind_spot": ("accuracy.blind_spot",),
    "light_modes": ("accuracy.light_modes",),
    "ablations": ("design.ablations",),
    "tuning": ("design.tuning",),
    "import_time": ("speed.startup", "import_time"),
    "first_call": ("speed.startup", "first_call"),
    "long_session": ("speed.long_session",),
    "expensive": ("speed.expensive",),
    "many_posteriors": ("speed.many_posteriors",),
}


def is_done(path, commit):
    """Whether the step has a report of this commit."""
    return path.exists() and json.loads(path.read_text("utf-8"))["versions"]["commit"] == commit


def run_step(name, folder):
    """Run one script; its error text when it fails, None when it is done."""
    module, *arguments = STEPS[name]
    part = folder / f"{name}.part.json"
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--output", str(part)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"
    part.replace(folder / f"{name}.json")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("bench_results"))
    parser.add_argument("--steps", default=",".join(STEPS))
    options = parser.parse_args()
    names = chosen(parser, options.steps, STEPS, "steps")
    options.folder.mkdir(parents=True, exist_ok=True)
    report = environment()
    failed = {}
    for name in names:
        path = options.folder / f"{name}.json"
        if is_done(path, report["versions"]["commit"]):
            print(f"{name}: done before", flush=True)
            continue
        begin = time.perf_counter()
        error = run_step(name, options.folder)
        print(f"{name}: {error or 'done'}, {time.perf_counter() - begin:.0f} s", flush=True)
        if error:
            failed[name] = error
    reports = {
        name: json.loads(path.read_text("utf-8"))
        for name in STEPS
        if (path := options.folder / f"{name}.json").exists()
    }
    write({**report, "failed": failed, "reports": reports}, options.folder / "full.json")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
