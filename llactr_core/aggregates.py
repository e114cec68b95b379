"""The aggregates of scenes (LARR, arXiv 2408.11523) at serving time, without torch: each scene is encoded once."""

import threading
from typing import Self

import numpy as np
import numpy.typing as npt

from llactr_core.data.vocabulary import Ids
from llactr_core.scene_rows import SceneRows
from llactr_core.session import open_session

Floats = npt.NDArray[np.float32]
MOST = 32_768  # scenes that are kept; more begin anew


class Aggregates:
    """Scenes to aggregates; those of the last scenes are kept, since requests have few and the same ones come again.

    Safe to share between threads.

    Args:
        rows: what the encoder reads of each value.
        graph: the encoder as ONNX, scenes [B, S, D'] -> [B, c].
        most: how many are kept.
    """

    def __init__(self, rows: SceneRows, graph: bytes, most: int = MOST) -> None:
        self.rows = rows
        self._graph = graph
        self._most = most
        self._session = open_session(graph)
        self._columns = int(self._session.get_outputs()[0].shape[1])
        self._adding = threading.Lock()
        self._kept = self._none_kept()

    def with_rows(self, rows: Floats) -> Self:
        """These with the scene rows [n, D'] of an overlay."""
        return type(self)(self.rows.with_rows(rows), self._graph, self._most)

    @property
    def nbytes(self) -> int:
        """About how much memory it takes at the most, in bytes."""
        return self.rows.table.nbytes + self._most * (4 * self._columns + 200) + 3 * len(self._graph)

    def of_ids(self, ids: Ids) -> Floats:
        """The aggregates float32 [B, c] of rows of ids int32 [B, S']."""
        places = self.rows.places(ids)  # [B, S]
        data, size = places.tobytes(), places.itemsize * places.shape[1]
        scenes = [data[start : start + size] for start in range(0, len(data), size)]
        numbers, kept = self._kept
        found = [numbers.get(scene, -1) for scene in scenes]
        result: Floats = kept.take(found, axis=0, mode="wrap")
        if -1 in found:
            new = [i for i, number in enumerate(found) if number < 0]
            result[new] = self._encoded([scenes[i] for i in new], places[new])
        return result

    def _encoded(self, scenes: list[bytes], places: npt.NDArray[np.int64]) -> Floats:
        """The aggregates [N, c] of scenes [N, S] that are not kept, and keep them."""
        order = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
        first = np.unique([order[scene] for scene in scenes], return_index=True)[1]
        (different,) = self._session.run(None, {"scenes": self.rows.table.take(places[first], axis=0)})
        self._keep(list(order), different)
        result: Floats = different[[order[scene] for scene in scenes]]
        return result

    def _keep(self, scenes: list[bytes], aggregates: Floats) -> None:
        """A number is told only once its row is written, so that who reads meanwhile finds what belongs to it."""
        with self._adding:
            if len(self._kept[0]) + len(scenes) > self._most:
                self._kept = self._none_kept()
            numbers, kept = self._kept
            for scene, aggregate in zip(scenes[: self._most], aggregates, strict=False):
                number = numbers.get(scene, len(numbers))
                kept[number] = aggregate
                numbers[scene] = number

    def _none_kept(self) -> tuple[dict[bytes, int], Floats]:
        return {}, np.zeros((self._most, self._columns), np.float32)
