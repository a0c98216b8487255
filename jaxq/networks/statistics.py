"""Running statistics of what a member sees, and networks whose observations they normalise.

They are part of the parameters, below the name ``statistics``: what acts in training, in
evaluation and after it was saved normalises by the same numbers. They are counted, not learned: no
gradient reaches them. Elsayed et al. (2024, section 3.3) take them over everything seen so far.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxq.networks.torsos import numbers
from jaxq.types import Network, ObservationActionReward, PyTree, observation_of

NAME = "statistics"
_MOST = 2.0**24  # samples that are counted
EPSILON = 1e-8  # added to a variance before its root, as the authors do


def split(params: PyTree) -> tuple[PyTree, PyTree]:
    """The weights, and the statistics among parameters; ``{}`` where there are none."""
    return {k: v for k, v in params.items() if k != NAME}, params.get(NAME, {})


def join(weights: PyTree, statistics: PyTree) -> PyTree:
    """The parameters that ``split`` has taken apart."""
    return {**weights, NAME: statistics} if statistics else weights


def moments(shape: tuple[int, ...] = ()) -> dict[str, jax.Array]:
    """The moments of nothing seen yet: mean 0, variance 1."""
    return {"count": jnp.float32(0.0), "mean": jnp.zeros(shape), "variance": jnp.ones(shape)}


def observe(seen: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
    """Moments with more samples (Welford 1962; in batches Chan et al. 1979).

    Args:
      seen: ``count`` [], ``mean`` and ``variance`` [*shape] of all samples so far.
      x: [N, *shape].

    Returns:
      The same with ``x``. The variance is divided by ``count - 1``, and is 1 of a single sample.
      Of 2**24 samples, above which float32 has no next number, as many are forgotten as come.
    """
    more = x.shape[0]
    before = jnp.minimum(seen["count"], _MOST - more)
    count = before + more
    mean_of_x = x.mean(axis=0)
    difference = mean_of_x - seen["mean"]
    squares = jnp.sum((x - mean_of_x) ** 2, axis=0) + difference**2 * (before * more / count)
    others = jnp.maximum(count - 1.0, 1.0)
    variance = seen["variance"] * (jnp.maximum(before - 1.0, 0.0) / others) + squares / others
    return {
        "count": count,
        "mean": seen["mean"] + difference * (more / count),
        "variance": jnp.where(count < 2.0, seen["variance"], variance),
    }


def normalize(seen: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """``(x - mean) / sqrt(variance + 1e-8)``; ``x`` [..., *shape]."""
    return (x - seen["mean"]) / jnp.sqrt(seen["variance"] + EPSILON)


def normalized(network: Network) -> Network:
    """A network that sees every observation normalised by what was observed before.

    Its ``observe(params, obs [..., *obs]) -> params`` counts more of them; pixels count as
    brightness from 0 to 1. An action or a reward beside them stays as it is.
    """

    def init(key: jax.Array, obs: PyTree) -> Any:
        weights, statistics = split(network.init(key, _shown_as(numbers, obs)))
        shape = observation_of(obs).shape[1:]
        return join(weights, {**statistics, "observations": moments(shape)})

    def see(params: Any, obs: PyTree) -> tuple[Any, PyTree]:
        weights, statistics = split(params)
        seen = jax.lax.stop_gradient(statistics["observations"])
        return weights, _shown_as(lambda obs: normalize(seen, numbers(obs)), obs)

    def apply(params: Any, obs: PyTree, key: jax.Array | None, carry: Any):
        return network.apply(*see(params, obs), key, carry)

    def unroll(params: Any, obs: PyTree, key: jax.Array | None, carry: Any, resets: jax.Array):
        return network.unroll(*see(params, obs), key, carry, resets)

    def count(params: Any, obs: PyTree) -> Any:
        weights, statistics = split(params)
        seen = statistics["observations"]
        samples = numbers(observation_of(obs)).reshape(-1, *seen["mean"].shape)
        return join(weights, {**statistics, "observations": observe(seen, samples)})

    def activity(params: Any, obs: PyTree) -> Any:
        return network.activity(*see(params, obs))

    def inside(params: Any, obs: jax.Array) -> Any:
        return network.inside(*see(params, obs))

    return network._replace(
        init=init,
        apply=apply,
        unroll=unroll if network.unroll else None,
        observe=count,
        activity=activity if network.activity else None,
        inside=inside if network.inside else None,
    )


def _shown_as(function: Callable[[jax.Array], jax.Array], obs: PyTree) -> PyTree:
    """``obs`` with another observation in it."""
    if isinstance(obs, ObservationActionReward):
        return obs._replace(obs=function(obs.obs))
    return function(obs)
