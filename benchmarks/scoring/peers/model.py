"""The bundle's DeepFM with pair weights in eager PyTorch, as a user would serve it: dicts for values, one table."""

import json
import sys
from pathlib import Path

import pyarrow.ipc
import torch
from safetensors.torch import load_file

MISSING, UNSEEN, FIRST = 1, 2, 3


class Model:
    """Rows of texts to probabilities."""

    def __init__(self, bundle: Path) -> None:
        torch.set_num_threads(1)
        weights = load_file(bundle / "weights.safetensors")
        manifest = json.loads((bundle / "manifest.json").read_text())
        self.fields = [field["source"] or field["name"] for field in manifest["schema"]["fields"]]
        self.width = manifest["options"]["width"]
        values = pyarrow.ipc.open_file(bundle / "vocabulary.arrow").read_all()
        owner, texts = values["field"].to_pylist(), values["value"].to_pylist()
        self.ids: list[dict[str, int]] = [{} for _ in self.fields]
        for field, text in zip(owner, texts, strict=True):
            self.ids[field][text] = FIRST + len(self.ids[field])
        sizes = [FIRST + len(ids) for ids in self.ids]
        self.offsets = torch.tensor([sum(sizes[:k]) for k in range(len(sizes))])
        self.table = weights["embedding.table"]
        self.bias = weights["bias"]
        self.pairs = weights["serving.pairs"]
        names = sorted({name.rsplit(".", 1)[0] for name in weights if name.startswith("backbone.dnn")}, key=_number)
        layers: list[torch.nn.Module] = []
        for name in names:
            matrix, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
            layer = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None)
            layer.weight.data = matrix
            if bias is not None:
                layer.bias.data = bias
            layers += [layer, torch.nn.ReLU()]
        self.dnn = torch.nn.Sequential(*layers[:-1]).eval()

    def encode(self, rows: list[dict[str, str]]) -> torch.Tensor:
        """Ids [B, K] of rows."""
        names = self.fields
        found = [
            [
                ids.get(row[name], UNSEEN) if row.get(name) else MISSING
                for name, ids in zip(names, self.ids, strict=True)
            ]
            for row in rows
        ]
        return torch.tensor(found) + self.offsets

    @torch.inference_mode()
    def scores(self, rows: list[dict[str, str]]) -> list[float]:
        """Probabilities [B] of rows."""
        looked_up = torch.nn.functional.embedding(self.encode(rows), self.table)  # [B, K, d + 1]
        v, w = looked_up[..., : self.width], looked_up[..., self.width]
        pairs = (torch.matmul(self.pairs, v) * v).sum((1, 2))
        logits = self.bias + w.sum(1) + pairs + self.dnn(v.flatten(1)).squeeze(1)
        return torch.sigmoid(logits).tolist()


def _number(name: str) -> int:
    return int(name.rsplit(".", 1)[1])


def arguments() -> tuple[Path, int]:
    """The bundle and the port of the command line."""
    return Path(sys.argv[1]), int(sys.argv[2])
