"""The images: stand-ins for the public base images, and ours, built from the Dockerfile on them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.compose.podman import Podman
from benchmarks.compose.report import Report

HERE = Path(__file__).parent
BASE = "debian:12.12-slim"
STAND_INS = {"postgres": "docker.io/library/", "redis": "docker.io/library/", "prometheus": "docker.io/"}
LIMITS = {"scorer": 600_000_000, "models": 1_800_000_000}
# What Debian's own slim image does too: no caches, lists and manuals.
DOCKER_CLEAN = """DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists")


class Images:
    """Builds images; pip inside of a build is given this machine's settings as volumes, never as a layer."""

    def __init__(self, podman: Podman, report: Report) -> None:
        self._podman = podman
        self._report = report
        content = (podman.checkout / "docker-compose.yml").read_text(encoding="utf-8")
        self._compose: dict[str, Any] = yaml.safe_load(content)

    def make_stand_ins(self) -> None:
        """Debian from its packages, and the servers on it, under the names that the compose file uses."""
        root = self._podman.folder / "debian"
        # In namespaces of its own, which end with it: debootstrap mounts /proc, and nothing may find it mounted later.
        apart = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*apart, "debootstrap", "--variant=minbase", "bookworm", str(root)]
        subprocess.run(command, check=True, capture_output=True)
        for folder in UNUSED:
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir(parents=True)
        (root / "etc/apt/apt.conf.d/docker-clean").write_text(DOCKER_CLEAN, encoding="utf-8")
        packed = self._podman.folder / "debian.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(packed), "."], check=True)
        self._podman.run("import", str(packed), BASE)
        shutil.rmtree(root)
        packed.unlink()
        self._report.note(f"{BASE}: debootstrap's bookworm")
        for service, prefix in STAND_INS.items():
            name = self._compose["services"][service]["image"]
            self._build(HERE / f"{service}.Dockerfile", prefix + name, HERE)
            self._report.note(f"{name}: Debian's package")

    def build(self) -> None:
        """The scorer's and the models' image, as the compose file has them built."""
        for service in ("ctr-api", "ctr-worker"):
            build, name = self._compose["services"][service]["build"], self._compose["services"][service]["image"]
            target, tag = build["target"], name.replace("${LLACTR_TAG:-local}", "local")
            self._build(self._podman.checkout / build["dockerfile"], tag, self._podman.checkout, target)
            size = int(self._podman.run("image", "inspect", "--format", "{{.Size}}", tag))
            limit = LIMITS[target]
            self._report.check(f"{tag} is below {limit / 1e6:.0f} MB", size < limit, f"{size / 1e6:.0f} MB")

    def _build(self, dockerfile: Path, tag: str, context: Path, target: str | None = None) -> None:
        wanted = ["--target", target] if target else []
        index = os.environ.get("TORCH_INDEX")
        wanted += ["--build-arg", f"TORCH_INDEX={index}"] if index and target == "models" else []
        options = ["--format", "docker", "--isolation", "chroot", "--network", "host", *self._pip_volumes(), *wanted]
        self._podman.run("build", *options, "--file", str(dockerfile), "--tag", tag, str(context), timeout_s=1800)

    def _pip_volumes(self) -> list[str]:
        """This machine's pip settings, with the files and folders that they name put below /run/host."""
        command = [sys.executable, "-m", "pip", "config", "list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        pairs = [line.split("=", 1) for line in listed.splitlines() if "=" in line]
        settings = {name.split(".", 1)[1]: value.strip("'\"").split() for name, value in pairs}
        lines = ["[global]"]
        mounts: dict[Path, str] = {}
        for name, words in settings.items():
            moved = []
            for word in words:
                path = mounted(word)
                if path is not None:
                    mounts.setdefault(path, f"/run/host/{len(mounts)}")
                moved.append(word if path is None else word.replace(str(path), mounts[path]))
            lines.append(f"{name} = {' '.join(moved)}")
        file = self._podman.folder / "pip.conf"
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")
        volumes = [(file, "/etc/pip.conf"), *mounts.items()]
        return [word for here, there in volumes for word in ("--volume", f"{here}:{there}:ro")]


def mounted(word: str) -> Path | None:
    """What a build has to see of a word in pip's settings; None where it names nothing on this machine."""
    path = Path(word.removeprefix("file://"))
    if not path.is_absolute() or not path.exists():
        return None
    return path.parent if word.startswith("file://") else path  # an index refers to files beside its folder
