import json
from pathlib import Path

import pyarrow as pa

from benchmarks.scoring.load import read_bodies
from benchmarks.scoring.workload import UNSEEN_EVERY, Workload


def test_requests_are_fresh_and_the_same_rows_in_both_formats(tmp_path: Path) -> None:
    work = Workload(tmp_path, values=50, fields=3)
    texts = [json.loads(body)["rows"] for body in read_bodies(work.json_bodies(100))]
    tables = [pa.ipc.open_stream(body).read_all().to_pylist() for body in read_bodies(work.arrow_bodies(100))]
    assert texts == tables
    assert texts[0] != texts[1]
    assert len(texts[0][0]) == 3
    assert sum(row["field_0"].startswith("new_") for row in texts[0]) == 100 // UNSEEN_EVERY
