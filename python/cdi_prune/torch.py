"""For PyTorch: initial values in place, files to modules and back, what training changed, and training that keeps most
weights at their initial values."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path as _Path
from typing import Any, Union

import torch
from torch import nn

from . import _arrays
from .files import Path, load_file, save_file
from .runs import Config, Run, _initial
from .runs import analyze as _analyze

#: A module, or what its `state_dict()` gives.
State = Union[nn.Module, Mapping[str, torch.Tensor]]


@dataclasses.dataclass(frozen=True)
class Initialised:
    """What `init_` did: the config, which `analyze`, `masks` and `cdi_prune.run` take, and a row for each
    parameter that got a value, with `name`, `layer_id` and `init`."""

    config: Config
    tensors: list[dict[str, Any]]


def init_(module: nn.Module, config_or_seed: Config | int, *, set: Mapping[str, Any] | None = None) -> Initialised:
    """Gives the parameters of a module their initial values, in place.

    With a config (a path or a mapping), its `seed` and `rules` count, and every parameter needs a rule; one with
    `init: none` keeps its value. With a seed alone, modules of PyTorch get its own defaults: `torch_default` for linear
    layers, convolutions and their biases, a standard normal for embeddings, ones and zeros for norms; other parameters
    are a ValueError that names them.

    A tensor with several names is initialised once, under its first.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.is_floating_point()}
    config: Config
    if isinstance(config_or_seed, int):
        config = {"seed": config_or_seed, "rules": _default_rules(module, list(parameters))}
    else:
        config = config_or_seed
    file, rows = _initial(config, _floating(parameters), set, "torch")
    with file, torch.no_grad():
        for row in rows:
            parameters[row["name"]].copy_(file.get_tensor(row["name"]))
    return Initialised(config, [{key: row[key] for key in ("name", "layer_id", "init")} for row in rows])


def load_model(
    model: nn.Module, path: Path, base: Path | None = None, strict: bool = True, device: Any = None
) -> tuple[list[str], list[str]]:
    """Loads a checkpoint of any format into a module. Returns the names that are missing in the file and those that the
    module does not have; with `strict`, either is a RuntimeError, unless a missing tensor shares its memory with one
    that is there."""
    found = load_file(path, base, framework="torch", device=device)
    state = model.state_dict()
    shared: dict[Any, list[str]] = {}
    for name, tensor in state.items():
        shared.setdefault(_place(tensor), []).append(name)
    missing = [name for name in state if name not in found and not any(n in found for n in shared[_place(state[name])])]
    unexpected = [name for name in found if name not in state]
    if strict and (missing or unexpected):
        both = (("missing", missing), ("unexpected", unexpected))
        problems = [f"{what}: {', '.join(names)}" for what, names in both if names]
        raise RuntimeError(f"{path}: its tensors are not those of {type(model).__name__}; {'; '.join(problems)}")
    wrong = [n for n, t in found.items() if n in state and t.shape != state[n].shape]
    if wrong:
        shape, expected = tuple(found[wrong[0]].shape), tuple(state[wrong[0]].shape)
        raise RuntimeError(f"{path}: `{wrong[0]}` has shape {shape}, expected {expected}")
    model.load_state_dict(found, strict=False)
    return missing, unexpected


def save_model(model: nn.Module, path: Path, metadata: Mapping[str, str] | None = None, **how: Any) -> list[str]:
    """Writes the tensors of a module to an ordinary safetensors file; of names that share their memory, the first. See
    `save_file` for the rest."""
    return save_file(_once(model.state_dict()), path, {"format": "pt", **(metadata or {})}, **how)


