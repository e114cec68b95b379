"""The explainers of the loaded models, each made when its version is explained first."""

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import pyarrow as pa

from llactr_core.errors import RowError
from llactr_core.explainer import Explainer, Explanation
from llactr_core.scorer import Scorer
from services.ctr.formats.decoding import Batch
from services.ctr.serving.pool import Loaded


@dataclass(frozen=True)
class Explained:
    """One answered request: the version that explained, the alias that an experiment chose, and the B rows."""

    loaded: Loaded
    arm: str | None
    explainer: Explainer
    explanation: Explanation


class Explainers:
    """Keeps an explainer for as long as its version is in memory. Safe between threads."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Scorer, Explainer] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def explain(self, loaded: Loaded, arm: str | None, batch: Batch) -> Explained:
        """Explain a batch; waits for the explainer to be loaded where it is the first.

        Raises:
            ConflictError: the version was trained by a release that could not explain.
            BundleError: its bundle is damaged.
            RowError: a value cannot be read; names row and field.
        """
        explainer = self._of(loaded.scorer)
        try:
            explanation = explainer.explain(loaded.scorer, batch.features)
        except pa.ArrowException as error:
            raise RowError(f"a column of the request cannot be read: {error}; send text or numbers") from error
        return Explained(loaded, arm, explainer, explanation)

    def _of(self, scorer: Scorer) -> Explainer:
        with self._lock:
            known = self._known.get(scorer)
            if known is None:
                known = self._known[scorer] = Explainer.load(scorer)
            return known
