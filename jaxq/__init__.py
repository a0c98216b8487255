"""Deep Q-learning as pure functions, compiled whole, over many members at once.

The floors of the house, from the ground up. A floor imports only from floors that stand before it
in this list; so do the modules inside it, in the order in which its docstring names them.

    errors     the one exception for bad input
    printing   text for people
    schedules  numbers that change with the clock
    types      the data that flows, and the contracts between parts
    legal      which actions are legal, and random ones among them
    config     ``Config`` (static) and ``HParams`` (traced)
    documents  both as JSON holds them
    settings   what a lane changes, by name
    envs       environments with exact episode ends
    networks   from observations to values
    replay     the past, on the device
    learning   losses, backups, targets, exploration: the mathematics of every method
    loops      the loops that train and evaluate one member
    recipes    from names to functions: methods, presets
    scoring    what measurements say, as numbers and figures
    runs       many members in a directory that can be continued
    studies    many settings as one experiment
    reports    finished runs as tables and pages
    cli        the command line of all scripts

What scripts and notebooks need has a name here, imported when it is used: ``jaxq.run``,
``jaxq.PRESETS``, ``jaxq.losses`` and the others in ``__all__``. An ``import jaxq`` itself imports
neither JAX nor an environment.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

__version__ = "0.2.0"

# Public name -> the module that defines it.
_NAMES = {
    "Bounds": "envs.episodes",
    "Config": "config",
    "ConfigError": "errors",
    "CountedLimit": "envs.episodes",
    "HParams": "config",
    "Lookahead": "learning.backups",
    "LossOutput": "types",
    "METHODS": "recipes.methods",
    "PRESETS": "recipes.presets",
    "Prediction": "learning.streaming",
    "Preset": "config",
    "RawEnv": "envs.episodes",
    "RunSpec": "runs.spec",
    "Spread": "runs.spreading",
    "Stop": "runs.stopping",
    "Values": "learning.backups",
    "add_seeds": "runs.adding",
    "declares": "recipes.own",
    "from_gymnax": "envs.gymnax",
    "from_raw": "envs.episodes",
    "load_policy": "runs.policy",
    "make_agent": "learning.agents",
    "make_agent_from": "recipes.agents",
    "make_env": "envs.libraries",
    "make_experiment": "recipes.experiment",
    "make_network_from": "recipes.agents",
    "read_run": "reports.sources",
    "reference": "reports.reference",
    "run": "runs.runner",
    "sweep": "studies.sweeping",
    "use_machine": "runs.machine",
    "words_as_values": "config",
}
# Public modules.
_MODULES = {
    "backups": "learning.backups",
    "exploration": "learning.exploration",
    "losses": "learning.losses",
    "networks": "networks",
    "optimizers": "learning.optimizers",
    "plasticity": "learning.plasticity",
    "plots": "scoring.plots",
    "schedules": "schedules",
    "returns": "learning.returns",
    "stats": "scoring.stats",
    "traces": "learning.traces",
    "targets": "learning.targets",
    "td": "learning.td",
    "types": "types",
}
__all__ = sorted([*_NAMES, *_MODULES])


def __getattr__(name: str) -> _Any:
    if name in _NAMES:
        value = getattr(_import_module(f"jaxq.{_NAMES[name]}"), name)
    elif name in _MODULES:
        value = _import_module(f"jaxq.{_MODULES[name]}")
    else:
        raise AttributeError(f"module 'jaxq' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
