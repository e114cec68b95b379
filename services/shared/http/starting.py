"""How a service's API process begins: with imports, one to two seconds of a processor, and little else beside them.

What they make stays, so the garbage collector does not look through it, neither meanwhile nor later.

A worker that starts beside others imports in a thread of low priority, so that it takes from a core what serving
leaves, but not nothing: Linux has a priority for each thread, and any may lower its own. The process itself keeps the
one that it has.
"""

import gc
import importlib
import os
import sys
import threading

PLACE = "LLACTR_API_WORKER"  # in the environment of a worker beside others: its place below its parent
NICER = 5


def start(module: str) -> None:
    """Import the module, then run its `main`, of which settings and surroundings may stop the process."""
    gc.disable()
    if PLACE in os.environ:
        importing = threading.Thread(target=_import_nicely, args=(module,), name="imports")
        importing.start()
        importing.join()
    main = importlib.import_module(module).main
    gc.freeze()
    gc.enable()
    from services.shared.http.serving import guarded  # here, since it is one of the imports

    guarded(main)


def _import_nicely(module: str) -> None:
    if sys.platform == "linux":
        this = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, this, os.getpriority(os.PRIO_PROCESS, this) + NICER)
    importlib.import_module(module)
