"""Public datasets: the sample that ships with LLaCTR, and loaders for the files that a user downloads."""

from llactr_core.datasets.prepare import DATASETS, curated_schema, prepare, sample_dataset
from llactr_core.datasets.writing import PreparedDataset

__all__ = ["DATASETS", "PreparedDataset", "curated_schema", "prepare", "sample_dataset"]
