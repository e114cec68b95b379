"""The folders of bundles, one per version, whichever models have it: put in place as a whole, taken away as a whole."""

import os
import secrets
import shutil
import time
from pathlib import Path

from sqlalchemy import select

from llactr_core.bundle import Bundle
from llactr_core.errors import BundleError
from services.ctr.registry.store import Registry
from services.ctr.registry.tables import VersionRow
from services.shared.storage.storage import hold

FOLDERS_LOCK = 0x11AC74
DAY_S = 24 * 3600.0
PART_AGE_S = 3600.0
FRESH_S = 10.0


def publish(out: Path, target: Path) -> None:
    """Move a new bundle to its place. An equal one that is there stays, unless it was damaged.

    Args:
        out: the bundle's folder, on the same file system; gone afterwards.
        target: `Registry.bundle_path` of its version.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.utime(target)  # `remove_unnamed` spares it until its row is written
        Bundle.open(target)
    except FileNotFoundError:
        out.rename(target)
    except BundleError:
        shutil.rmtree(target, ignore_errors=True)
        out.rename(target)
    else:
        shutil.rmtree(out)


def remove_unnamed(registry: Registry, version: str, age_s: float = FRESH_S) -> bool:
    """Remove the folder of a version that no model has, unless it was put there within `age_s`; whether it went.

    Raises:
        UnavailableError: the storage does not answer.
    """
    folder = registry.bundle_path(version)
    if _age_s(folder) < age_s:
        return False
    gone = folder.with_name(f".{version}.{secrets.token_hex(6)}.gone")
    with registry.storage.session() as session:
        hold(session, FOLDERS_LOCK)
        if session.scalar(select(VersionRow.number).where(VersionRow.version == version).limit(1)) is not None:
            return False
        try:
            folder.rename(gone)
        except FileNotFoundError:
            return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def sweep(registry: Registry) -> int:
    """Remove what a kill left behind: folders a day old that no row names, and parts an hour old; how many.

    Raises:
        UnavailableError: the storage does not answer.
    """
    removed = 0
    for folder in list(registry.bundles.iterdir()) if registry.bundles.is_dir() else []:
        if not folder.name.startswith("."):
            removed += remove_unnamed(registry, folder.name, DAY_S)
        elif _age_s(folder) > PART_AGE_S:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:  # another process removed it
        return 0.0
