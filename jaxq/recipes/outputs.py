"""Networks of agents by what they put out: ``(config, torso, make_head) -> Network``.

``make_head(num_outputs=1)`` gives a module from features [B, F] to [B, A, num_outputs].
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jaxq.config import Config
from jaxq.networks import ensembles, heads, iterated, memory, modules, novelty
from jaxq.networks.cells import Cell
from jaxq.recipes.layers import DENSE, hidden_layers
from jaxq.recipes.parts import make_part
from jaxq.types import Network


def head(config: Config, num_actions: int, num_outputs: int = 1) -> nn.Module:
    """The head that ``config`` names, with ``num_outputs`` numbers per action."""
    dense, _ = DENSE[config.dense].make(config)
    if config.network == "linear":  # the weights of a table start at zero, and need no bias
        dense = partial(nn.Dense, use_bias=False, kernel_init=nn.initializers.zeros)
    if not config.dueling:
        return heads.LinearHead(num_actions, num_outputs, dense)
    return heads.DuelingHead(
        num_actions, num_outputs, dense, config.stream_widths, **hidden_layers(config)
    )


def values(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """A value per action, from a memory if there is one."""
    draws = config.dense == "noisy"
    if config.memory == "none":
        return modules.from_flax(heads.ValueNetwork(torso, make_head()), draws)
    cell = make_part("memory", config, Cell, "a jaxq Cell of networks.cells")
    return memory.recurrent(memory.RecurrentNetwork(torso, make_head(), cell), draws)


def categorical(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Probabilities of atoms, as C51 has them."""
    module = heads.CategoricalNetwork(torso, make_head(config.num_atoms), config.support)
    return modules.from_flax(module, draws=config.dense == "noisy")


def histogram(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Probabilities of bins, as HL-Gauss has them."""
    centers = heads.bin_centers(config.support, config.num_atoms)
    module = heads.CategoricalNetwork(torso, make_head(config.num_atoms), centers)
    return modules.from_flax(module, draws=config.dense == "noisy")


def quantiles(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Fixed quantiles."""
    module = heads.QuantileNetwork(torso, make_head(config.num_atoms))
    return modules.from_flax(module, draws=config.dense == "noisy")


def implicit_quantiles(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Quantiles at fractions that are drawn."""
    module = heads.ImplicitQuantileNetwork(torso, make_head(), config.num_atoms)
    return modules.from_flax(module, draws=True)


def ensemble(config: Config, torso: nn.Module, make_head: Callable, combine=None) -> Network:
    """Several value functions, of which one acts, or what ``combine`` makes of them."""
    return ensembles.ensemble(
        heads.ValueNetwork(torso, make_head()),
        config.ensemble_size,
        config.prior_scale,
        config.mask_probability,
        combine,
        draws=config.dense == "noisy",
    )


def mixture(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Several value functions, of which a mixture acts."""
    module = heads.ValueNetwork(torso, make_head())
    draws = config.dense == "noisy"
    return ensembles.mixture(module, config.ensemble_size, config.prior_scale, draws)


def with_novelty(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Values of rewards and of a bonus for what is new."""
    module = heads.ValueNetwork(torso, make_head())
    return novelty.novelty(module, torso, draws=config.dense == "noisy")


def shared_chain(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Heads that follow each other, on one torso."""
    draws = config.dense == "noisy"
    return iterated.shared_chain(torso, make_head(), config.ensemble_size, draws)


def chain(config: Config, torso: nn.Module, make_head: Callable) -> Network:
    """Networks that follow each other."""
    module = heads.ValueNetwork(torso, make_head())
    return iterated.chain(module, config.ensemble_size, config.dense == "noisy")
