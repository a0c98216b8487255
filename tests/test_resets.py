"""Periodic resets: what starts anew and what stays."""

import jax
import jax.numpy as jnp
import numpy as np
from common import SMALL, SMALL_HPARAMS, cast, small

from jaxq import optimizers, resets

HPARAMS = cast(SMALL_HPARAMS)


def test_the_head_and_the_optimizer_start_anew_and_the_rest_stays():
    experiment = small()
    optimizer = optimizers.make_optimizer(SMALL)
    trainer = resets.with_resets(experiment.trainer, experiment.agent, optimizer, period=200)
    state, clock = jax.jit(trainer.init)(jax.random.key(0), HPARAMS)
    plain, chunk = jax.jit(experiment.trainer.chunk), jax.jit(trainer.chunk)
    for expected_reset in (False, True, False):  # after 140, 240 and 340 steps
        before, _, _ = plain(state, clock, HPARAMS)
        state, clock, _ = chunk(state, clock, HPARAMS)
        old, new = before.params["params"], state.params["params"]
        torso_same = jax.tree.map(np.array_equal, old["torso"], new["torso"])
        head_same = np.array_equal(
            old["head"]["Dense_0"]["kernel"], new["head"]["Dense_0"]["kernel"]
        )
        assert all(jax.tree.leaves(torso_same)) and head_same is not expected_reset
        moments = jax.tree.leaves(state.opt_state)
        assert all(not leaf.any() for leaf in moments) is expected_reset
        np.testing.assert_array_equal(before.replay.ring, state.replay.ring)
        if expected_reset:
            assert jnp.array_equal(
                state.target_params["params"]["head"]["Dense_0"]["kernel"],
                new["head"]["Dense_0"]["kernel"],
            )
