"""Several processes that train one model together, as `torchrun` starts them; alone, all of it does nothing."""

import gc
import os
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Workers:
    """This process among `count`; `rank` 0 judges, saves and speaks."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that saves and speaks."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of `total` clips; the parts differ by one at most."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def wrap(self, module):
        """The module, its gradients averaged over the processes after each backward pass."""
        return DistributedDataParallel(module) if self.count > 1 else module

    def without_exchange(self, module):
        """A context in which a wrapped module keeps its gradients to itself, for all parts of a batch but the last."""
        return module.no_sync() if self.count > 1 else nullcontext()

    def total(self, value: float) -> float:
        """The sum over the processes."""
        if self.count == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        tensor = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return tensor.item()

    def from_first(self, make):
        """What `make()` gives in the first process, in all of them; a ValueError or OSError there is raised in all of them."""
        found = [None, None]
        if self.is_first:
            try:
                found = [make(), None]
            except (ValueError, OSError) as error:
                if self.count == 1:
                    raise
                found = [None, error]
        if self.count > 1:
            dist.broadcast_object_list(found, src=0)
        if found[1] is not None:
            raise found[1]
        return found[0]


def join(device: str) -> tuple[Workers, str]:
    """Joins the processes that torchrun started -> (Workers, this process's device); alone where it started none."""
    count, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if count == 1:
        return Workers(), device
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
    return Workers(dist.get_rank(), dist.get_world_size()), device


def leave() -> None:
    """Ends what `join` began, also where a process fails."""
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # gradients are exchanged by threads of the wrapped module, which must not outlive the group
        dist.destroy_process_group()
