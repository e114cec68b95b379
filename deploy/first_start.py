"""Makes the keys and passwords of a deployment: `first_start.py FOLDER`. Only the first start of all changes anything.

All files come into being at once: they are written beside the folder, which is then moved to its place. Each belongs to
the user of the one program that reads it, with mode 0400, so this must run as root (CAP_CHOWN is all that it needs).
"""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# The users of the images; PostgreSQL's, Redis' and Grafana's are those of their official images.
LLACTR, POSTGRES, REDIS, PROMETHEUS, GRAFANA = 10001, 999, 999, 65534, 472
SERVICES = ("ctr", "llm")


def contents() -> Iterator[tuple[str, int, str]]:
    """(file, user id of who reads it, content) of every secret, freshly drawn."""
    reader, redis = f"llactr_{secrets.token_urlsafe(32)}", secrets.token_urlsafe(32)
    yield "admin.key", LLACTR, f"llactr_{secrets.token_urlsafe(32)}"
    yield "reader.key", LLACTR, reader
    yield "prometheus/reader.key", PROMETHEUS, reader
    yield "grafana/admin.password", GRAFANA, secrets.token_urlsafe(24)
    yield "postgres/superuser.password", POSTGRES, secrets.token_urlsafe(32)
    yield "llm/llactr_llm_vllm_key", LLACTR, secrets.token_urlsafe(32)
    yield "redis/redis.conf", REDIS, f"requirepass {redis}\n"
    for service in SERVICES:
        role, password = f"llactr_{service}", secrets.token_urlsafe(32)
        database = f"postgresql://{role}:{password}@postgres:5432/{role}"
        yield f"postgres/{role}.password", POSTGRES, password
        yield f"{service}/llactr_{service}_database_url", LLACTR, database
        yield f"{service}/llactr_{service}_redis_url", LLACTR, f"redis://:{redis}@redis:6379/0"


def make(folder: Path) -> bool:
    """Make the folder with everything in it; False where there is one already.

    Raises:
        OSError: its parent cannot be written, or the files cannot be given to their users.
    """
    if folder.exists():
        return False
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, user, content in contents():
        file = unfinished / name
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, user, content)
    unfinished.rename(folder)
    return True


def _write(file: Path, user: int, content: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        os.chown(descriptor, user, user)
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)


def main() -> None:
    """Make them, and say where they are."""
    folder = Path(sys.argv[1])
    done = "are made" if make(folder) else "were made before"
    print(f"keys and passwords {done}; the admin key is in {folder / 'admin.key'}")


if __name__ == "__main__":
    main()
