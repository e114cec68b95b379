"""`llactr score`: file to file, a batch at a time, in constant memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import AsJson, CommandError, result, say


def score(
    bundle: Annotated[Path, typer.Option(help="A bundle's directory.")],
    source: Annotated[Path, typer.Option("--in", help="Rows: CSV, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="The result: CSV, JSONL or Parquet, by its suffix.")],
    column: Annotated[str, typer.Option(help="The column of the result.")] = "score",
    only_scores: Annotated[bool, typer.Option("--only-scores", help="Leave out the columns of the input.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Uncalibrated scores.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score every row of a file. Rows keep their order and their columns; the score is added as the last column."""
    import pyarrow as pa

    from llactr_core.data.read import open_source
    from llactr_core.scorer import Scorer
    from services.cli.row_writer import open_writer

    rows = open_source(source)
    if column in rows.columns and not only_scores:
        raise CommandError(f"{source} has a column {column!r} already; give another name with --column")
    if out.exists() and out.samefile(source):
        raise CommandError(f"{out} is the input as well; give --out another file")
    scorer = Scorer.load(bundle)
    count = 0
    with open_writer(out) as writer:
        for batch in rows.batches(_needed(rows.columns, scorer.schema.columns) if only_scores else None):
            scores = pa.array(scorer.score(batch, raw=raw), pa.float64())
            kept = pa.RecordBatch.from_arrays([], names=[]) if only_scores else batch
            writer.write(pa.RecordBatch.from_arrays([*kept.columns, scores], names=[*kept.schema.names, column]))
            count += batch.num_rows
    say(f"{count} rows scored by {scorer.version[:12]}: {out}")
    result({"rows": count, "out": str(out), "version": scorer.version, "column": column}, as_json)


def _needed(given: Sequence[str], read: Sequence[str]) -> list[str]:
    """The given columns that a model reads; all of them where it reads none, since rows need a column to be counted."""
    return [column for column in given if column in read] or list(given)
