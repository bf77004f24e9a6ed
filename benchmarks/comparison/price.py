"""What a right answer costs, in evaluations and seconds: `sample` beside other libraries.

`rdmc_jax.sample` at its defaults and the samplers of `benchmarks.comparison.peers` at theirs, which
get a box around the target that `sample` does not get. Each run has a process of its own. Written
for each problem, method and seed:

- all evaluations of the density: pilots, warm-ups and tuning included; a value with its gradient
  counts once;
- effective draws: those of the weights, and for chains the smallest over coordinates and
  indicators of modes;
- error of log Z, total variation of the mode weights, and twice the floor of the latter for as
  many exact draws as there are effective ones, 2,000 at most;
- cold seconds, from the start of the process to the draws (the box is not included), and compiled
  seconds, of a second run in the same process with another key.

`sample` is asked for 2,000 draws. If their weights are worth less than 2,000, a new process is
asked for as many as are needed, and a tenth more; the row is that of the last process.
``--marginal`` also measures what one more effective draw costs `sample` between 10,000 and 100,000
draws.

``--time-limit`` are the seconds until the first answer; the second run may take as many again. A
run without an answer has a row that says so. ``--untimed`` leaves out the second run and the
seconds: for a machine that has other work to do. Rows of the output file are kept unless
``--again``; those that ran out of a shorter time are measured again.

Peers need the extra `peers`. Usage: python -m benchmarks.comparison.price
[--problems gmm4,gmm8] [--methods sample,nautilus] [--seeds 3] [--time-limit 300] [--marginal]
[--untimed] [--again] [--output benchmarks/results/price.json]
"""

import argparse
import importlib.metadata
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.comparison.peers import PEERS, Box, Result, box_of
from benchmarks.harness import cases
from benchmarks.harness.report import ROOT, chosen, environment, line, markdown, write
from benchmarks.harness.truth import Truth, errors_of, mode_floor
from rdmc_jax import problems

NAMES = ("gmm4", "gmm8", "rings", "rosenbrock", "mixture_posterior_3", "exoplanet", "eggbox")
NAMES += ("galaxy_equal", "two_modes_8", "many_well_4", "gaussian_10", "spike_slab_5")
NAMES += ("unequal_mixture_8", "two_modes_32", "funnel", "shells_10", "phi4_chain_16")
PROBLEMS = {"gaussian_10": lambda: problems.gaussian(10)} | cases.PROBLEMS
PROBLEMS = {name: PROBLEMS[name] for name in NAMES}
if hasattr(problems, "concentric_spike"):
    PROBLEMS["concentric_spike"] = problems.concentric_spike
METHODS = ("sample", *PEERS)
NUM_EFFECTIVE = 2000
SURPLUS = 1.1
MARGINAL = (10_000, 100_000)
LOG_Z_LIMIT = 0.1
"""An answer is called wrong above it, or above twice the floor of the mode weights."""
FEW = 10
"""The same below this number of effective draws."""
SECOND = 1000
"""What is added to the seed for the second run."""
TIME_OUT = "time-out"
CACHE = "JAX_COMPILATION_CACHE_DIR"


def of_sample(problem, num_samples):
    """A run of `sample`, as the factories of the peers return one."""
    position = jax.tree.map(jnp.asarray, problem.position)

    def run(seed):
        draws = rj.sample(jax.random.key(seed), problem.logdensity_fn, position, num_samples)
        log_weight = np.asarray(draws.log_weight) if draws.weighted else None
        codes = tuple(sorted({code for code, _ in draws.findings()}))
        num_evals = max(draws.num_evals)
        log_z = draws.log_normalizer
        return Result(draws.position, log_weight, log_z, num_evals, draws.ess, codes)

    return run


def measured(problem, result):
    """What a row says of one result."""
    known = problem if problem.log_normalizer is not None else problem._replace(log_normalizer=0.0)
    has_z = problem.log_normalizer is not None and result.log_normalizer is not None
    read = result if has_z else result._replace(log_normalizer=math.nan)
    errors = errors_of(known, Truth(None, None, {}), read)
    floor = None
    if problem.mode_weights is not None:
        num = min(NUM_EFFECTIVE, max(1, round(result.ess)))
        floor = mode_floor(problem.mode_weights / np.sum(problem.mode_weights), num)
    return {
        "num_evals": int(result.num_evals),
        "num_draws": len(jax.tree.leaves(result.position)[0]),
        "ess": float(result.ess),
        "log_z": errors["log_z"] if has_z else None,
        "modes": errors["modes"],
        "modes_limit": None if floor is None else 2 * floor,
        "findings": list(result.findings),
    }


