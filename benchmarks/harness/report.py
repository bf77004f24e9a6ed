"""What all benchmarks share: versions and machine, Markdown, JSON, names that are checked."""

import datetime
import json
import os
import platform
import subprocess
import tomllib
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def environment():
    """Versions and machine, without its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "rdmc_jax": project["version"],
            "commit": commit or None,
        },
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "num_cores": os.cpu_count(),
            "backend": jax.default_backend(),
            "device_kind": jax.devices()[0].device_kind,
        },
    }


def line(texts):
    return "| " + " | ".join(texts) + " |"


def markdown(columns, rows):
    """A table of texts."""
    return "\n".join(map(line, [columns, ["---"] * len(columns), *rows]))


def codes_text(findings):
    """Each code with the number of seeds that had it."""
    codes = [code for one in findings for code in one]
    return ", ".join(f"{code} x{codes.count(code)}" for code in sorted(set(codes))) or "none"


def strict(value):
    """The record with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: strict(one) for name, one in value.items()}
    if isinstance(value, list):
        return [strict(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write(report, path):
    """Write a report, if there is a path, so that an interruption leaves the one before."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".new")
    part.write_text(json.dumps(strict(report), indent=1, allow_nan=False) + "\n", "utf-8")
    part.replace(path)


def chosen(parser, text, known, what):
    """Names separated by commas, each of which is known."""
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown {what} {', '.join(unknown)}; known: {', '.join(known)}")
    return names
