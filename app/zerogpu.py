"""File-sized work on a GPU that is lent per call, as ZeroGPU Spaces do; everywhere else the same functions, unchanged."""

import os
from functools import lru_cache, wraps

DEVICE = "cuda"


def is_lent() -> bool:
    """Whether this is a Space whose GPUs are lent per call."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def _lender():
    try:
        import spaces
    except ImportError:
        return None
    return spaces.GPU


# At import, as the package wants to be there before torch. Without it everything is computed on the CPU.
LENDER = _lender() if is_lent() else None


def file_sized(seconds):
    """Marks `work(classifier, *arguments, **callbacks)` as worth a GPU; `seconds(*arguments)` is the time to ask for.

    Where GPUs are lent, the work runs in another process: arguments and result are pickled, the classifier is loaded there from its
    folder, and callbacks are left out, as nothing can be called back. A ValueError that the work raises is raised here.
    """
    return lambda work: work if LENDER is None else _lent(work, seconds)


def _lent(work, seconds):
    @LENDER(duration=lambda folder, *arguments: seconds(*arguments))
    def there(folder, *arguments):
        import torch

        torch.set_num_threads(1)  # the process is a fork, in which OpenMP would wait for threads that it does not have
        try:
            return work(_copy(folder), *arguments), None
        except ValueError as error:  # of other exceptions only the name comes through
            return None, error

    @wraps(work)
    def here(classifier, *arguments, **callbacks):
        done, error = there(str(classifier.model.source.folder), *arguments)
        if error:
            raise error
        return done

    return here


@lru_cache(maxsize=4)
def _copy(folder):
    """The model on the GPU. Made where the GPU is: outside, only what the main thread does at the start can pretend to have one."""
    from asm_rh.classifier import Classifier

    return Classifier(folder, DEVICE)
