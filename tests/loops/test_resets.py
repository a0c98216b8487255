"""Periodic resets: what starts anew and what stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS, cast, same_bits, small

from jaxq.learning import plasticity
from jaxq.loops import resets
from jaxq.recipes.experiment import make_optimizer_from
from jaxq.types import Clock

pytestmark = pytest.mark.usefixtures("compiled_quickly")

HPARAMS = cast(SMALL_HPARAMS)


def test_the_head_and_the_optimizer_start_anew_and_the_rest_stays():
    experiment = small()
    optimizer = make_optimizer_from(SMALL)
    only_time = lambda state, clock, _: (state, Clock(clock.steps + 100, clock.updates + 1), {})  # noqa: E731
    trainer = resets.with_resets(
        experiment.trainer._replace(chunk=only_time),
        experiment.agent,
        optimizer,
        plasticity.head,
        200,
        100,
    )
    start, clock = jax.jit(trainer.init)(jax.random.key(0), HPARAMS)
    before, _, _ = jax.jit(experiment.trainer.chunk)(start, clock, HPARAMS)
    state, chunk = before, jax.jit(trainer.chunk)
    late = Clock(clock.steps + 200, clock.updates)  # after a prefill of more than a period
    untrained = chunk(before, late, HPARAMS)[0]
    assert not clock.updates and jax.tree.all(
        jax.tree.map(np.array_equal, untrained.params, before.params)
    )
    for expected_reset in (False, False, True, False):  # from step 40, 140, 240 and 340 on
        before = state
        state, clock, _ = chunk(before, clock, HPARAMS)
        old, new = before.params["params"], state.params["params"]
        torso_same = jax.tree.map(np.array_equal, old["torso"], new["torso"])
        head_same = np.array_equal(
            old["head"]["Dense_0"]["kernel"], new["head"]["Dense_0"]["kernel"]
        )
        assert all(jax.tree.leaves(torso_same)) and head_same is not expected_reset
        moments = jax.tree.leaves(state.opt_state)
        assert not expected_reset or not any(leaf.any() for leaf in moments)
        np.testing.assert_array_equal(before.replay.ring, state.replay.ring)
        if expected_reset:
            assert jnp.array_equal(
                state.target_params["params"]["head"]["Dense_0"]["kernel"],
                new["head"]["Dense_0"]["kernel"],
            )


def test_after_a_reset_nothing_has_churned():
    made, optimizer = small(regulariser="chain"), make_optimizer_from(SMALL)
    still = made.trainer._replace(chunk=lambda state, clock, _: (state, clock, {}))
    trainer = resets.with_resets(still, made.agent, optimizer, plasticity.head, 200, 100)
    state, _ = jax.jit(trainer.init)(jax.random.key(0), HPARAMS)
    after, *_ = jax.jit(trainer.chunk)(state, Clock(jnp.int32(200), jnp.int32(1)), HPARAMS)
    assert not same_bits(after.params, state.params)
    assert same_bits(after.regulariser.previous, after.params)
