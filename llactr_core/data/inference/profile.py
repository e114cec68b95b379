"""What a column looks like: the facts that the kind of a field is inferred from, collected in bounded memory."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from llactr_core.data.canonical import canonical_array
from llactr_core.data.parts import unix_seconds
from llactr_core.schema import humanise

MOST_DISTINCT = 200_000
KEPT_VALUES = 20_000
KEPT_UNIQUES = 2_000
NO_NUMBER = frozenset({"?", "-", "na", "n/a", "nan", "null", "none", "inf", "-inf", "infinity", "-infinity", "unknown"})
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.0+)?")
_CODE = re.compile(r"0[0-9]+")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")
_OTHER_DATE = re.compile(r"[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}([T ].*)?")


@dataclass(frozen=True)
class Separated:
    """How a text column looks when it is split at one separator."""

    share: float  # of the distinct values, those that contain the separator
    reuse: float  # how many distinct values an item occurs in, on average
    items: int  # distinct items
    length: float  # mean characters of an item
    wandering: float  # of the items in several values, the share found at more than one place of the list


@dataclass(frozen=True)
class Profile:
    """One column, as far as it was read.

    `distinct` values were met in the first `counted` present ones, after which (past 200,000) counting stopped;
    `values` are up to 20,000 present ones, spread evenly, in order.
    """

    name: str
    type: pa.DataType
    rows: int
    missing: int
    distinct: int
    counted: int
    values: tuple[str, ...]

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return self.rows - self.missing

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the column's name, in lower case."""
        return tuple(humanise(self.name).split())

    @property
    def is_list(self) -> bool:
        """The column holds lists."""
        return bool(pa.types.is_list(self.type) or pa.types.is_large_list(self.type))

    @cached_property
    def uniques(self) -> tuple[str, ...]:
        """Up to 2,000 distinct ones of `values`, spread evenly, in order of first appearance."""
        found = tuple(dict.fromkeys(self.values))
        return found[:: -(-len(found) // KEPT_UNIQUES) or 1]

    @property
    def nearly_unique(self) -> bool:
        """Practically every row has a value of its own (told only from 100 rows on)."""
        return self.present >= 100 and self.distinct > 0.999 * self.counted

    @cached_property
    def numbers(self) -> tuple[float, ...] | None:
        """`values` as numbers, in order, if they all are (signs of a missing value aside); None otherwise."""
        found = []
        for value in self.values:
            try:
                number = math.nan if _CODE.fullmatch(value) else float(value)
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                found.append(number)
            elif value.lower() not in NO_NUMBER:
                return None
        return tuple(found) or None

    @cached_property
    def integral(self) -> bool:
        """All numbers are whole."""
        return all(_INTEGER.fullmatch(value) or value.lower() in NO_NUMBER for value in self.values)

    @property
    def rising(self) -> float:
        """Share of neighbouring numbers in `values` of which the second is not smaller."""
        return _share_of_pairs(self.numbers or (), lambda a, b: b >= a)

    @property
    def monotone(self) -> bool:
        """The numbers only rise, or only fall, from row to row, as those of a counter do."""
        numbers = self.numbers or ()
        up = _share_of_pairs(numbers, lambda a, b: b > a)
        down = _share_of_pairs(numbers, lambda a, b: b < a)
        return max(up, down) > 0.999

    @property
    def iso_share(self) -> float:
        """Share of distinct values that are ISO-8601 dates or times."""
        return _share(self.uniques, lambda v: bool(_ISO.fullmatch(v)) and unix_seconds(v) is not None)

    @property
    def other_date_share(self) -> float:
        """Share of distinct values that look like dates in another notation, such as 21/10/2014."""
        return _share(self.uniques, lambda v: bool(_OTHER_DATE.fullmatch(v)))

    @property
    def mean_words(self) -> float:
        """Words per distinct value."""
        return sum(len(value.split()) for value in self.uniques) / max(len(self.uniques), 1)

    @property
    def mean_length(self) -> float:
        """Characters per distinct value (of long ones the first 200 count)."""
        return sum(len(value) for value in self.uniques) / max(len(self.uniques), 1)

    def split(self, separator: str) -> Separated:
        """How the distinct values look when split at `separator`."""
        lists = [[item.strip() for item in value.split(separator) if item.strip()] for value in self.uniques]
        items = [item for found in lists for item in set(found)]
        counts = Counter(items)
        places: dict[str, set[int]] = defaultdict(set)
        for found in lists:
            for place, item in enumerate(found):
                places[item].add(place)
        repeated = tuple(item for item, count in counts.items() if count > 1)
        return Separated(
            share=_share(self.uniques, lambda value: separator in value),
            reuse=len(items) / max(len(counts), 1),
            items=len(counts),
            length=sum(map(len, items)) / max(len(items), 1),
            wandering=_share(repeated, lambda item: len(places[item]) > 1),
        )


class Profiler:
    """Collects a `Profile` from the batches of one column."""

    def __init__(self, name: str, kind: pa.DataType) -> None:
        self.name, self.type = name, kind
        self.rows = self.missing = self.position = self.counted = 0
        self.stride = 1
        self.seen: set[int] = set()
        self.values: list[str] = []

    def add(self, array: pa.Array) -> None:
        """Take in the column of one batch, [B]."""
        self.rows += len(array)
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            self.missing += sum(1 for n in pc.list_value_length(array).to_pylist() if not n)
            array = array.flatten()
            texts = canonical_array(array)
        else:
            texts = canonical_array(array)
            self.missing += texts.null_count
        present = texts.drop_null()
        if len(self.seen) <= MOST_DISTINCT:
            self.seen.update(map(hash, present.dictionary.to_pylist()))
            self.counted += len(present)
        self._keep(present)

    def finish(self) -> Profile:
        """The profile of what was taken in."""
        return Profile(self.name, self.type, self.rows, self.missing, len(self.seen), self.counted, tuple(self.values))

    def _keep(self, present: pa.DictionaryArray) -> None:
        """Keep every stride-th value; where that becomes too many, drop every other one and double the stride."""
        first = -self.position % self.stride
        self.position += len(present)
        if first < len(present):
            taken = present.take(pa.array(range(first, len(present), self.stride), pa.int64()))
            self.values.extend(taken.cast(pa.string()).to_pylist())
        while len(self.values) > KEPT_VALUES:
            self.values = self.values[::2]
            self.stride *= 2


def _share(values: tuple[str, ...], holds: Callable[[str], bool]) -> float:
    return sum(1 for value in values if holds(value)) / len(values) if values else 0.0


def _share_of_pairs(numbers: tuple[float, ...], holds: Callable[[float, float], bool]) -> float:
    pairs = len(numbers) - 1
    return sum(1 for a, b in pairwise(numbers) if holds(a, b)) / pairs if pairs > 0 else 0.0
