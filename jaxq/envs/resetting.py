"""How environments that do not reset themselves begin anew where an episode has ended.

Both ways give every environment its own reset from its own key, and so the same bits; they differ
in how many resets a step computes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxq.envs.encoding import strong
from jaxq.types import PyTree


def renewed(reset: Callable, step: Callable) -> Callable:
    """``RawEnv.renew`` of one environment: a step computes a reset, which is mostly not used."""

    def renew(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        key_step, key_reset = jax.random.split(key)
        final_obs, state, reward, terminated, truncated = step(key_step, state, action, params)
        done = strong(terminated, bool) | strong(truncated, bool)
        first_obs, first_state = reset(key_reset, params)
        state = jax.tree.map(lambda new, old: _choose(done, new, old), first_state, state)
        obs = jax.tree.map(lambda new, old: _choose(done, new, old), first_obs, final_obs)
        return obs, state, reward, terminated, truncated, final_obs

    return jax.jit(renew)  # traced once for all that use it


def renewed_some(reset: Callable, step: Callable, num_envs: int, at_once: int) -> Callable:
    """``RawEnv.renew`` of E environments, for resets that cost more than steps: ``at_once`` resets
    are computed as often as it takes for all episodes that ended in a step, mostly not once.

    Optimistic resets (Matthews et al. 2024, Craftax) compute a fixed number, and where more
    episodes end some environments go on in one and the same state. Here none do.
    """

    def renew(keys: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        key_step, key_reset = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)  # each [E]
        final_obs, state, reward, terminated, truncated = jax.vmap(step, (0, 0, 0, None))(
            key_step, state, action, params
        )
        done = strong(terminated, bool) | strong(truncated, bool)  # [E]
        ended_first = jnp.argsort(~done, stable=True)
        first = jax.eval_shape(lambda: jax.vmap(reset, (0, None))(key_reset, params))
        going_on = jax.tree.map(
            lambda new, old: strong(old, _common(new, old)), first, (final_obs, state)
        )

        def some(loop: tuple) -> tuple:
            count, now = loop
            places = count + jnp.arange(at_once)
            chosen = ended_first[jnp.minimum(places, num_envs - 1)]
            new = jax.vmap(reset, (0, None))(key_reset[chosen], params)
            where = jnp.where(places < done.sum(), chosen, num_envs)  # beyond the end is nowhere
            put = lambda old, new: old.at[where].set(strong(new, old.dtype), mode="drop")  # noqa: E731
            return count + at_once, jax.tree.map(put, now, new)

        start = jnp.int32(0), going_on
        obs, state = jax.lax.while_loop(lambda loop: loop[0] < done.sum(), some, start)[1]
        return obs, state, reward, terminated, truncated, final_obs

    return renew


def _choose(done: jax.Array, new: Any, old: Any) -> jax.Array:
    """One leaf after an episode's end, or from within it."""
    dtype = _common(new, old)
    return jax.lax.select(done, strong(new, dtype), strong(old, dtype))


def _common(new: Any, old: Any) -> Any:
    """The dtype of a leaf that may be either."""
    dtypes = jax.dtypes.result_type(new), jax.dtypes.result_type(old)
    return dtypes[0] if dtypes[0] == dtypes[1] else jnp.promote_types(*dtypes)
