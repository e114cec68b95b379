"""The calls about rows: score and explain. Large inputs are scored in parts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from llactr_client import parsing
from llactr_client.call import JSON, Call, Parts, Reply, asked, encode
from llactr_client.errors import ApiError
from llactr_client.frames import Frame, arrow_table, stream_of
from llactr_client.parsing import Content
from llactr_client.scores import ExplainedRow, Explanation, FieldPart, PairPart, Part, Scores

Row: TypeAlias = Mapping[str, object]
Columns: TypeAlias = Mapping[str, Sequence[object]]
ROWS_AT_ONCE = 10_000
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


@dataclass(frozen=True)
class _Input:
    """B rows in whatever form: `body` gives the request of the rows from a position on, up to another one."""

    rows: int
    body: Callable[[int, int], bytes]
    headers: Mapping[str, str]


def score(
    rows: Sequence[Row] | Frame | None = None,
    *,
    columns: Columns | None = None,
    model: str | None = None,
    details: bool = False,
    raw: bool = False,
    routing_key: str | None = None,
    row_id: str | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
    deadline_s: float | None = None,
) -> Parts[Scores]:
    """Probabilities of rows, of a dataframe (pandas, polars, pyarrow), or of columns.

    More than `rows_at_once` rows are sent in several requests, all scored by the version that scored the first.

    Args:
        rows: objects by field, or a dataframe.
        columns: lists of equal length by field, instead of rows.
        model: NAME, NAME:VERSION or NAME@ALIAS; by default the default model's champion.
        details: report missing, unseen, extra and absent values of each row.
        raw: leave the scores uncalibrated.
        routing_key: whose request this is: an experiment gives the same key the same arm.
        row_id: the column with your own names of the rows, by which outcomes may name them.
        rows_at_once: the most rows in one request; the service's setting max_rows bounds it.
        deadline_s: seconds for all of it, retries included; the service drops work that comes too late.

    Raises:
        ValueError: not exactly one of rows and columns is given, or rows_at_once is below 1.
    """
    if rows_at_once < 1:
        raise ValueError(f"rows_at_once is {rows_at_once}; give 1 or more")
    batch = _input(rows, columns)
    options = {"details": details, "raw": raw, "routing_key": routing_key, "row_id": row_id}

    def part(first: int, used: str | None) -> Call[Scores]:
        size = min(rows_at_once, batch.rows - first)
        params = asked({"model": used, **options})
        body = batch.body(first, first + size)
        return Call("ctr", "POST", "/v1/score", lambda reply: _scores(reply, size), body, batch.headers, params)

    def rest(scored: Scores) -> Iterator[Call[Scores]]:
        return (part(at, f"{scored.model}:{scored.version}") for at in range(rows_at_once, batch.rows, rows_at_once))

    return Parts(part(0, model), rest, _joined, deadline_s)


def explain(
    rows: Sequence[Row] | Frame | None = None,
    *,
    columns: Columns | None = None,
    model: str | None = None,
    routing_key: str | None = None,
    deadline_s: float | None = None,
) -> Call[Explanation]:
    """What every field and every pair of fields adds to the logit of each of a few rows; the arguments of `score`.

    Raises:
        ValueError: not exactly one of rows and columns is given.
    """
    batch = _input(rows, columns)
    return Call(
        "ctr",
        "POST",
        "/v1/explain",
        _explanation,
        batch.body(0, batch.rows),
        batch.headers,
        asked({"model": model, "routing_key": routing_key}),
        deadline_s=deadline_s,
    )


def _input(rows: Sequence[Row] | Frame | None, columns: Columns | None) -> _Input:
    if (rows is None) == (columns is None):
        raise ValueError("give exactly one of rows and columns")
    if isinstance(rows, Frame):
        table = arrow_table(rows)
        return _Input(table.num_rows, lambda a, b: stream_of(table.slice(a, b - a)), ARROW)
    if rows is not None:
        listed = list(rows)
        return _Input(len(listed), lambda a, b: encode({"rows": listed[a:b]}), JSON)
    lists = {name: list(values) for name, values in (columns or {}).items()}
    longest = max(map(len, lists.values()), default=0)
    return _Input(longest, lambda a, b: encode({"columns": {n: v[a:b] for n, v in lists.items()}}), JSON)


def _scores(reply: Reply, rows: int) -> Scores:
    content = reply.object()
    used = parsing.mapping(content, "model")
    scores, request_id = parsing.numbers(content, "scores"), parsing.text(content, "request_id")
    if len(scores) != rows:
        raise ApiError(reply.status, "unexpected-answer", f"{rows} rows were sent, {len(scores)} scores came back")
    return Scores(
        scores=scores,
        model=parsing.text(used, "name"),
        version=parsing.text(used, "version"),
        request_id=request_id,
        details=parsing.objects(content, "details"),
        arm=parsing.text(content, "arm") or None,
        overlay=parsing.text(used, "overlay") or None,
        parts=(Part(request_id, len(scores)),),
    )


def _joined(parts: Sequence[Scores]) -> Scores:
    first = parts[0]
    return Scores(
        scores=tuple(score for part in parts for score in part.scores),
        model=first.model,
        version=first.version,
        request_id=first.request_id,
        details=tuple(detail for part in parts for detail in part.details),
        arm=first.arm,
        overlay=first.overlay,
        parts=tuple(one for part in parts for one in part.parts),
    )


def _explanation(reply: Reply) -> Explanation:
    content = reply.object()
    used = parsing.mapping(content, "model")
    return Explanation(
        rows=tuple(_explained(row) for row in parsing.objects(content, "rows")),
        model=parsing.text(used, "name"),
        version=parsing.text(used, "version"),
        request_id=parsing.text(content, "request_id"),
        arm=parsing.text(content, "arm") or None,
        method=parsing.mapping(content, "method"),
    )


def _explained(row: Content) -> ExplainedRow:
    return ExplainedRow(
        logit=parsing.real(row, "logit"),
        probability=parsing.real(row, "probability"),
        raw_probability=parsing.real(row, "raw_probability"),
        bias=parsing.real(row, "bias"),
        deep_baseline=parsing.real(row, "deep_baseline"),
        fields=tuple(_field(entry) for entry in parsing.objects(row, "fields")),
        pairs=tuple(_pair(entry) for entry in parsing.objects(row, "pairs")),
    )


def _field(entry: Content) -> FieldPart:
    return FieldPart(
        field=parsing.text(entry, "field"),
        value=parsing.text(entry, "value"),
        contribution=parsing.real(entry, "contribution"),
        first_order=parsing.real(entry, "first_order"),
        deep=parsing.real(entry, "deep"),
        deep_error=parsing.number(entry, "deep_error"),
        share=parsing.real(entry, "share"),
    )


def _pair(entry: Content) -> PairPart:
    a, b = parsing.texts(entry, "fields")
    return PairPart((a, b), *(parsing.real(entry, name) for name in ("contribution", "fm", "fie")))
