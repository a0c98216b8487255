"""Periodic resets of the last layers, against the primacy bias (Nikishin et al. 2022, section 4).

A trainer made from a trainer: nothing in a loop knows of it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxq.types import Agent, Clock, PyTree, Trainer


def with_resets(
    trainer: Trainer, agent: Agent, optimizer: Callable, period: int, chunk_steps: int
) -> Trainer:
    """``trainer`` with the head made anew whenever ``period`` environment steps have passed.

    At the beginning of a chunk of ``chunk_steps``, so that no run ends with a head that has learned
    nothing.

    Every module called ``head`` starts again, in the parameters and in the target network, and so
    does the whole state of the optimizer. The replay stays: the new head learns from it. Random
    priors never change, so theirs stay too.
    """

    def reset(state, hparams):
        key, key_init = jax.random.split(state.key)
        params = agent.init(key_init, state.obs)
        changed = {"key": key, "params": _with_heads_of(state.params, params)}
        if hasattr(state, "target_params"):
            changed["target_params"] = _with_heads_of(state.target_params, params)
        opt_state = optimizer(hparams, jnp.float32(0.0)).init(changed["params"])
        return state._replace(**changed, opt_state=opt_state)

    def chunk(state: PyTree, clock: Clock, hparams: PyTree):
        is_due = clock.steps // period > jnp.maximum(clock.steps - chunk_steps, 0) // period
        keep = lambda state, hparams: state  # noqa: E731
        return trainer.chunk(jax.lax.cond(is_due, reset, keep, state, hparams), clock, hparams)

    return Trainer(trainer.init, chunk)


def _with_heads_of(params: PyTree, fresh: PyTree) -> PyTree:
    """``params`` with the leaves below every ``head`` taken from ``fresh``."""

    def choose(path, old, new):
        keys = [entry.key for entry in path]
        is_head = "head" in keys and "priors" not in keys
        return jnp.broadcast_to(new, old.shape) if is_head else old

    return jax.tree_util.tree_map_with_path(choose, params, fresh)
