"""The GPUs of this machine, as jobs and engines share them."""

import gc
import sys


def accelerators(device: str, processes: int = 1) -> tuple[str, ...]:
    """The names of the GPUs that a job takes, the same whatever CUDA_VISIBLE_DEVICES calls them; none on a CPU."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return ()
    count = min(processes, torch.cuda.device_count())
    return tuple(sorted(str(torch.cuda.get_device_properties(index).uuid) for index in range(count)))


def free_memory() -> None:
    """Give back what this process keeps of a GPU for tensors that are no longer there; loads no torch for it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
