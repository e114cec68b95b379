"""Starts a worker beside others that serve: `python -m services.shared.http.starting MODULE` runs MODULE's `main`.

Most of a start are imports, one to two seconds of a processor. They run in a thread of low priority, so that they take
from a core what serving leaves, but not nothing: Linux has a priority for each thread, and any may lower its own. The
process itself keeps the one that it has.
"""

import importlib
import os
import sys
import threading

NICER = 5


def main(module: str) -> None:
    """Import the module at a low priority, then run its `main`."""
    importing = threading.Thread(target=_import, args=(module,), name="imports")
    importing.start()
    importing.join()
    from services.shared.http.serving import guarded  # here, since it is one of the imports

    guarded(importlib.import_module(module).main)


def _import(module: str) -> None:
    if sys.platform == "linux":
        this = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, this, os.getpriority(os.PRIO_PROCESS, this) + NICER)
    importlib.import_module(module)


if __name__ == "__main__":
    main(sys.argv[1])
