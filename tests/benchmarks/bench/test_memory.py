import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]
MANY = 300 * 2**20


def test_the_peak_is_that_of_the_process_and_not_of_the_one_that_started_it() -> None:
    held = np.ones(MANY // 8)
    code = "from benchmarks.bench.memory import peak_bytes; print(peak_bytes())"
    alone = int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True).stdout)
    code = f"held = bytearray({MANY}); held = None; {code}"
    after = int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True).stdout)
    assert held.nbytes == MANY
    assert alone < MANY <= after
