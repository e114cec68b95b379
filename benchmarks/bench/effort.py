"""How much is measured: sizes, seconds and repeats of every section, in full, and to see that all of it runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoringEffort:
    """Seconds of load and how often; values of a field; starts; rows and seeds of rounding; then the curves."""

    seconds: float = 3.0
    repeats: int = 5
    values: int = 100_000
    starts: int = 5
    rounded_rows: int | None = None
    rounded_seeds: tuple[int, ...] = (1, 2, 3)
    curve_seconds: float = 1.5
    curve_repeats: int = 2
    curve_values: int = 10_000
    by_fields: tuple[int, ...] = (8, 16, 32, 64)
    by_values: tuple[int, ...] = (1_000, 10_000, 100_000, 770_000)
    by_rows: tuple[int, ...] = (1, 10, 100, 1000)
    by_callers: tuple[int, ...] = (1, 4, 32, 128)
    by_workers: tuple[int, ...] = (1, 2, 4)


@dataclass(frozen=True)
class TrainingEffort:
    """Timed steps of ours and the peer, repeats, rounds, seeds of whole epochs, rows of the large table; the curves."""

    backbones: tuple[str, ...] = ("fm", "deepfm", "fwfm", "fmfm", "finalmlp", "wukong")
    steps: int = 30
    peer_steps: int = 15
    repeats: int = 3
    rounds: int = 12
    seeds: tuple[int, ...] = (1, 2, 3)
    epoch_rows: int | None = None
    large: int = 50_000_000
    large_steps: int = 50
    curve_steps: int = 15
    by_rows: tuple[int, ...] = (25_000, 50_000, 100_000, 200_000)
    by_fields: tuple[int, ...] = (8, 16, 32, 64)
    by_vocabulary: tuple[int, ...] = (10**4, 10**5, 10**6, 10**7)
    by_batch: tuple[int, ...] = (256, 1024, 4096, 16384)


@dataclass(frozen=True)
class BulkEffort:
    """Scores of an AUC, rows of a Parquet file, repeats."""

    scores: tuple[int, ...] = (10**6, 10**7)
    encoded: int = 10**7
    scored: int = 10**6
    repeats: int = 3


@dataclass(frozen=True)
class TuningEffort:
    """Values of a field, seeds and epochs of a tuning, batches of the causal model, rows CTRL reads; the curves."""

    sam_num: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 5
    prefix_steps: int = 4
    read: int = 512
    repeats: int = 2
    by_rows: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6, 10**7)
    by_fields: tuple[int, ...] = (8, 16, 32, 60)
    by_sam_num: tuple[int, ...] = (5, 20, 50, 100)


@dataclass(frozen=True)
class Effort:
    """That of every section."""

    scoring: ScoringEffort = ScoringEffort()
    training: TrainingEffort = TrainingEffort()
    bulk: BulkEffort = BulkEffort()
    tuning: TuningEffort = TuningEffort()


FULL = Effort()
SMOKE = Effort(
    ScoringEffort(
        seconds=0.3,
        repeats=1,
        values=1_000,
        starts=1,
        rounded_rows=5_000,
        rounded_seeds=(1,),
        curve_seconds=0.3,
        curve_repeats=1,
        curve_values=100,
        by_fields=(8, 16),
        by_values=(100, 1_000),
        by_rows=(1, 100),
        by_callers=(1, 4),
        by_workers=(1, 2),
    ),
    TrainingEffort(
        backbones=("fm", "finalmlp"),
        steps=2,
        peer_steps=2,
        repeats=1,
        rounds=1,
        seeds=(1,),
        epoch_rows=20_000,
        large=100_000,
        large_steps=2,
        curve_steps=2,
        by_rows=(25_000, 50_000),
        by_fields=(8, 16),
        by_vocabulary=(10**4, 10**5),
        by_batch=(256, 1024),
    ),
    BulkEffort(scores=(10**5,), encoded=20_000, scored=20_000, repeats=1),
    TuningEffort(
        sam_num=4,
        seeds=(0,),
        epochs=1,
        prefix_steps=1,
        read=64,
        repeats=1,
        by_rows=(100, 10**6),
        by_fields=(8, 16),
        by_sam_num=(2, 3),
    ),
)
