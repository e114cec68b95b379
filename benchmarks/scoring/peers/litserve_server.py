"""LitServe with one worker on the CPU; batches stay the caller's, as everywhere here."""

from pathlib import Path
from typing import Any

import litserve as ls
from model import Model, arguments


class Scoring(ls.LitAPI):
    """Rows to probabilities."""

    def __init__(self, bundle: Path) -> None:
        super().__init__()
        self.bundle = bundle

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = Model(self.bundle)

    def decode_request(self, request: dict[str, Any]) -> list[dict[str, str]]:
        """The rows."""
        return request["rows"]

    def predict(self, x: list[dict[str, str]]) -> list[float]:
        """Score them."""
        return self.model.scores(x)

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """The answer."""
        return {"scores": output}


if __name__ == "__main__":
    bundle, port = arguments()
    server = ls.LitServer(Scoring(bundle), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")
