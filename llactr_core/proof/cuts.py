"""Other cuts of a dataset, by the hash of a user or an item: items that train never had, and few users."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llactr_core.data.canonical import canonical_array
from llactr_core.data.mixing import mixed
from llactr_core.data.read import Source
from llactr_core.data.splits import Splits

TENTHS = 10
TEST_TENTH, VALID_TENTH = 0, 1


class Chosen(Source):
    """The rows of some files whose value in a column hashes into some buckets: a view that filters while it reads.

    A value's bucket is crc32 of the salt and its canonical text, modulo `of`.

    Args:
        wholes: the files, one behind the other; at least one.
        column: whose values decide.
        of: how many buckets there are.
        buckets: those that are kept.
        salt: another one gives buckets that have nothing to do with these.
    """

    def __init__(self, wholes: Sequence[Source], column: str, of: int, buckets: Sequence[int], salt: str = "") -> None:
        super().__init__(wholes[0].path)
        self._wholes, self._column, self._of, self._buckets = tuple(wholes), column, of, tuple(buckets)
        self._salt = salt

    def digest(self) -> str:
        """SHA-256 over the whole files' digests and the choice, in hex."""
        parts = [*(whole.digest() for whole in self._wholes), self._column, str(self._of), str(self._buckets)]
        parts += [self._salt] if self._salt else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _read_columns(self) -> tuple[str, ...]:
        return self._wholes[0].columns

    def _read_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        read = list(dict.fromkeys([*columns, self._column]))
        for whole in self._wholes:
            for batch in whole.batches(read):
                kept = np.isin(buckets_of(batch.column(self._column), self._of, self._salt), self._buckets)
                yield batch.select(columns).filter(pa.array(kept))


class Some(Source):
    """Some percent of a file's rows, by the hash of their positions.

    Args:
        whole: the file.
        percent: of its rows, 1 to 100.
    """

    def __init__(self, whole: Source, percent: int) -> None:
        super().__init__(whole.path)
        self._whole, self._percent = whole, percent

    def digest(self) -> str:
        """SHA-256 over the whole file's digest and the choice, in hex."""
        return hashlib.sha256(f"{self._whole.digest()} {self._percent} %".encode()).hexdigest()

    def _read_columns(self) -> tuple[str, ...]:
        return self._whole.columns

    def _read_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        position = 0
        for batch in self._whole.batches(columns):
            places = mixed(np.arange(position, position + batch.num_rows, dtype=np.uint64))
            position += batch.num_rows
            yield batch.filter(pa.array(places % np.uint64(100) < self._percent))


def buckets_of(column: pa.Array, of: int, salt: str = "") -> npt.NDArray[np.int64]:
    """The bucket of each value, int64 [N]; that of a missing value is the empty text's."""
    coded = canonical_array(column)
    texts = [*coded.dictionary.to_pylist(), ""]
    hashed = np.array([zlib.crc32((salt + text).encode()) % of for text in texts], np.int64)
    places: npt.NDArray[np.int64] = coded.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
    return hashed[places]


def item_cold(splits: Splits, item: str) -> Splits:
    """Items of one tenth are in test alone, those of another one in valid alone; train has neither."""
    rest = [bucket for bucket in range(TENTHS) if bucket not in (TEST_TENTH, VALID_TENTH)]
    wholes = (splits.train, splits.valid, splits.test)
    return Splits(
        Chosen([splits.train], item, TENTHS, rest),
        Chosen(wholes[:2], item, TENTHS, [VALID_TENTH]),
        Chosen(wholes, item, TENTHS, [TEST_TENTH]),
        f"{splits.how}; items by {item!r}: a tenth only in test, a tenth only in valid",
    )


def few_rows(splits: Splits, user: str | None, percent: int) -> Splits:
    """Train on some percent of the users, or of the rows where there are no users; valid and test stay whole."""
    train = Some(splits.train, percent) if user is None else Chosen([splits.train], user, 100, range(percent))
    of_what = "the rows" if user is None else f"the users by {user!r}"
    return Splits(train, splits.valid, splits.test, f"{splits.how}; train: {percent} % of {of_what}")


def thinned(splits: Splits, user: str | None, percents: tuple[int, int, int], salt: str) -> Splits:
    """Some percent of the users of train, valid and test (of the rows, where there are no users); 100 keeps a part.

    The users of a part with fewer percent are among those of a part with more. A cut with another salt than an earlier
    one takes its share of what that left.
    """

    def part(whole: Source, percent: int) -> Source:
        if percent >= 100:
            return whole
        return Some(whole, percent) if user is None else Chosen([whole], user, 100, range(percent), salt)

    train, valid, test = (part(*one) for one in zip((splits.train, splits.valid, splits.test), percents, strict=True))
    of_what = "rows" if user is None else f"users by {user!r}"
    told = f"{splits.how}; {of_what} kept for lack of time: {percents[0]} % of train, {percents[1]} % of valid"
    return Splits(train, valid, test, f"{told}, {percents[2]} % of test")
