"""Write the tables of the README files from the committed results.

The text between ``<!-- name -->`` and ``<!-- end name -->`` becomes the table of that name. Each
folder's README owns the tables of its scripts; the project's README has one of them, shortened.

Usage: python -m benchmarks.tables [--merge part.json ... --into results/accuracy.json]
"""

import argparse
import json
from pathlib import Path

from benchmarks.accuracy import (
    accuracy,
    blind_spot,
    calibration,
    detection,
    drift,
    light_modes,
    posteriors,
    random_mixtures,
    repeated,
    tolerance,
)
from benchmarks.comparison import equal_error, losses, price, separation, work_precision
from benchmarks.design import ablations, tuning
from benchmarks.harness.report import RESULTS, markdown, write
from benchmarks.speed import expensive, long_session, scaling, speed, startup

FOLDER = Path(__file__).resolve().parent


def accuracy_table(report):
    """Without the seconds: they depend on what else the machine did."""
    keep = [k for k, name in enumerate(accuracy.COLUMNS) if not name.startswith("s ")]
    rows = [accuracy.COLUMNS, *map(accuracy.cells, report["records"])]
    columns, *rows = [[row[k] for k in keep] for row in rows]
    return markdown(columns, rows)


def records_of(table):
    """A table of the report's records."""
    return lambda report: table(report["records"])


def speed_tables(report):
    memory = speed.table(report["memory"], speed.MEMORY_COLUMNS, speed.memory_cells)
    return f"{speed.table(report['records'])}\n\n{memory}"


def merged(paths):
    """One report of several runs of parts of the problems; later files replace earlier rows.

    Each record says of which commit it is.
    """
    reports = [json.loads(path.read_text("utf-8")) for path in paths]
    for report in reports:
        for record in report["records"]:
            record.setdefault("commit", report["versions"]["commit"])
    order = {}
    for k, make in enumerate(accuracy.PROBLEMS.values()):
        order[make().name] = k
    records = {record["problem"]: record for report in reports for record in report["records"]}
    ordered = sorted(records.values(), key=lambda one: order[one["problem"]])
    return {**reports[-1], "records": ordered}


TABLES = {
    FOLDER / "accuracy" / "README.md": {
        "accuracy": accuracy_table,
        "tolerance": records_of(tolerance.table),
        "tolerance_10000": records_of(tolerance.table),
        "calibration": records_of(calibration.table),
        "random_mixtures": records_of(random_mixtures.table),
        "random_mixtures_1e7": records_of(random_mixtures.table),
        "detection": records_of(detection.table),
        "repeated": records_of(repeated.table),
        "posteriors": records_of(posteriors.table),
        "drift": records_of(drift.table),
        "blind_spot": records_of(blind_spot.table),
        "light_modes": records_of(light_modes.table),
    },
    FOLDER / "comparison" / "README.md": {
        "work_precision": records_of(work_precision.table),
        "work_precision_10000": records_of(work_precision.table),
        "equal_error": records_of(equal_error.table),
        "separation": lambda report: separation.table(report["targets"]),
        "losses": losses.table,
        "price": price.table,
    },
    FOLDER / "speed" / "README.md": {
        "speed": speed_tables,
        "scaling": records_of(scaling.table),
        "first_call": records_of(startup.table),
        "long_session": records_of(long_session.table),
        "expensive": records_of(expensive.table),
    },
    FOLDER / "design" / "README.md": {
        "ablations": records_of(ablations.table),
        "tuning": records_of(tuning.table),
    },
    FOLDER.parent / "README.md": {
        "price": price.short_table,
    },
}


def with_tables(path):
    """The text of a file of `TABLES`, with tables made from the results."""
    text = path.read_text("utf-8")
    for name, table in TABLES[path].items():
        first, last = f"<!-- {name} -->", f"<!-- end {name} -->"
        report = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        before, rest = text.split(first)
        text = f"{before}{first}\n\n{table(report)}\n\n{last}{rest.split(last)[1]}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--merge", nargs="+", type=Path, default=[])
    parser.add_argument("--into", type=Path, default=RESULTS / "accuracy.json")
    options = parser.parse_args()
    if options.merge:
        write(merged(options.merge), options.into)
    for path in TABLES:
        path.write_text(with_tables(path), "utf-8")


if __name__ == "__main__":
    main()
