"""The parts of a network that names stand for: torsos, and what their layers are made of."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jaxq.config import Config, HParams
from jaxq.networks import layers, torsos


class Row(NamedTuple):
    """A row: a function, and what it reads."""

    make: Any  # the function; of an agent of ours its ``Recipe``; None where the name is enough
    reads: tuple[str, ...] = ()
    check: Callable[[Config, HParams], str | None] = lambda config, hparams: None  # what is wrong
    numbers: Mapping[str, tuple[float, float]] = {}  # of HParams.extra: lowest, highest
    loop: str = "off-policy"  # of an agent


def _dense(config: Config) -> tuple[Callable, Callable | None]:
    """How a torso makes its dense layers, and the last of them if that is another."""
    return DENSE[config.dense].make(config)


def make_initializer(config: Config) -> nn.initializers.Initializer:
    """What the weights of plain layers and of convolutions begin as."""
    return INITIALIZATIONS[config.initialization].make(config)


INITIALIZATIONS = {
    "lecun": Row(lambda config: layers.default_init),
    "sparse": Row(lambda config: layers.sparse_uniform(config.sparsity), ("sparsity",)),
}
ACTIVATIONS = {"relu": Row(nn.relu), "leaky-relu": Row(nn.leaky_relu)}
NORMS = {"affine": Row(layers.affine_norm), "plain": Row(layers.plain_norm)}
DENSE = {
    "plain": Row(
        lambda config: (partial(nn.Dense, kernel_init=make_initializer(config)), None),
        ("initialization",),
    ),
    "noisy": Row(
        lambda config: (partial(layers.NoisyDense, sigma=config.noise_sigma), None),
        ("noise_sigma",),
    ),
    "spectral": Row(lambda config: (layers.Dense, layers.SpectralDense)),
}


def hidden_layers(config: Config) -> dict[str, Any]:
    """What becomes of the output of every hidden layer, as torsos and heads take it."""
    return {
        "layer_norm": config.layer_norm,
        "activation": ACTIVATIONS[config.activation].make,
        "norm": NORMS[config.layer_norm_form].make,
    }


def _torso(
    module: type[nn.Module], smallest: int, config: Config, obs_spec: jax.ShapeDtypeStruct
) -> nn.Module:
    """A torso of convolutions, or none, and dense layers."""
    dense, last_dense = _dense(config)
    fields = {"dense": dense, "last_dense": last_dense, **hidden_layers(config)}
    if smallest:
        torsos.check_image(config.network, obs_spec, smallest)
        fields["kernel_init"] = make_initializer(config)
    else:
        torsos.warn_of_image(config.network, obs_spec)
    return module(widths=config.widths, **fields)


_LAYERS = ("widths", "layer_norm", "activation", "dense", "dueling")
_CONVOLUTIONS = (*_LAYERS, "initialization")
TORSOS = {
    "linear": Row(lambda config, obs_spec: torsos.Flatten()),
    "mlp": Row(partial(_torso, torsos.MLP, 0), _LAYERS),
    "minatar": Row(partial(_torso, torsos.MinAtarTorso, 3), _CONVOLUTIONS),
    "nature": Row(partial(_torso, torsos.NatureTorso, 36), _CONVOLUTIONS),
}
