"""What `make test-compose` looks at, one function for each part of the run."""

import time

from llactr_client import Client

from benchmarks.compose.podman import Podman, PodmanError
from benchmarks.compose.report import Report
from benchmarks.compose.stack import LONG_RUNNING, OURS, Scores, Stack

RECOVERY_S = 90.0
STOP_S = 30.0
SCRAPE_S = 60.0
JOB_S = 1200.0
SCORED = 'llactr_http_requests_total{route="/v1/score",status="2xx"}'


def check_packages(podman: Podman, report: Report) -> None:
    """What must not be in the images."""
    find = "import importlib.util as u, sys; sys.exit(any(u.find_spec(name) for name in sys.argv[1:]))"
    for image, unwanted in (("llactr-scorer:local", ("torch", "transformers")), ("llactr-models:local", ("nvidia",))):
        names = ("run", "--rm", "--network", "none", image, "python", "-c", find, *unwanted)
        report.check(f"{image} has no {' and no '.join(unwanted)}", podman.status(*names) == 0)


def check_containers(stack: Stack) -> None:
    """Users, file systems, capabilities, ports and secrets, as they really are."""
    podman, report = stack.podman, stack.report
    users = {service: podman.inside(service, "id", "-u") for service in LONG_RUNNING}
    report.check("no container's user is root", "0" not in users.values(), users)
    writable = [s for s in LONG_RUNNING if podman.status("exec", podman.container(s), "touch", "/usr/written") == 0]
    report.check("every root file system is read-only", not writable, ", ".join(writable))
    rights = {
        service: podman.inside(service, "grep", "-E", "CapEff|NoNewPrivs", "/proc/self/status") for service in OURS
    }
    hardened = all(text.split() == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"] for text in rights.values())
    report.check("our containers have no capability and can gain none", hardened)
    seen = [podman.inspect(service) for service in LONG_RUNNING]
    ports = [bound for one in seen for bound in one["NetworkSettings"]["Ports"].values() if bound]
    hosts = {binding["HostIp"] for bound in ports for binding in bound}
    report.check("ports are published on loopback only", hosts == {"127.0.0.1"}, hosts)
    passwords = [podman.inside("ctr-api", "cat", f"/run/llactr/keys/{name}") for name in ("admin.key", "reader.key")]
    report.check("no key is in a container's settings", not any(key in str(seen) for key in passwords))
    report.check("no key is in a log", not any(key in logs_of(stack) for key in passwords))


def logs_of(stack: Stack) -> str:
    """What our containers have said."""
    return "".join(
        stack.podman.run("logs", stack.podman.container(service)) for service in (*OURS, "first-start", "setup")
    )


def check_scoring(stack: Stack, client: Client) -> None:
    """Rows in, probabilities out, for those with a key."""
    scores = stack.scores(client)
    stack.report.check("rows are scored", scores is not None and all(0 < s < 1 for s in scores), shown(scores))
    stack.report.check("without a key they are not", stack.status_without_key() == 401)


def check_refresh(stack: Stack, client: Client) -> None:
    """The whole chain by one call: another field table, training on it, the gate, promotion."""
    tables = client.field_versions("bank-marketing")
    before = client.score([{"age": 41}]).version
    job = client.refresh("bank-marketing", ssft={"seed": 7, "epochs": 1})
    ended = client.wait_for_job(job, timeout=JOB_S)
    stack.report.check("POST /v1/admin/refresh succeeded", ended.state == "succeeded", ended.error or "")
    after = client.score([{"age": 41}]).version
    added = len(client.field_versions("bank-marketing")) - len(tables)
    stack.report.check("there is another field table", added == 1)
    stack.report.note(f"champion {before[:12]} -> {after[:12]}; {(ended.result or {}).get('reason', '')}".rstrip("; "))


def check_prometheus(stack: Stack) -> None:
    """That Prometheus scrapes all four processes, with the key that was made for it."""

    def all_up() -> bool:
        return stack.targets() == dict.fromkeys(OURS, "up")

    stack.until("Prometheus' targets to be up", all_up, SCRAPE_S)
    stack.report.check("Prometheus says that every target is up", all_up(), ", ".join(sorted(stack.targets())))
    count = stack.query(SCORED)
    stack.report.check("it has counted the scoring requests", count > 0, f"{count:.0f}")
    stack.report.check("it has loaded the alerting rules", stack.alerting_rules() > 0, stack.alerting_rules())


def check_kills(stack: Stack, client: Client) -> None:
    """Each container once: what happens to scoring meanwhile, and that all is as before afterwards."""
    expected, versions = stack.scores(client), client.model_versions("bank-marketing")
    for service in LONG_RUNNING:
        container = stack.podman.container(service)
        stack.podman.run("kill", container)
        stack.podman.run("wait", container)  # `kill` returns before the end, and `start` does nothing until then
        meanwhile = stack.scores(client)
        stack.podman.run("start", container)
        took = recovery(stack, client, service, expected)
        is_right = meanwhile == expected or (service == "ctr-api" and meanwhile is None)
        answered = "went on meanwhile" if meanwhile is not None else "did not answer meanwhile"
        stack.report.check(f"{service}: scoring {answered}", is_right, f"all as before {took:.0f} s after its start")
    stack.report.check("no version was lost", client.model_versions("bank-marketing") == versions, len(versions))
    job = client.wait_for_job(client.refresh("bank-marketing", ssft={"seed": 7, "epochs": 1}), timeout=JOB_S)
    stack.report.check("a refresh goes through afterwards", job.state == "succeeded", job.error or "")


def check_prometheus_kill(stack: Stack) -> None:
    """Prometheus too: it scrapes again, and what it had counted is still there."""
    container, counted = stack.podman.container("prometheus"), f"max_over_time({SCORED}[1h])"
    stack.podman.run("kill", container)
    stack.podman.run("wait", container)
    stack.podman.run("start", container)
    stack.until("Prometheus to answer", stack.prometheus_ready, SCRAPE_S)
    stack.report.check("prometheus: what it had counted is still there", stack.query(counted) > 0)
    stack.until("Prometheus' targets to be up", lambda: stack.targets() == dict.fromkeys(OURS, "up"), SCRAPE_S)
    stack.report.check("prometheus: it scrapes every target again", is_so=True)


def recovery(stack: Stack, client: Client, service: str, expected: Scores | None) -> float:
    """Seconds until a container is healthy and the scores are as before."""
    began = time.monotonic()
    try:
        stack.until(
            f"{service} to be healthy and the scores to be as before",
            lambda: stack.podman.healthy(service) and stack.scores(client) == expected,
            RECOVERY_S,
        )
    except PodmanError:
        state = stack.podman.inspect(service)["State"]["Status"]
        stack.report.note(f"{service} is {state}; scores: {shown(stack.scores(client))}, before: {shown(expected)}")
        raise
    return time.monotonic() - began


def check_stops(stack: Stack) -> None:
    """SIGTERM, as `docker compose stop` sends it: our processes end by themselves, and in time."""
    for service in OURS:
        began = time.monotonic()
        stack.podman.run("stop", "--time", f"{STOP_S:.0f}", stack.podman.container(service))
        code = stack.podman.inspect(service)["State"]["ExitCode"]
        stack.report.check(f"{service} ended with 0", code == 0, f"{code}, {time.monotonic() - began:.1f} s")


def shown(scores: Scores | None) -> str:
    """Scores for people."""
    return "no answer" if scores is None else ", ".join(f"{score:.4f}" for score in scores)
