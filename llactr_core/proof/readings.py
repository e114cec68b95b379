"""The log of every reading of a test split, so that nobody can tune on test unseen."""

import csv
import subprocess
from datetime import UTC, datetime
from pathlib import Path

LOG = Path("docs/results/test-readings.csv")


def record_reading(command: str, project: Path | None = None) -> bool:
    """Append (date, commit, command) to the log of the project in which the process runs; False outside a checkout."""
    project = project or Path.cwd()
    if not (project / ".git").exists() or not (project / LOG.parent).is_dir():
        return False
    commit = subprocess.run(
        ["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    log = project / LOG
    new = not log.exists()
    with log.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["date", "commit", "command"])
        writer.writerow([datetime.now(UTC).isoformat(timespec="seconds"), commit or "uncommitted", command])
    return True
