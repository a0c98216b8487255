"""A network that says how new an observation is, and values a bonus for it.

Random network distillation: a predictor learns what a random network makes of observations, and
errs on those that it has not seen (Burda et al. 2019, section 2.2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxq.networks.ensembles import ensemble
from jaxq.networks.layers import Dense
from jaxq.networks.statistics import EPSILON, join, moments, normalize, observe, split
from jaxq.networks.torsos import numbers
from jaxq.types import Network, rows_of

NAME = "novelty"
_OUTPUTS = 64  # of the random network
_CLIP = 5.0  # standard deviations of an observation (section 2.4)
_DECAY = 0.99  # of the sums of errors whose spread is the unit of a bonus


class NoveltyOutput(NamedTuple):
    """Values of rewards and of bonuses, and how new the observation itself is."""

    q_values: jax.Array  # [B, A], those that act
    members: jax.Array  # [B, 2, A], of the rewards and of the bonuses
    error: jax.Array  # [B], the predictor's, which it learns to make small
    bonus: jax.Array  # [B], that error in units of the spread of its sums


class _Outputs(nn.Module):
    """A torso and what is predicted of it."""

    torso: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:  # [B, _OUTPUTS]
        return Dense(_OUTPUTS)(self.torso(obs))


def novelty(module: nn.Module, torso: nn.Module, draws: bool = False) -> Network:
    """Two copies of a module with ``q_values``, for rewards and for bonuses, and what the bonus is.

    With a key the sum of both acts, without one the values of rewards alone: a policy is evaluated
    by what it was asked for. Predictor and random network have the form of ``torso``, see
    observations normalised by what was observed before and clipped, and draw no noise. The random
    network and all moments are statistics (see ``networks.statistics``): nothing moves them but
    ``observe``.

    Args:
      draws: whether the module draws noise.
    """
    values, outputs = ensemble(module, 2, draws=draws), _Outputs(torso)

    def init(key: jax.Array, obs: jax.Array) -> Any:
        key_values, key_predictor, key_random = jax.random.split(key, 3)
        shown = numbers(obs)
        seen = {
            "observations": moments(obs.shape[1:]),
            "errors": {**moments(), "sums": jnp.zeros(rows_of(obs))},
            "random": outputs.init(key_random, shown),
        }
        weights = {
            "values": values.init(key_values, obs),
            "predictor": outputs.init(key_predictor, shown),
        }
        return join(weights, {NAME: seen})

    def errors(predictor: Any, seen: Any, obs: jax.Array) -> jax.Array:  # [B, *obs] to [B]
        shown = jnp.clip(normalize(seen["observations"], numbers(obs)), -_CLIP, _CLIP)
        target = jax.lax.stop_gradient(outputs.apply(seen["random"], shown))
        return jnp.mean((outputs.apply(predictor, shown) - target) ** 2, axis=-1)

    def apply(params: Any, obs: jax.Array, key: jax.Array | None, carry: Any):
        weights, statistics = split(params)
        seen = jax.lax.stop_gradient(statistics[NAME])
        members = values.apply(weights["values"], obs, key, ())[0].members
        acting = members[:, 0] if key is None else members.sum(axis=1)
        error = errors(weights["predictor"], seen, obs)
        bonus = jax.lax.stop_gradient(error) / jnp.sqrt(seen["errors"]["variance"] + EPSILON)
        return NoveltyOutput(acting, members, error, bonus), carry

    def count(params: Any, obs: jax.Array) -> Any:
        """The parameters with ``obs`` [E, *obs], or T of them in turn, [T, E, *obs]."""
        weights, statistics = split(params)
        seen = dict(statistics[NAME])
        samples = numbers(obs).reshape(-1, *seen["observations"]["mean"].shape)
        seen["observations"] = observe(seen["observations"], samples)
        error = errors(weights["predictor"], seen, samples)
        spread = dict(seen["errors"])

        def add(sums: jax.Array, error: jax.Array):
            sums = _DECAY * sums + error
            return sums, sums

        before = spread.pop("sums")
        sums, every = jax.lax.scan(add, before, error.reshape(-1, *before.shape))
        seen["errors"] = {**observe(spread, every.reshape(-1)), "sums": sums}
        return join(weights, {**statistics, NAME: jax.lax.stop_gradient(seen)})

    def inside(params: Any, obs: jax.Array) -> Any:
        return values.inside(params["values"], obs)

    return Network(init, apply, draws=draws, observe=count, inside=inside)
