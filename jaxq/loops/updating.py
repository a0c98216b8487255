"""What the loops with batches of windows share: one gradient update, and what follows it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxq.config import HParams
from jaxq.loops.rollout import Schedules, learning_metrics
from jaxq.types import Agent, Clock, Look, PyTree, Regulariser, Sample, Target


def make_update(
    agent: Agent,
    optimizer: Callable[[HParams, jax.Array], optax.GradientTransformation],
    schedules: Schedules,
    regulariser: Regulariser,
) -> Callable:
    """``update(state, clock, hparams, sample, key, look) -> (state, LossOutput, metrics)``.

    Of a state it reads and replaces what has been learned: ``params``, ``opt_state`` and what a
    ``regulariser`` remembers; ``target_params`` are only read. ``look() -> obs [B, *obs]`` draws a
    batch apart from ``sample``.
    """

    def update(
        state: PyTree,
        clock: Clock,
        hparams: HParams,
        sample: Sample,
        key: jax.Array,
        look: Callable,
    ):
        rewards = agent.scale_rewards(state.params, sample.steps.reward)
        steps = sample.steps._replace(reward=rewards)

        def values_of(obs: jax.Array) -> Callable:
            return lambda params: agent.network.apply(params, obs, None, ())[0].q_values

        views = Look(
            elsewhere=lambda: values_of(look()),
            here=lambda: (values_of(first(steps.obs)), steps.action[:, 0]),
        )

        def objective(params):
            output = agent.loss(params, state.target_params, key, steps, hparams)
            loss = jnp.mean(sample.weights * output.loss)
            term, metrics = regulariser.term(params, state.regulariser, views, hparams)
            return loss + term, (output, loss, metrics)

        gradients, (output, loss, metrics) = jax.grad(objective, has_aux=True)(state.params)
        memory = regulariser.update(state.regulariser, state.params, loss, metrics)
        transform = optimizer(hparams, schedules.learning_rate(hparams, clock.steps))
        updates, opt_state = transform.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state._replace(params=params, opt_state=opt_state, regulariser=memory)
        return state, output, learning_metrics(output) | metrics

    return update


def first(windows: PyTree) -> PyTree:
    """Of leaves [B, T, ...] the first of every window, [B, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, 0], windows)


def follow(target: Target, state: PyTree, clock: Clock, hparams: HParams) -> PyTree:
    """The state after an update of the target network."""
    target_params = target.update(state.params, state.target_params, hparams)
    params, target_params = target.shift(state.params, target_params, clock, hparams)
    return state._replace(params=params, target_params=target_params)


def make_restart(regulariser: Regulariser) -> Callable[[PyTree], PyTree]:
    """``restart`` of a ``Trainer`` whose states keep what a regulariser remembers."""

    def restart(state: PyTree) -> PyTree:
        memory = regulariser.restart(state.regulariser, state.params)
        return state._replace(regulariser=memory)

    return restart