def answer(request, path):
    """One run in this process: the row after the first call, and again after the second."""
    problem = PROBLEMS[request["problem"]]()
    if request["method"] == "sample":
        run = of_sample(problem, request["num_samples"])
    else:
        box = Box(*(np.asarray(corner) for corner in request["box"]))
        run = PEERS[request["method"]].make(problem, box)
    result = jax.block_until_ready(run(request["seed"]))
    cold = time.time() - request["begin"]
    cold = cold if request["timed"] else None
    record = measured(problem, result) | {"seconds_cold": cold, "seconds_compiled": None}
    write(record, path)
    if request["timed"]:
        begin = time.perf_counter()
        jax.block_until_ready(run(request["seed"] + SECOND))
        record["seconds_compiled"] = time.perf_counter() - begin
        write(record, path)


def in_process(request, time_limit):
    """The answer of a process of its own, or why there is none."""
    variables = {name: value for name, value in os.environ.items() if name != CACHE}
    paths = [str(ROOT), *filter(None, [variables.get("PYTHONPATH")])]
    variables["PYTHONPATH"] = os.pathsep.join(paths)  # some peers write logs where they are run
    with tempfile.TemporaryDirectory() as folder:
        asked, path, log = (Path(folder) / name for name in ("ask.json", "answer.json", "log"))
        command = [sys.executable, "-m", "benchmarks.comparison.price", "--one", folder]
        with log.open("w") as stream:
            write(request | {"begin": time.time()}, asked)
            process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=stream, stderr=subprocess.STDOUT
            )
            try:
                ended = waited(process, time_limit)
                if not ended and path.exists():
                    waited(process, time_limit)
            finally:
                process.kill()
                process.wait()
        if path.exists():
            return json.loads(path.read_text("utf-8")) | {"failure": None}
        if not ended:
            return {"failure": TIME_OUT}
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
        return {"failure": lines[-1] if lines else f"ended with code {process.returncode}"}


