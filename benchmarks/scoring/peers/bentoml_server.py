"""BentoML with one worker."""

import os
import sys
from pathlib import Path

import bentoml
from model import Model


@bentoml.service(workers=1, traffic={"timeout": 60})
class Scoring:
    """Rows to probabilities."""

    def __init__(self) -> None:
        self.model = Model(Path(os.environ["BUNDLE"]))

    @bentoml.api
    def predict(self, rows: list[dict[str, str]]) -> dict[str, list[float]]:
        """Score them."""
        return {"scores": self.model.scores(rows)}


if __name__ == "__main__":
    os.environ["BUNDLE"] = sys.argv[1]
    place = ["--working-dir", str(Path(__file__).parent), "--host", "127.0.0.1", "--port", sys.argv[2]]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", "bentoml_server:Scoring", *place])
