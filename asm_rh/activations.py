"""Names for the inside of a model: record tensors, or switch a mechanism off, for the calls of one thread only.

Both are context managers built on context variables, so threads and async tasks that share a model never see each other's choice.
"""

from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn
from torch.compiler import is_compiling

_recordings: ContextVar[tuple] = ContextVar("recordings", default=())
_off: ContextVar[frozenset] = ContextVar("off", default=frozenset())


class Tap(nn.Identity):
    """Marks a tensor inside a model; its name is its path in the module tree, such as `blocks.3.roll.out`."""

    def forward(self, x):
        if is_compiling():  # compiled and exported graphs carry no taps
            return x
        for wanted, captured in _recordings.get():
            if id(self) in wanted:
                captured[wanted[id(self)]] = x
        return x


class Switch:
    """Mixed into modules whose mechanism `switched_off` can disable; they ask `self.is_off` and say what "off" means."""

    @property
    def is_off(self) -> bool:
        """Whether the running call asked for this mechanism to be off."""
        return not is_compiling() and id(self) in _off.get()


def taps(model: nn.Module) -> list[str]:
    """Every name that `record` knows, in the order of the module tree."""
    return list(_every(model, Tap))


def switches(model: nn.Module) -> list[str]:
    """Every name that `switched_off` knows, in the order of the module tree."""
    return list(_every(model, Switch))


@contextmanager
def record(model: nn.Module, names):
    """Captures named tensors of the calls made inside the `with` block by this thread.

    Yields a dict {name: tensor}, filled by each forward call (the latest wins); tensors keep their graph.
    Raises ValueError for a name the model does not have.
    """
    modules = _named(model, names, Tap, "tap")
    captured = {}
    token = _recordings.set((*_recordings.get(), ({id(m): name for name, m in modules.items()}, captured)))
    try:
        yield captured
    finally:
        _recordings.reset(token)


@contextmanager
def switched_off(model: nn.Module, names):
    """Disables named mechanisms (`blocks.3.roll`, `blocks.3.hermit`, `blocks.3`) for this thread inside the `with` block.

    A switched-off roll moves nothing, a switched-off transform leaves features as they are, a switched-off block returns its input.
    Raises ValueError for a name the model does not have.
    """
    modules = _named(model, names, Switch, "switch")
    token = _off.set(_off.get() | {id(m) for m in modules.values()})
    try:
        yield
    finally:
        _off.reset(token)


def _named(model, names, kind, word):
    names = [names] if isinstance(names, str) else list(names)
    known = _every(model, kind)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no {word} {unknown[0]!r} in this model; available: {', '.join(known)}")
    return {name: known[name] for name in names}


def _every(model, kind):
    return {name.removeprefix("taps."): module for name, module in model.named_modules() if isinstance(module, kind)}
