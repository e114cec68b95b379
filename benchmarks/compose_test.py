"""`make test-compose`: the images and the compose file under Podman, and docs/compose-test.md.

Needs root, Podman (with netavark, aardvark-dns, iptables, runc) and debootstrap; no image registry: the public base
images are stood in for by Debian's packages. Everything lies in one folder below /var/tmp, which is removed at the end.
"""

import os
import platform
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.compose import checks
from benchmarks.compose.images import Images
from benchmarks.compose.podman import Podman, PodmanError
from benchmarks.compose.report import Report
from benchmarks.compose.stack import Stack, free_ports

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "compose-test.md"
WHAT = """
The images are built from `deploy/Dockerfile` and run as `docker-compose.yml` says, by podman-compose, which does not
wait for health checks: the services wait themselves. The public base images are stood in for by Debian's packages on
debootstrap's bookworm. Not run: Grafana, the profile `gpu` with its image, and Docker's own engine.
"""
NEEDED = ("podman", "debootstrap", "runc", "iptables", "unshare")


def main() -> None:
    """Run it all and write the page; the status says whether everything was as it should be."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        sys.exit(f"error: this needs root and {', '.join(NEEDED)} (missing: {', '.join(missing) or 'root'})")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is cleared then too
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="llactr-compose-", dir="/var/tmp"))
    ports = free_ports(3)
    variables = dict(zip(("CTR_PORT", "LLM_PORT", "PROMETHEUS_PORT"), map(str, ports), strict=True))
    data = folder / "data"
    data.mkdir()
    podman = Podman(folder, PROJECT, variables | {"LLACTR_DATA": str(data)})
    try:
        run(podman, Stack(podman, ports, report), report)
    except PodmanError as error:
        report.check("the run went through", is_so=False, found=error)
    finally:
        podman.clear()
        report.check("nothing is left of this run", not folder.exists())
    PAGE.write_text(page(report), encoding="utf-8")
    sys.exit(1 if report.failed else 0)


def run(podman: Podman, stack: Stack, report: Report) -> None:
    """Every part in turn."""
    report.section("images")
    images = Images(podman, report)
    images.make_stand_ins()
    images.build()
    checks.check_packages(podman, report)
    report.section("up: the default profile and Prometheus")
    stack.start()
    checks.check_containers(stack)
    with stack.client() as client:
        report.section("score, refresh")
        checks.check_scoring(stack, client)
        checks.check_refresh(stack, client)
        checks.check_prometheus(stack)
        report.section("kill -9 and start each container")
        checks.check_kills(stack, client)
        checks.check_prometheus_kill(stack)
    report.section("graceful stop")
    checks.check_stops(stack)
    report.section("down")
    podman.compose("--profile", "observability", "down", "--volumes")
    report.check("no container is left", not podman.run("ps", "--all", "--quiet").strip())
    report.check("no volume is left", not podman.run("volume", "ls", "--quiet").strip())


def page(report: Report) -> str:
    """The log with what was run."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    verdict = "Everything was as it should be." if not report.failed else f"Failed: {'; '.join(report.failed)}."
    lines = [
        "# The compose file under Podman",
        "",
        f"Written by `make test-compose` ({machine}; {report.seconds / 60:.0f} minutes). {verdict}",
        "",
        *WHAT.strip().splitlines(),
        "",
        "```",
        *report.lines,
        "```",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
