"""The tables of `benchmarks.speed`."""

from benchmarks.report import markdown

COLUMNS = (
    "problem",
    "program",
    "dim",
    "gradients",
    "values alone",
    "normal vectors",
    "width",
    "s",
    "s of the limit",
    "ratio",
    "s to compile (limit)",
)
MEMORY_COLUMNS = ("program", "dim", "particles", "MiB", "bytes per particle and coordinate")


def cells(record):
    """One row of the table of times."""
    return [
        f"`{record['problem']}`",
        record["program"],
        f"{record['dim']}",
        *(f"{count:,}" for count in record["counts"].values()),
        f"{record['width']:,}",
        f"{record['median']:.3g}",
        f"{record['limit_median']:.3g}",
        f"{record['ratio']:.2f}",
        f"{record['compile_seconds']:.1f} ({record['limit_compile_seconds']:.1f})",
    ]


def memory_cells(record):
    """One row of the table of memory."""
    used, each = record["megabytes"], record["bytes_per_coordinate"]
    return [
        record["program"],
        f"{record['dim']}",
        f"{record['num_particles']:,}",
        "–" if used is None else f"{used:.1f}",
        "–" if each is None else f"{each:.0f}",
    ]


def table(records, columns=COLUMNS, row=cells):
    """Records as Markdown."""
    return markdown(columns, map(row, records))
