"""Starting with a damaged bundle, and without a network."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from ctr_house import CtrHouse
from scored import ROWS, Caller
from servers import wait_until

from llactr_core.bundle import Bundle
from llactr_core.scorer import Scorer

ROOT = Path(__file__).parents[4]
ALONE = ["unshare", "--user", "--map-root-user", "--net"]
INSIDE = """
import json, sys
from pathlib import Path
from ctr_house import CtrHouse
from scored import scored
house = CtrHouse(Path(sys.argv[1]))
house.start()
try:
    house.until_ready()
    print(json.dumps(scored(house.anyone)))
finally:
    house.stop()
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[CtrHouse]:
    house = CtrHouse(tmp_path / "home", extra={"LLACTR_CTR_QUEUE_MS": "60000"})
    yield house
    house.stop()


def damage(house: CtrHouse, version: str) -> None:
    """What a disk does: the second half of every file is gone."""
    for file in (house.home / "ctr" / "bundles" / version).iterdir():
        os.truncate(file, file.stat().st_size // 2)


def test_a_bundle_damaged_under_the_service_is_not_taken_by_the_next_start(
    house: CtrHouse, bundles: dict[str, Bundle]
) -> None:
    good, champion = (house.publish(bundles[name], "tiny") for name in ("none", "llactr"))
    process = house.start()
    house.until_ready()
    damage(house, champion)
    with Caller(house.url) as caller:
        wait_until(lambda: len(caller.answers) > 20, 10, "answers of the running process")
    assert caller.versions == [champion]
    process.send_signal(signal.SIGTERM)
    process.wait(15)

    house.start()
    house.until_ready()
    with Caller(house.url) as caller:
        wait_until(lambda: len(caller.answers) > 5, 10, "answers of the next process")
    assert caller.wrong({good: Scorer.load(bundles["none"].path)}) == []
    damage(house, good)
    house.processes[-1].send_signal(signal.SIGTERM)
    house.processes[-1].wait(15)

    house.start()
    wait_until(lambda: answers(house), 60, "the process to answer")
    ready = house.anyone.get("/readyz")
    assert ready.status_code == 503
    assert "look in the log" in ready.json()["detail"]
    assert f"champion {champion} of 'tiny' is refused, it does not serve" in (house.home / "api.log").read_text()
    score = house.anyone.post("/v1/score", json={"rows": ROWS})
    assert (score.status_code, score.json()["code"]) == (409, "no-model")


def answers(house: CtrHouse) -> bool:
    try:
        return house.anyone.get("/healthz").status_code == 200
    except httpx2.TransportError:
        return False


def test_without_a_network_the_service_is_ready(tmp_path: Path, bundles: dict[str, Bundle]) -> None:
    home = tmp_path / "home"
    version = CtrHouse(home).publish(bundles["llactr"], "tiny")
    loopback = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if subprocess.run([*ALONE, *loopback, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system gives no one a network of their own")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [*ALONE, *loopback, sys.executable, "-c", INSIDE, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    _, status, scored_by, scores = json.loads(done.stdout.splitlines()[-1])
    assert (status, scored_by) == (200, version)
    assert scores == pytest.approx(Scorer.load(bundles["llactr"].path).score(ROWS).tolist(), abs=1e-6)
