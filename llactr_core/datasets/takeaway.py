"""A simulated click log of food delivery, with scenes: made here, so free of any licence and of any person's data.

A click follows from the user's tastes (half of them are the age group's), the restaurant's quality, and the scene: how
hot and wet the weather is, which meal the time of day is for, what kind of place the user is at, and the weekend. The
words say so, the ids do not. The last fifth of the log, all of valid and test, has weathers, times and places that
train never had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from llactr_core.datasets.writing import FEWEST_ROWS, PreparedDataset, table_batches, write_splits
from llactr_core.errors import OptionError
from llactr_core.progress import ProgressCallback, silent
from llactr_core.schema import Schema

_HERE = Path(__file__).parent
USERS, ITEMS = 800, 240
LATE = 0.8  # the share of the log before which no late value comes
BIAS, TASTE, QUALITY, SCENE = -2.2, 0.7, 0.4, 1.0
WEEKEND = ("Saturday", "Sunday")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
World = Mapping[str, Any]


def simulate_takeaway(
    out: Path, rows: int = 60_000, seed: int = 1, progress: ProgressCallback = silent, *, scene_effect: float = SCENE
) -> PreparedDataset:
    """Write train, valid and test.parquet and schema.yaml of a simulated click log, in the order of time.

    Args:
        out: the folder to write to, made if need be; files of these names in it are replaced.
        rows: of all parts together.
        seed: equal seeds give equal files.
        progress: told the stage and the share done.
        scene_effect: the factor of the scene's part in the logit; 0 for scenes that mean nothing.

    Raises:
        OptionError: fewer than 10 rows are asked for, or a negative seed.
    """
    if rows < FEWEST_ROWS:
        raise OptionError(f"rows: {rows} were asked for; give at least {FEWEST_ROWS}", field="rows")
    if seed < 0:
        raise OptionError(f"seed: {seed} is negative; give 0 or more", field="seed")
    world: World = yaml.safe_load((_HERE / "simulated" / "takeaway.yaml").read_text(encoding="utf-8"))
    schema = Schema.load(_HERE / "schemas" / "takeaway.yaml")
    random = np.random.default_rng(seed)
    restaurants = _restaurants(world, random)
    homes, ages = random.integers(0, len(world["districts"]), USERS), random.integers(0, len(world["age_group"]), USERS)
    kinds = len(world["category"])
    tastes = random.normal(size=(USERS, kinds)) + random.normal(size=(len(world["age_group"]), kinds))[ages]
    user, item = random.integers(0, USERS, rows), random.integers(0, ITEMS, rows)
    scenes = {name: _drawn(world[name], rows, random) for name in SCENE_PARTS}
    category = restaurants.category[item]
    logit = BIAS + TASTE * tastes[user, category] + QUALITY * restaurants.quality[item]
    logit = logit + 0.5 * (homes[user] == restaurants.place[item]) + scene_effect * _felt(world, scenes, category)
    clicks = random.random(rows) < 1 / (1 + np.exp(-logit))
    columns = {
        "user_id": [f"u{n}" for n in user],
        "age_group": _words(world["age_group"], ages[user]),
        "home": _words(world["districts"], homes[user]),
        "item_id": [f"r{n}" for n in item],
        "item_name": _words(restaurants.names, item),
        "category": _words(list(world["category"]), category),
        "place": _words(world["districts"], restaurants.place[item]),
        "description": _words(restaurants.descriptions, item),
        **{name: _words(list(world[name]), drawn) for name, drawn in scenes.items()},
        "click": clicks.astype(np.int8),
    }
    return write_splits(table_batches(pa.table(columns)), rows, schema, out, progress)


SCENE_PARTS = ("time_of_day", "weekday", "location", "weather", "device")


@dataclass(frozen=True)
class _Restaurants:
    names: list[str]
    descriptions: list[str]
    category: Ints
    place: Ints
    quality: Floats


def _restaurants(world: World, random: np.random.Generator) -> _Restaurants:
    category, place = (random.integers(0, len(world[name]), ITEMS) for name in ("category", "districts"))
    named = random.permutation(len(world["adjectives"]) * len(world["nouns"]) * 2)[:ITEMS] // 2
    kinds, phrases = list(world["category"]), [its["phrase"] for its in world["category"].values()]
    firsts, lasts = world["adjectives"], world["nouns"]
    pairs = zip(named.tolist(), category.tolist(), strict=True)
    names = [f"{firsts[n % len(firsts)]} {kinds[c].title()} {lasts[n // len(firsts)]}" for n, c in pairs]
    said = [f"We serve {phrases[c]} in the {world['districts'][p]}." for c, p in zip(category, place, strict=True)]
    return _Restaurants(names, said, category, place, random.normal(size=ITEMS))


def _drawn(values: Mapping[str, Mapping[str, Any]] | Sequence[str], rows: int, random: np.random.Generator) -> Ints:
    """The place of each row's value, [rows]; a late one only in the last fifth."""
    its = values.values() if isinstance(values, Mapping) else [{}] * len(values)
    shares = np.array([float(one.get("share", 1)) for one in its])
    early = shares * np.array([not one.get("late", False) for one in its])
    split = int(LATE * rows)
    parts = [(split, early), (rows - split, shares)]
    return np.concatenate([random.choice(len(shares), count, p=chances / chances.sum()) for count, chances in parts])


def _felt(world: World, scenes: Mapping[str, Ints], category: Ints) -> Floats:
    """What the scenes add to the logits of restaurants of these categories, [rows]."""
    weathers, kinds = list(world["weather"].values()), list(world["category"].values())
    weather = np.array([[its["heat"], its["wet"]] for its in weathers])[scenes["weather"]]
    appeal = np.array([[its["heat"], its["wet"]] for its in kinds])[category]
    meals = [its["meal"] for its in world["time_of_day"].values()]
    moods = [its["mood"] for its in world["location"].values()]
    meal = np.array([[one in kind["meals"] for one in meals] for kind in kinds])[category, scenes["time_of_day"]]
    mood = np.array([[one in kind["moods"] for one in moods] for kind in kinds])[category, scenes["location"]]
    is_weekend = np.isin(world["weekday"], WEEKEND)[scenes["weekday"]]
    is_fun = np.array(["friends" in kind["moods"] for kind in kinds])[category]
    felt: Floats = (weather * appeal).sum(1) + 1.6 * (meal - 0.4) + 0.8 * (mood - 0.5) + 0.6 * (is_weekend & is_fun)
    return felt


def _words(words: Sequence[str], places: Ints) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(places))
