"""MovieLens-1M as GroupLens publishes it: ratings.dat, movies.dat and users.dat, "::" between cells, Latin-1.

The rule is the LLaCTR paper's (arXiv 2505.14057): a rating of 3 is dropped, the label is rating > 3, rows are sorted by
time (ties in file order) and cut 8:1:1.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llactr_core.datasets.files import find_file, numbered_lines
from llactr_core.datasets.writing import PreparedDataset, table_batches, write_splits
from llactr_core.errors import DataError
from llactr_core.progress import Progress, ProgressCallback
from llactr_core.schema import Schema

WHERE = "https://grouplens.org/datasets/movielens/1m/"
GENDERS = {"F": "female", "M": "male"}
AGES = {"1": "Under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56+"}
OCCUPATIONS = (
    "other or not specified",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)
_OCCUPATION = {str(code): text for code, text in enumerate(OCCUPATIONS)}
_WIDTHS = {"ratings.dat": 4, "movies.dat": 3, "users.dat": 5}
_Attributes = Mapping[int, tuple[str | None, ...]]


def prepare_movielens(source: Path, out: Path, schema: Schema, progress: ProgressCallback) -> PreparedDataset:
    """Prepare MovieLens-1M from the folder with its three files.

    Raises:
        DataError: a file is missing or is not as published.
    """
    files = {name: find_file(_folder(source), [name], WHERE) for name in _WIDTHS}
    users = {int(u): (GENDERS.get(g), AGES.get(a), _OCCUPATION.get(o)) for u, g, a, o, _ in _cells(files["users.dat"])}
    movies = {int(m): (title, genres) for m, title, genres in _cells(files["movies.dat"])}
    progress(Progress("reading the ratings", 0.1))
    ratings = np.array([[int(cell) for cell in row] for row in _cells(files["ratings.dat"])], np.int64)
    ratings = ratings[ratings[:, 2] != 3]
    ratings = ratings[np.argsort(ratings[:, 3], kind="stable")]
    table = _table(ratings, users, movies)
    return write_splits(table_batches(table), len(ratings), schema, out, progress)


def _table(ratings: npt.NDArray[np.int64], users: _Attributes, movies: _Attributes) -> pa.Table:
    user, movie, stars, moment = ratings.T
    genders, ages, occupations = _looked_up(user, users, 3)
    titles, genres = _looked_up(movie, movies, 2)
    return pa.table(
        {
            "UserID": pa.array(user, pa.int32()),
            "Gender": genders,
            "Age": ages,
            "Occupation": occupations,
            "MovieID": pa.array(movie, pa.int32()),
            "Title": titles,
            "Genres": genres,
            "Timestamp": pa.array(moment, pa.int64()),
            "Rating": pa.array(stars > 3).cast(pa.int8()),
        }
    )


def _looked_up(keys: npt.NDArray[np.int64], known: _Attributes, columns: int) -> list[pa.Array]:
    """The attributes of each key as string columns; null for a key that the attributes' file does not have."""
    distinct, where = np.unique(keys, return_inverse=True)
    nothing = (None,) * columns
    rows = [known.get(int(key), nothing) for key in distinct]
    return [pa.array([row[i] for row in rows], pa.string()).take(pa.array(where)) for i in range(columns)]


def _folder(source: Path) -> Path:
    """The folder with the files: `source`, the folder of a file given, or the folder that the archive unpacks to."""
    folder = source.parent if source.is_file() else source
    return folder / "ml-1m" if (folder / "ml-1m").is_dir() else folder


def _cells(path: Path) -> list[list[str]]:
    """The cells of every line of one of the three files."""
    width = _WIDTHS[path.name]
    rows = []
    for number, line in numbered_lines(path):
        cells = line.decode("latin-1").rstrip("\r\n").split("::")
        if len(cells) > width == 3:  # a title with "::" in it
            cells = [cells[0], "::".join(cells[1:-1]), cells[-1]]
        if not _is_row(cells, width):
            raise DataError(f"{path}: line {number} is not as published: {line[:60]!r}; expected {width} cells, '::'")
        rows.append(cells)
    if not rows:
        raise DataError(f"{path}: the file is empty; download it again from {WHERE}")
    return rows


def _is_row(cells: list[str], width: int) -> bool:
    numbers = cells if width == _WIDTHS["ratings.dat"] else cells[:1]
    return len(cells) == width and all(cell.isascii() and cell.isdigit() for cell in numbers)
