"""The rules that turn what a column looks like into fields, in the order in which they are asked."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from llactr_core.data.inference.profile import MOST_DISTINCT, Profile
from llactr_core.data.parts import part_value
from llactr_core.schema import Field, Kind, humanise

FEW_VALUES = 32
MANY_VALUES = 1_000
_YEAR = 31_556_952
_ENTITY = (
    "user|item|movie|product|ad|app|site|device|store|shop|seller|brand|category|cate|campaign|page|session|query|doc|"
    "video|song|track|artist|book|customer|member|visitor|reviewer|author|creative|advertiser|adgroup|banner|merchant|"
    "region|city|hotel|client|account|publisher|domain"
)
_ID_NAME = re.compile(rf"({_ENTITY})ids?")
_ID_WORDS = frozenset({"id", "ids", "uid", "uuid", "guid", "asin", "sku", "isbn", "ean", "zip", "zipcode", "postcode"})
_ID_WORDS |= frozenset({"code", "key", "hash", "ip", "user", "item", "movie", "product"})
_TIME_WORDS = frozenset({"time", "timestamp", "ts", "date", "datetime", "created", "updated", "at", "when", "unixtime"})
_PART_TEXTS: tuple[tuple[Literal["hour", "weekday"], str], ...] = (
    ("hour", "hour of day of"),
    ("weekday", "day of the week of"),
)
_SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True)
class Choice:
    """The fields that one column becomes (none: it is left out), and why, in one sentence."""

    fields: tuple[Field, ...]
    reason: str


def choose(profile: Profile, columns: tuple[str, ...] = ()) -> Choice:
    """The fields for one column. `columns` are all names of the file, which new names must not collide with."""
    for rule in _RULES:
        choice = rule(profile, columns)
        if choice is not None:
            return choice
    return _text(profile)


def _constant(profile: Profile, _: tuple[str, ...]) -> Choice | None:
    if profile.present == 0 or profile.distinct == 0:
        return Choice((), f"left out: all {profile.rows:,} rows read are without a value")
    if profile.distinct == 1 and profile.missing == 0:
        return Choice((), f"left out: all {profile.rows:,} rows read have the value {profile.values[0][:40]!r}")
    return None


def _list(profile: Profile, _: tuple[str, ...]) -> Choice | None:
    if profile.is_list:
        field = Field(name=profile.name, kind=Kind.MULTI_VALUED, min_count=_min_count(profile))
        return Choice((field,), f"multi-valued: the column holds lists, of {_count(profile)} different items")
    if profile.numbers is not None:
        return None
    for separator in _SEPARATORS:
        found = profile.split(separator)
        if separator == "|":  # hardly ever found in other text, unlike the others
            joined = found.share >= 0.05 and found.reuse >= 1.2
        else:
            joined = found.share >= 0.05 and found.reuse >= 2 and found.length <= 30 and found.wandering >= 0.3
        if joined:
            rare = 2 if found.items > MANY_VALUES else 1
            field = Field(name=profile.name, kind=Kind.MULTI_VALUED, separator=separator, min_count=rare)
            share = f"{found.share:.0%} of the values are lists joined by {separator!r}"
            return Choice((field,), f"multi-valued: {share}, of {found.items:,} different items")
    return None


def _moment(profile: Profile, columns: tuple[str, ...]) -> Choice | None:
    if pa.types.is_timestamp(profile.type) or pa.types.is_date(profile.type):
        return _parts(profile, columns, f"a {profile.type} column")
    if profile.iso_share >= 0.95:
        return _parts(profile, columns, "dates or times in ISO-8601")
    if profile.numbers is not None and profile.integral and _epoch(profile):
        return _parts(profile, columns, "whole numbers in the range of Unix times")
    if profile.numbers is None and profile.other_date_share >= 0.95:
        return Choice((), f"left out: dates such as {profile.values[0]!r} are not ISO-8601; write them as 2014-10-21")
    return None


def _epoch(profile: Profile) -> bool:
    """Whole numbers are Unix times if they all lie in a plausible range and the name, or their course, says so too."""
    numbers = profile.numbers or ()
    low, high = min(numbers), max(numbers)
    named = bool(_TIME_WORDS.intersection(profile.words)) or profile.name.lower().endswith(("time", "stamp", "date"))
    if named and low >= 1980_01_01 and high <= 2100_12_31:
        return all(1 <= n // 100 % 100 <= 12 and 1 <= n % 100 <= 31 for n in numbers)
    years = (1980, 2100) if named else (1995, 2040)
    for unit in (1, 10**3, 10**6):
        if (years[0] - 1970) * _YEAR * unit <= low and high <= (years[1] - 1970) * _YEAR * unit:
            spread = profile.distinct > 0.5 * profile.present or profile.rising > 0.95
            return named or (profile.distinct >= 100 and spread)
    return False


def _parts(profile: Profile, columns: tuple[str, ...], what: str) -> Choice:
    """Hour and weekday of a moment, each only where it varies."""
    words = humanise(profile.name)
    hour, weekday = (
        Field(name=_free(f"{profile.name}_{p}", columns), source=profile.name, part=p, description=f"{text} {words}")
        for p, text in _PART_TEXTS
    )
    fields = tuple(f for f in (hour, weekday) if len({part_value(f, v) for v in profile.uniques} - {None}) > 1)
    if not fields:
        return Choice((), f"left out: {what}, all on one weekday and at one hour; the moment itself would be an id")
    if len(fields) == 2:
        taken = "the hour and the weekday become categorical fields"
    elif hour in fields:
        taken = "the hour becomes a categorical field, the weekday does not vary"
    else:
        taken = "the weekday becomes a categorical field, the time of day does not vary"
    return Choice(fields, f"{what}: {taken}; a moment itself never comes again")


def _identifier(profile: Profile, _: tuple[str, ...]) -> Choice | None:
    named = _named_id(profile)
    numbers = profile.numbers
    counter = numbers is not None and profile.integral and profile.monotone
    if profile.nearly_unique and (counter or (named and (numbers is None or profile.integral))):
        return Choice((), "left out: a running number or key; every row has its own, so nothing can be learned")
    if not named:
        return None
    return Choice(
        (Field(name=profile.name, min_count=2 if profile.distinct > FEW_VALUES else 1),),
        f"categorical: the name says that it identifies something; {_count(profile)} different values",
    )


def _number(profile: Profile, _: tuple[str, ...]) -> Choice | None:
    numbers = profile.numbers
    if numbers is None:
        return None
    span = f"{min(numbers):,.10g} to {max(numbers):,.10g}"
    if not profile.integral:
        return Choice((_numeric(profile),), f"numeric: decimal numbers from {span}")
    per_value = profile.present / profile.distinct
    if profile.distinct <= FEW_VALUES and (per_value >= 3 or profile.distinct <= 2):
        return Choice(
            (Field(name=profile.name),), f"categorical: only {profile.distinct} different whole numbers, from {span}"
        )
    if re.fullmatch(r"[cC][0-9]+", profile.name) or min(numbers) >= 1e8 or max(map(abs, numbers)) >= 1e12:
        why = "its name is that of a code" if min(numbers) < 1e8 else "the numbers are too long for quantities"
        return Choice(
            (Field(name=profile.name, min_count=2),), f"categorical: {why}; {_count(profile)} different whole numbers"
        )
    return Choice(
        (_numeric(profile),), f"numeric: {_count(profile)} different whole numbers from {span} look like a quantity"
    )


def _numeric(profile: Profile) -> Field:
    return Field(name=profile.name, kind=Kind.NUMERIC)


def _text(profile: Profile) -> Choice:
    if profile.mean_words >= 6 or (profile.mean_words >= 3 and profile.mean_length >= 50):
        reason = f"long text, {profile.mean_words:.0f} words on average; texts seen only once share the unseen id"
        return Choice((Field(name=profile.name, min_count=2),), f"categorical: {reason}")
    if profile.nearly_unique and profile.mean_words < 1.5:
        return Choice((), "left out: every row has a text of its own, so nothing can be learned from it")
    what = "many different texts, like names or keys" if profile.distinct > MANY_VALUES else "text"
    if pa.types.is_boolean(profile.type):
        what = "true or false"
    return Choice(
        (Field(name=profile.name, min_count=_min_count(profile)),),
        f"categorical: {what}; {_count(profile)} different values",
    )


def _named_id(profile: Profile) -> bool:
    return bool(_ID_WORDS.intersection(profile.words[-1:]) or _ID_NAME.fullmatch(profile.name.lower()))


def _min_count(profile: Profile) -> int:
    return 2 if profile.distinct > MANY_VALUES else 1


def _count(profile: Profile) -> str:
    return f"{profile.distinct:,}" if profile.distinct <= MOST_DISTINCT else f"more than {MOST_DISTINCT:,}"


def _free(name: str, columns: tuple[str, ...]) -> str:
    while name in columns:
        name += "_part"
    return name


_Rule = Callable[[Profile, tuple[str, ...]], Choice | None]
_RULES: tuple[_Rule, ...] = (_constant, _list, _moment, _identifier, _number)
