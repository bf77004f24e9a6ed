"""Write the tables of ``benchmarks/README.md`` and ``README.md`` from the committed results.

The text between ``<!-- name -->`` and ``<!-- end name -->`` becomes the table of that name.

Usage: python -m benchmarks.tables [--merge part.json ... --into results/accuracy.json]
"""

import argparse
import json
from pathlib import Path

from benchmarks import (
    ablations,
    accuracy,
    blind_spot,
    calibration,
    equal_error,
    first_call,
    losses,
    random_mixtures,
    scaling_picture,
    separation_picture,
    speed_table,
    tolerance,
    tuning,
    work_precision_picture,
)
from benchmarks.report import markdown, write

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
    columns, row = speed_table.MEMORY_COLUMNS, speed_table.memory_cells
    memory = speed_table.table(report["memory"], columns, row)
    return f"{speed_table.table(report['records'])}\n\n{memory}"


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
    FOLDER / "README.md": {
        "accuracy": accuracy_table,
        "work_precision": records_of(work_precision_picture.table),
        "work_precision_10000": records_of(work_precision_picture.table),
        "equal_error": records_of(equal_error.table),
        "separation": lambda report: separation_picture.table(report["targets"]),
        "losses": losses.table,
        "scaling": records_of(scaling_picture.table),
        "speed": speed_tables,
        "tolerance": records_of(tolerance.table),
        "tuning": records_of(tuning.table),
        "random_mixtures": records_of(random_mixtures.table),
        "blind_spot": records_of(blind_spot.table),
        "calibration": records_of(calibration.table),
        "ablations": records_of(ablations.table),
        "first_call": records_of(first_call.table),
    },
    FOLDER.parent / "README.md": {
        "work_precision": lambda report: work_precision_picture.short_table(report["records"]),
    },
}


def with_tables(path):
    """The text of a file of `TABLES`, with tables made from the results."""
    text = path.read_text("utf-8")
    for name, table in TABLES[path].items():
        first, last = f"<!-- {name} -->", f"<!-- end {name} -->"
        report = json.loads((FOLDER / "results" / f"{name}.json").read_text("utf-8"))
        before, rest = text.split(first)
        text = f"{before}{first}\n\n{table(report)}\n\n{last}{rest.split(last)[1]}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--merge", nargs="+", type=Path, default=[])
    parser.add_argument("--into", type=Path, default=FOLDER / "results" / "accuracy.json")
    options = parser.parse_args()
    if options.merge:
        write(merged(options.merge), options.into)
    for path in TABLES:
        path.write_text(with_tables(path), "utf-8")


if __name__ == "__main__":
    main()
