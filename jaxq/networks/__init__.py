"""Networks: features from observations, values from features; parameters and nothing else.

Knows no loss and no environment. Of the files read ``torsos`` first, then ``heads``. What a network
of one's own is made of has a name here, such as ``networks.from_flax`` and ``networks.QOutput``.

    fusion      numbers that XLA is to compute once; for traces, too
    units       hidden units: how active they are, and what they lead to
    layers      dense layers: plain, noisy, spectral; sparse weights, layer norms, activations
    kernels     what is written unusually for speed: convolutions as one matmul, LSTM and GRU
    heads       values, atoms and quantiles from features; dueling
    torsos      features from observations
    modules     a flax module as a ``Network``
    cells       memory cells, linear ones among them
    memory      networks that remember
    ensembles   several copies of a module as one network
    statistics  running statistics, and networks whose observations they normalise
    novelty     how new an observation is, and values of a bonus for it
    iterated    chains of values, each of which follows the one before
    legal       networks that value legal actions only
"""

from importlib import import_module as _import_module
from typing import Any as _Any

# Public name -> the module of this package that defines it.
_NAMES = {
    "Cell": "cells",
    "CategoricalNetwork": "heads",
    "CategoricalOutput": "heads",
    "Dense": "layers",
    "DuelingHead": "heads",
    "EnsembleOutput": "heads",
    "GRU": "kernels",
    "ImplicitQuantileNetwork": "heads",
    "LRU": "cells",
    "LSTM": "kernels",
    "LinearHead": "heads",
    "MLP": "torsos",
    "MinAtarTorso": "torsos",
    "MinGRU": "cells",
    "NatureTorso": "torsos",
    "NoisyDense": "layers",
    "PatchConv": "kernels",
    "QOutput": "heads",
    "QuantileNetwork": "heads",
    "QuantileOutput": "heads",
    "RecurrentNetwork": "memory",
    "SpectralDense": "layers",
    "ValueNetwork": "heads",
    "ensemble": "ensembles",
    "from_flax": "modules",
    "linear_recurrence": "cells",
    "lstm": "cells",
    "normalized": "statistics",
    "recurrent": "memory",
    "step_by_step": "cells",
}
__all__ = list(_NAMES)


def __getattr__(name: str) -> _Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'jaxq.networks' has no attribute '{name}'")
    return getattr(_import_module(f"jaxq.networks.{_NAMES[name]}"), name)
