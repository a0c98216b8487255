"""DQN put together by hand is the preset, bit for bit."""

import sys

import jax
import pytest
from common import cast, same_bits
from conftest import ROOT

from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.presets import PRESETS

sys.path.insert(0, str(ROOT / "experiments"))
import dqn_by_hand


@pytest.mark.slow
def test_dqn_by_hand_is_dqn_by_name():
    preset = PRESETS["dqn-cartpole"]
    numbers = cast(dqn_by_hand.NUMBERS)
    assert preset.hparams == dqn_by_hand.NUMBERS
    by_name = make_experiment(preset.config, preset.hparams).trainer
    finals = []
    for trainer in (dqn_by_hand.make_dqn()[0], by_name):
        state, clock, metrics = jax.jit(trainer.chunk)(
            *jax.jit(trainer.init)(jax.random.key(3), numbers), numbers
        )
        finals.append((state.params, metrics, clock))
    assert int(finals[0][-1].steps) == 20_000 and same_bits(*finals)