def waited(process, seconds):
    """Whether a process ended within the seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def until_enough(attempt):
    """The row of `attempt(num_samples)` that is worth `NUM_EFFECTIVE` draws, of two attempts."""
    record = attempt(NUM_EFFECTIVE)
    if record["failure"] is not None or not record["ess"] or record["ess"] >= NUM_EFFECTIVE:
        return record
    return attempt(math.ceil(NUM_EFFECTIVE * SURPLUS * NUM_EFFECTIVE / record["ess"]))


def version_of(method):
    name = "rdmc_jax" if method == "sample" else PEERS[method].distribution
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def row(name, method, seed, box, options, commit):
    """One row of the results."""
    request = {"problem": name, "method": method, "seed": seed, "timed": not options.untimed}
    head = {"problem": name, "method": method, "seed": seed, "commit": commit}
    head |= {"version": version_of(method), "time_limit": options.time_limit}
    if method == "sample":
        return head | until_enough(
            lambda num: in_process(request | {"num_samples": num}, options.time_limit)
        )
    if head["version"] is None:
        return head | {"failure": "not installed"}
    return head | in_process(request | {"box": [*map(np.ndarray.tolist, box)]}, options.time_limit)


def marginal_row(name, seed, options, commit):
    """Evaluations of `sample` for one more effective draw."""
    request = {"problem": name, "method": "sample", "seed": seed, "timed": False}
    head = {"problem": name, "seed": seed, "commit": commit, "time_limit": options.time_limit}
    runs = []
    for num in MARGINAL:
        runs.append(in_process(request | {"num_samples": num}, options.time_limit))
        if runs[-1]["failure"] is not None:
            return head | {"failure": runs[-1]["failure"]}
    evals, ess = ([one[key] for one in runs] for key in ("num_evals", "ess"))
    price = (evals[1] - evals[0]) / (ess[1] - ess[0])
    return head | {"num_evals": evals, "ess": ess, "evals_per_effective": price, "failure": None}


def key_of(record):
    return record["problem"], record.get("method"), record["seed"]


def is_kept(record, options):
    """Whether an earlier row stands: not if it lacks seconds, time, or its library."""
    if record["failure"] == "not installed":
        return version_of(record["method"]) is None
    if record.get("seconds_cold", 0.0) is None and not options.untimed:
        return False
    return record["failure"] != TIME_OUT or record["time_limit"] >= options.time_limit


def replaced(records, new):
    """The records with a new one in the place of that of the same key."""
    return [one for one in records if key_of(one) != key_of(new)] + [new]


def short(count):
    """A count with two or three digits."""
    if count >= 999_500:
        return f"{count / 1e6:.1f} M"
    return f"{count / 1e3:.0f}k" if count >= 9950 else f"{count:,.0f}"


def median(records, key, of=float):
    """The median over the seeds, None where there is nothing."""
    values = [of(one[key]) for one in records if one.get(key) is not None]
    return statistics.median(values) if values else None


def is_wrong(records):
    log_z, modes = median(records, "log_z", abs), median(records, "modes")
    too_far = log_z is not None and log_z > LOG_Z_LIMIT
    too_few = median(records, "ess") < FEW
    return too_few or too_far or (modes is not None and modes > median(records, "modes_limit"))


def cell(records, text):
    """The text of the runs that have an answer, or why most have none."""
    if not records:
        return "–"
    answered = [one for one in records if one["failure"] is None]
    if 2 * len(answered) < len(records):
        failed = [one for one in records if one["failure"] is not None]
        if all(one["failure"] == TIME_OUT for one in failed):
            return f"none in {max(one['time_limit'] for one in failed):.0f} s"
        return "not installed" if failed[-1]["failure"] == "not installed" else "failed"
    missing = len(records) - len(answered)
    return text(answered) + (f" ({missing} of {len(records)} none)" if missing else "")


def cost_text(records):
    cost = f"{short(median(records, 'num_evals'))}, {short(median(records, 'ess'))}"
    return f"wrong: {cost}" if is_wrong(records) else cost


def error_text(records):
    pair = median(records, "log_z", abs), median(records, "modes")
    return ", ".join("–" if one is None else f"{one:.3f}" for one in pair)


def seconds_text(records):
    pair = median(records, "seconds_cold"), median(records, "seconds_compiled")
    return ", ".join(
        "–" if one is None else f"{one:#.2g}" if one < 10 else f"{one:.0f}" for one in pair
    )


def marginal_text(records):
    return f"{median(records, 'evals_per_effective'):.1f}"


def part(records, title, text):
    """A row for each problem, a column for each method that has records."""
    methods = [name for name in METHODS if any(one["method"] == name for one in records)]
    rows = []
    for name in PROBLEMS:
        own = [one for one in records if one["problem"] == name]
        parts = [[one for one in own if one["method"] == method] for method in methods]
        if own:
            rows.append([f"`{name}`", *(cell(part, text) for part in parts)])
    return markdown((title, *methods), rows)


def short_table(report):
    """Evaluations and effective draws of the problems that other libraries were asked for."""
    asked = {one["problem"] for one in report["records"] if one["method"] != "sample"}
    records = [one for one in report["records"] if one["problem"] in asked]
    return part(records, "evaluations, effective draws", cost_text)


def table(report):
    """Costs, errors, seconds; and the price of one more draw where it was measured."""
    records = report["records"]
    timed = {one["problem"] for one in records if one.get("seconds_cold") is not None}
    tables = [
        part(records, "evaluations, effective draws", cost_text),
        part(records, "errors: log Z, modes", error_text),
        part(
            [one for one in records if one["problem"] in timed],
            "seconds: cold, compiled",
            seconds_text,
        ),
    ]
    more = report.get("marginal", [])
    if more:
        rows = []
        for name in PROBLEMS:
            own = [one for one in more if one["problem"] == name]
            if own:
                rows.append([f"`{name}`", cell(own, marginal_text)])
        tables.append(markdown(("problem", "evaluations for one more effective draw"), rows))
    return "\n\n".join(tables)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=300)
    parser.add_argument("--marginal", action="store_true")
    parser.add_argument("--untimed", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", type=Path, help="folder of one run, which the script itself uses")
    options = parser.parse_args()
    options.problems = chosen(parser, options.problems, PROBLEMS, "problems")
    options.methods = chosen(parser, options.methods, METHODS, "methods")
    return options


def planned(options):
    """Kind, problem, method and seed of each row that is asked for."""
    for name in options.problems:
        for method in options.methods:
            for seed in range(options.seeds):
                yield "records", name, method, seed
        if options.marginal:
            for seed in range(options.seeds):
                yield "marginal", name, None, seed


def main():
    options = arguments()
    if options.one is not None:
        request = json.loads((options.one / "ask.json").read_text("utf-8"))
        return answer(request, options.one / "answer.json")
    report = {**environment(), "records": [], "marginal": []}
    if options.output is not None and options.output.exists():
        before = json.loads(options.output.read_text("utf-8"))
        report |= {kind: before[kind] for kind in ("records", "marginal")}
    commit, boxes = report["versions"]["commit"], {}
    for kind, name, method, seed in planned(options):
        known = {key_of(one): one for one in report[kind]}.get((name, method, seed))
        if known is not None and not options.again and is_kept(known, options):
            continue
        if kind == "marginal":
            record = marginal_row(name, seed, options, commit)
        else:
            if name not in boxes:
                boxes[name] = box_of(PROBLEMS[name]())
            record = row(name, method, seed, boxes[name], options, commit)
        report[kind] = replaced(report[kind], record)
        write(report, options.output)
        text = marginal_text if kind == "marginal" else cost_text
        told = record["failure"] or text([record])
        print(line([name, method or "marginal", str(seed), told]), file=sys.stderr, flush=True)
    print(table(report))


if __name__ == "__main__":
    main()
