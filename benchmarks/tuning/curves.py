"""How the preparation grows with rows, fields and sam_num; every curve says which of its points were measured."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks.bench.effort import TuningEffort
from benchmarks.bench.rows import Series
from benchmarks.tuning.ctrl import made_up_sentence, ml1m_sentences, row_cost
from benchmarks.tuning.preparation import full_cost, step_cost
from benchmarks.tuning.subject import SCHEMA, Subject, made_up, ml1m
from llactr_core.data.splits import open_dataset
from llactr_core.schema import Schema
from llactr_core.semantics.options import SsftOptions
from llactr_core.semantics.sampling import draw_samples

_ML1M_ROWS = 591_209
_SENTENCES = 64
STEPS = 3  # that are timed for each number of fields

Points = tuple[tuple[float, float], ...]


def measure_growth(datasets: Path, effort: TuningEffort) -> list[Series]:
    """All curves; CPU seconds of one thread in the language model."""
    options = SsftOptions(sam_num=effort.sam_num, device="cpu")
    sentences, total = ml1m_sentences(datasets, effort.read // 2)
    per_row = row_cost(sentences).train_s
    return [
        *_against_rows(datasets, options, effort.by_rows, per_row),
        *_against_sam_num(datasets, options, effort.by_sam_num, per_row * total),
        *_against_fields(options, effort),
    ]


def _against_rows(datasets: Path, options: SsftOptions, rows: Sequence[int], per_row: float) -> list[Series]:
    """The steps follow from the values that so many rows hold; a step's cost is that of all rows."""
    cost = full_cost(ml1m(datasets, options), options)
    ours = tuple((float(n), cost.cpu_s * _steps(_first_rows(datasets, options, n), options) / cost.steps) for n in rows)
    ctrl = tuple((float(n), n * per_row) for n in rows)
    measured = f"our {cost.cpu_s:.1f} s for all rows of ml1m and CTRL's {1000 * per_row:.2f} ms per row"
    return _three(
        *("rows", ours, ctrl),
        f"Measured: {measured}; the points are extrapolated from them. Ours bends when every field has sam_num values, "
        "or all it will ever have, and is lower where user and movie ids share numbers, which are read once; rows "
        "beyond ml1m's are taken to change no sample.",
    )


def _against_sam_num(datasets: Path, options: SsftOptions, sam_nums: Sequence[int], ctrl_s: float) -> list[Series]:
    each = [options.model_copy(update={"sam_num": sam_num}) for sam_num in sam_nums]
    ours = tuple((float(one.sam_num), full_cost(ml1m(datasets, one), one).cpu_s) for one in each)
    ctrl = tuple((float(sam_num), ctrl_s) for sam_num in sam_nums)
    return _three(
        *("sam_num", ours, ctrl),
        "ml1m; all points of ours are measured in full, CTRL's is extrapolated from a slice and knows no sam_num. "
        "Ours is flat at first, because an epoch has four steps at least, and later grows less than sam_num, because "
        "four of the seven fields have fewer values.",
    )


def _against_fields(options: SsftOptions, effort: TuningEffort) -> list[Series]:
    """A step's cost is measured for each number of fields, and multiplied by the number of steps."""
    sam_nums = sorted({*effort.by_sam_num, options.sam_num})
    by_sam_num: dict[int, list[tuple[float, float]]] = {sam_num: [] for sam_num in sam_nums}
    ctrl = []
    for count in effort.by_fields:
        slice_ = made_up(count, 50)
        per_step = step_cost(slice_, options.model_copy(update={"held_out": 0.01}), STEPS)
        for sam_num, points in by_sam_num.items():
            points.append((float(count), per_step * _steps(made_up(count, sam_num), options)))
        sentences = [made_up_sentence(slice_.schema, slice_.samples, number) for number in range(_SENTENCES)]
        ctrl.append((float(count), _ML1M_ROWS * row_cost(sentences).train_s))
    how = f"Made-up fields; {STEPS} steps are measured for each number of fields and multiplied by the number of steps."
    bend = (
        "Ours grows with the square of the fields: K times sam_num values, each in a prompt that lists the K fields; "
        "above 64 fields prompts list none, and above 512 tokens they are cut."
    )
    read = f"CTRL's: {_SENTENCES} rows measured, {_ML1M_ROWS:,} meant; ours with sam_num {options.sam_num}."
    default = tuple(by_sam_num[options.sam_num])
    return [
        *_three("fields", default, tuple(ctrl), f"{how} {read} {bend}"),
        *(
            Series(f"sam_num {sam_num}", "fields", "CPU s", tuple(points), f"{how} {bend}", "SSFT against fields")
            for sam_num, points in by_sam_num.items()
        ),
    ]


def _three(x_label: str, ours: Points, ctrl: Points, note: str) -> list[Series]:
    """Both costs, and how many times as much CTRL's is."""
    ratio = tuple((x, theirs / own) for (x, own), (_, theirs) in zip(ours, ctrl, strict=True))
    both = f"The preparation against {x_label}"
    return [
        Series(f"LLaCTR's preparation against {x_label}", x_label, "CPU s", ours, note, both),
        Series(f"CTRL's preparation against {x_label}", x_label, "CPU s", ctrl, note, both),
        Series(f"CTRL's preparation over LLaCTR's, against {x_label}", x_label, "x", ratio),
    ]


def _steps(subject: Subject, options: SsftOptions) -> int:
    _, work = subject.load(options)
    return options.epochs * len(work.batches(options, 0))


def _first_rows(datasets: Path, options: SsftOptions, count: int) -> Subject:
    """The samples of the first rows of ml1m, of all of them where it has fewer."""
    schema = Schema.load(SCHEMA)
    train = open_dataset(datasets / "ml1m", schema.label).train
    return Subject(schema, draw_samples(schema, _cut(train.batches(), count), options.sam_num, options.seed))


def _cut(batches: Iterator[pa.RecordBatch], count: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, count)
        count -= batch.num_rows
        if count <= 0:
            return
