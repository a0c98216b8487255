"""Periodic resets: a trainer made from a trainer; nothing in a loop knows of it."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxq.learning.plasticity import Anew, Learner
from jaxq.types import Agent, Clock, PyTree, Trainer


def with_resets(
    trainer: Trainer,
    agent: Agent,
    optimizer: Callable,
    reset: Callable,
    period: int,
    chunk_steps: int,
) -> Trainer:
    """``trainer`` with a reset whenever ``period`` environment steps have passed.

    At the beginning of a chunk of ``chunk_steps``, so that no run ends with a head that has learned
    nothing, and never before the first update. The replay stays: what is new learns from it.

    Args:
      reset: what starts anew, see ``learning.plasticity``.
    """

    def renew(state: PyTree, clock: Clock, hparams: PyTree, *data: PyTree) -> PyTree:
        key, key_init, key_look = jax.random.split(state.key, 3)
        learner = Learner(state.params, getattr(state, "target_params", None), state.opt_state)
        anew = Anew(
            params=agent.init(key_init, state.obs),
            init_optimizer=optimizer(hparams, jnp.float32(0.0)).init,
            look=partial(trainer.look, state, clock, key_look, hparams, *data),
            network=agent.network,
        )
        changed = reset(learner, anew, hparams)._asdict()
        held = {name: value for name, value in changed.items() if hasattr(state, name)}
        return trainer.restart(state._replace(**held, key=key))

    def chunk(state: PyTree, clock: Clock, hparams: PyTree, *data: PyTree):
        is_due = clock.steps // period > jnp.maximum(clock.steps - chunk_steps, 0) // period
        is_due &= clock.updates > 0
        keep = lambda state, *_: state  # noqa: E731
        state = jax.lax.cond(is_due, renew, keep, state, clock, hparams, *data)
        return trainer.chunk(state, clock, hparams, *data)

    return trainer._replace(chunk=chunk)