def analyze(module_or_state_dict: State, config: Config, *, set: Mapping[str, Any] | None = None) -> Run:
    """The report on a module, or on its state, by the rules of a config: what training changed. The tensors go
    through a file in the folder of temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        trained = _Path(folder) / "trained.safetensors"
        state = _once(_state(module_or_state_dict))
        save_file(state, trained)
        overrides = {"trained": {"path": str(trained)}, "analyze.report": {}, **(set or {})}
        return _analyze(config, set={**overrides, "model": _floating(state)})


def masks(
    module_or_state_dict: State, config: Config, threshold: float = 0.0, *, set: Mapping[str, Any] | None = None
) -> dict[str, torch.Tensor]:
    """For each tensor with initial values, which weights training has changed: True where |w - w0| is above the
    threshold, or NaN."""
    state = _once(_state(module_or_state_dict))
    found = {}
    file, rows = _initial(config, _floating(state), set, "torch")
    with file:
        for name in (row["name"] for row in rows):
            delta = state[name].detach().cpu().double() - file.get_tensor(name).double()
            found[name] = ~(delta.abs() <= threshold)
    return found


class HoldAtInit:
    """Trains only the weights that move most, and holds the others at their initial values.

        hold = HoldAtInit(model, keep=0.1)
        for batch in batches:
            ...
            optimizer.step()
            hold.step()

    After each step of the optimizer, the share `keep` of all weights that differ most from their initial values
    stay as they are; every other weight is set back to its initial value, bit for bit. A file over the initial
    values then stores only the kept ones. (DropBack: Golub, Lemieux, Lis, "Full Deep Neural Network Training on a
    Pruned Weight Budget", MLSys 2019.) With an optimizer in place of the module, `step` is called after each of its
    steps.

    Held are parameters with two dimensions or more; `select` chooses others by name and parameter. `initial` maps
    names to initial values; by default, they are the values at this moment. After `freeze_after` steps, or
    `freeze()`, the same weights stay kept.
    """

    def __init__(
        self,
        target: nn.Module | torch.optim.Optimizer,
        keep: float = 0.1,
        *,
        initial: Mapping[str, torch.Tensor] | None = None,
        select: Callable[[str, torch.Tensor], bool] | None = None,
        freeze_after: int | None = None,
    ) -> None:
        if not 0 <= keep <= 1:
            raise ValueError(f"keep {keep}: expected a share from 0 to 1")
        named = _named(target)
        chosen = select or (lambda name, parameter: parameter.dim() >= 2)
        trained = ((name, p) for name, p in named if p.is_floating_point() and p.requires_grad)
        self.parameters = {name: p for name, p in trained if chosen(name, p)}
        if not self.parameters:
            raise ValueError("there is no parameter to hold; `select` chooses them")
        starts = initial or {}
        self.initial = {
            name: (starts[name].to(p.device, p.dtype) if name in starts else p.detach()).clone()
            for name, p in self.parameters.items()
        }
        self.keep = keep
        self.freeze_after = freeze_after
        self.steps = 0
        self._frozen: dict[str, torch.Tensor] | None = None
        if isinstance(target, torch.optim.Optimizer):
            _after_each_step(target, self.step)

    @property
    def kept(self) -> int:
        """How many weights are kept."""
        return int(self.keep * sum(p.numel() for p in self.parameters.values()))

    def step(self) -> None:
        """Sets back all weights but those that moved most."""
        masks = self._frozen or self._most_moved()
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(torch.where(masks[name], p, self.initial[name]))
        self.steps += 1
        if self._frozen is None and self.freeze_after is not None and self.steps >= self.freeze_after:
            self._frozen = masks

    def freeze(self) -> None:
        """Keeps the same weights from now on: those that have moved most so far."""
        self._frozen = self._frozen or self._most_moved()

    def _most_moved(self) -> dict[str, torch.Tensor]:
        deltas = [p.detach() - self.initial[name] for name, p in self.parameters.items()]
        moved = torch.cat([delta.abs().flatten().float() for delta in deltas])
        kept = torch.zeros_like(moved, dtype=torch.bool)
        kept[moved.topk(self.kept).indices] = True
        parts = kept.split([p.numel() for p in self.parameters.values()])
        return {name: part.view_as(p) for (name, p), part in zip(self.parameters.items(), parts)}


def _named(target: nn.Module | torch.optim.Optimizer) -> Iterable[tuple[str, torch.Tensor]]:
    if isinstance(target, nn.Module):
        return list(target.named_parameters())
    all_parameters = [p for group in target.param_groups for p in group["params"]]
    return [(str(n), p) for n, p in enumerate(all_parameters)]


def _after_each_step(optimizer: torch.optim.Optimizer, then: Callable[[], None]) -> None:
    step = optimizer.step

    def both(*arguments: Any, **keywords: Any) -> Any:
        result = step(*arguments, **keywords)
        then()
        return result

    # Not the hooks of newer versions, so that older ones do the same.
    setattr(optimizer, "step", both)


def _default_rules(module: nn.Module, names: list[str]) -> list[dict[str, Any]]:
    """A rule for each parameter, by PyTorch's own defaults."""
    owners: dict[int, tuple[nn.Module, str]] = {}
    for _, owner in module.named_modules():
        for leaf, parameter in owner.named_parameters(recurse=False):
            owners.setdefault(id(parameter), (owner, leaf))
    parameters = dict(module.named_parameters())
    rules, unknown = [], []
    for layer, name in enumerate(names):
        owner, leaf = owners[id(parameters[name])]
        init = _default_init(owner, leaf)
        if init is None:
            unknown.append(f"`{name}` of {type(owner).__name__}")
        else:
            rules.append({"match": _literal(name), "layer": layer, "init": init})
    if unknown:
        raise ValueError(f"no default for {', '.join(unknown)}: give a config with rules for them instead of a seed")
    return rules


_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def _default_init(owner: nn.Module, leaf: str) -> Any:
    if isinstance(owner, _LINEAR) and leaf == "weight":
        return "torch_default"
    if isinstance(owner, _LINEAR) and leaf == "bias":
        weight: Any = owner.weight
        return {"mode": "torch_default", "fan_in": weight[0].numel()}
    if isinstance(owner, _NORMS):
        return {"weight": "ones", "bias": "zeros"}.get(leaf)
    if isinstance(owner, nn.Embedding) and leaf == "weight":
        return "normal"
    return None


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return "".join(f"\\{c}" if c in "*?[]{}\\" else c for c in name)


def _floating(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The section `model` of a config with those that may have initial values."""
    return _arrays.model({name: t for name, t in tensors.items() if t.is_floating_point()})


def _state(module_or_state_dict: State) -> Mapping[str, torch.Tensor]:
    if isinstance(module_or_state_dict, nn.Module):
        state: Mapping[str, torch.Tensor] = module_or_state_dict.state_dict()
        return state
    return module_or_state_dict


def _once(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of names that share their memory, the first."""
    seen: dict[Any, str] = {}
    return {name: tensor for name, tensor in state.items() if seen.setdefault(_place(tensor), name) == name}


def _place(tensor: torch.Tensor) -> Any:
    if not tensor.numel():
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride()

