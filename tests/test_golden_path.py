"""The golden path on the real thing: `llactr up` on a dataset, score, refresh with a worker killed, roll back, stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from llactr_client import ApiError, Client
from shop import SHOP, shop_rows, write_shop

from llactr_core.scorer import Scorer

pytestmark = pytest.mark.timeout(600)
LLACTR = Path(sys.executable).with_name("llactr")


@dataclass
class Running:
    """A running `llactr up` and a client of it."""

    process: subprocess.Popen[bytes]
    client: Client
    home: Path
    env: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, data: Path) -> tuple[subprocess.Popen[bytes], dict[str, str], dict[str, object]]:
    """`llactr up --json`, and the line that it prints once the champion answers."""
    env = os.environ | {
        "LLACTR_HOME": str(home),
        "CTR_PORT": str(free_port()),
        "LLM_PORT": str(free_port()),
        "DATA": str(data),
        "LABEL": "click",
        "OMP_NUM_THREADS": "1",
    }
    said = home / "up.out"
    with said.open("w") as out:
        process = subprocess.Popen([LLACTR, "up", "--json"], cwd=home, env=env, stdout=out, stderr=out)
    while not said.read_text().rstrip().endswith("}"):
        assert process.poll() is None, f"`llactr up` ended:\n{said.read_text()}"
        time.sleep(0.1)
    return process, env, json.loads(said.read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = write_shop(tmp_path_factory.mktemp("shop"))
    SHOP.save(data / "schema.yaml")
    home = tmp_path_factory.mktemp("home")
    process, env, _ = start(home, data)
    key = (home / "admin.key").read_text().strip()
    with Client(f"http://127.0.0.1:{env['CTR_PORT']}", f"http://127.0.0.1:{env['LLM_PORT']}", key) as client:
        yield Running(process, client, home, env)
    process.send_signal(signal.SIGKILL)
    process.wait()


def worker_of(up: Running, module: str) -> psutil.Process:
    (worker,) = [
        child for child in psutil.Process(up.process.pid).children(recursive=True) if module in child.cmdline()
    ]
    return worker


def test_service_library_and_command_line_score_alike(up: Running, tmp_path: Path) -> None:
    rows = shop_rows(1000, 77)
    over_http = up.client.score(rows.to_pylist())
    bundle = next(up.home.glob(f"ctr/bundles/{over_http.version}*"))
    by_library = Scorer.load(bundle).score(rows.to_pylist())
    np.testing.assert_allclose(over_http.scores, by_library, atol=1e-6, rtol=0)

    pq.write_table(rows, tmp_path / "rows.parquet")
    out = tmp_path / "scores.parquet"
    command = [LLACTR, "score", "--bundle", bundle, "--in", tmp_path / "rows.parquet", "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    np.testing.assert_allclose(pq.read_table(out)["score"].to_numpy(), over_http.scores, atol=1e-6, rtol=0)


def test_refresh_survives_a_killed_worker_and_rolls_back(up: Running) -> None:
    rows = shop_rows(50, 78).to_pylist()
    before = up.client.score(rows)
    table_before = up.client.fields(before.model).version

    job = up.client.refresh(model=before.model, ssft={"epochs": 1, "seed": 5})
    killed = False
    deadline = time.monotonic() + 300
    while not job.ended and time.monotonic() < deadline:
        if not killed and job.state == "running" and job.progress > 0.05:
            worker_of(up, "services.ctr.worker").kill()
            killed = True
        time.sleep(0.1)
        job = up.client.job(job.id)
    assert killed, "the job ended before its worker could be killed"
    assert job.state == "succeeded", job.error

    after = up.client.score(rows)
    table_after = up.client.fields(before.model).version
    assert table_after != table_before
    assert after.version != before.version
    assert not np.allclose(after.scores, before.scores, atol=1e-6)

    up.client.promote(before.model, before.version)
    again = up.client.score(rows)
    assert again.version == before.version
    np.testing.assert_array_equal(again.scores, before.scores)


def test_admin_calls_need_the_key(up: Running) -> None:
    with Client(f"http://127.0.0.1:{up.env['CTR_PORT']}") as stranger:
        stranger.score([{}])
        with pytest.raises(ApiError) as error:
            stranger.refresh()
    assert error.value.status == 401


def test_a_second_start_is_quick_and_a_stop_leaves_nothing(up: Running) -> None:
    for attempt in (1, 2):
        family = psutil.Process(up.process.pid).children(recursive=True)
        assert len(family) >= 4
        began = time.monotonic()
        up.process.send_signal(signal.SIGINT if attempt == 1 else signal.SIGTERM)
        assert up.process.wait(20) == 0
        assert time.monotonic() - began < 15
        assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if attempt == 1:
            began = time.monotonic()
            up.process, env, _ = start(up.home, Path(up.env["DATA"]))
            assert time.monotonic() - began < 15
            up.env.update(env)
