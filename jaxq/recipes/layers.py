"""The parts of a network that names stand for: torsos, and what their layers are made of."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from jaxq.config import Config, HParams
from jaxq.networks import layers, torsos
from jaxq.recipes.own import is_own, resolve
from jaxq.recipes.rows import Row
from jaxq.settings import format_value


def make_initializer(config: Config) -> nn.initializers.Initializer:
    """What the weights of plain layers and of convolutions begin as."""
    return INITIALIZATIONS[config.initialization].make(config)


INITIALIZATIONS = {
    "lecun": Row(lambda config: layers.default_init),
    "sparse": Row(lambda config: layers.sparse_uniform(config.sparsity), ("sparsity",)),
}
ACTIVATIONS = {  # a function, and whether it sees both signs of every unit
    "relu": Row((nn.relu, False)),
    "leaky-relu": Row((nn.leaky_relu, False)),
    "crelu": Row((nn.relu, True)),
}
NORMS = {"affine": Row(layers.affine_norm), "plain": Row(layers.plain_norm)}
DENSE = {  # how a torso makes its dense layers, and the last of them if that is another
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
    name = config.activation
    own = (resolve("activation", name), False) if is_own(name) else None
    activation, both_signs = own or ACTIVATIONS[name].make
    return {
        "layer_norm": config.layer_norm,
        "activation": activation,
        "both_signs": both_signs,
        "norm": NORMS[config.layer_norm_form].make,
    }


def _torso(
    module: Callable[..., nn.Module],
    smallest: tuple[int, int] | None,
    config: Config,
    obs_spec: jax.ShapeDtypeStruct,
) -> nn.Module:
    """A torso of convolutions, or none, and dense layers."""
    dense, last_dense = DENSE[config.dense].make(config)
    fields = {"dense": dense, "last_dense": last_dense, **hidden_layers(config)}
    if smallest:
        torsos.check_image(config.network, obs_spec, smallest)
        fields["kernel_init"] = make_initializer(config)
    else:
        torsos.warn_of_image(config.network, obs_spec)
    return module(widths=config.widths, **fields)


def _without_layers(config: Config, hparams: HParams) -> str | None:
    """What is of no effect on a network that is linear after all."""
    if config.widths or config.stream_widths or config.memory != "none":
        return None
    of_hidden_layers = {"layer_norm": False, "activation": Config.activation, "dense": "plain"}
    for field, plain in of_hidden_layers.items():
        value = getattr(config, field)
        if value not in (plain, "noisy"):  # the head's weights are noisy, too
            return f"{field}={format_value(value)} has no effect with widths= and no hidden layer"
    return None


_LAYERS = ("widths", "layer_norm", "activation", "dense", "dueling")
_CONVOLUTIONS = (*_LAYERS, "initialization")
_octax = partial(torsos.NatureTorso, layers=torsos.OCTAX)
TORSOS = {
    "linear": Row(lambda config, obs_spec: torsos.Flatten()),
    "mlp": Row(partial(_torso, torsos.MLP, None), _LAYERS, _without_layers),
    "minatar": Row(partial(_torso, torsos.MinAtarTorso, (3, 3)), _CONVOLUTIONS),
    "nature": Row(partial(_torso, torsos.NatureTorso, (36, 36)), _CONVOLUTIONS),
    "octax": Row(partial(_torso, _octax, (18, 36)), _CONVOLUTIONS),
}
