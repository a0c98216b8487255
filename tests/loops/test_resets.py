"""Periodic resets: what starts anew and what stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS, cast, small

from jaxq.learning import plasticity
from jaxq.loops import resets
from jaxq.recipes.experiment import make_optimizer_from

pytestmark = pytest.mark.usefixtures("compiled_quickly")

HPARAMS = cast(SMALL_HPARAMS)


def test_the_head_and_the_optimizer_start_anew_and_the_rest_stays():
    experiment = small()
    optimizer = make_optimizer_from(SMALL)
    only_time = lambda state, clock, _: (state, clock._replace(steps=clock.steps + 100), {})  # noqa: E731
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
