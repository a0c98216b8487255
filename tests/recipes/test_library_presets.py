"""Presets on the environments of other libraries; skipped where a library is not installed."""

from dataclasses import replace

import jax
import pytest
from common import cast, programs

from jaxq.envs import libraries
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import period_of

pytestmark = pytest.mark.usefixtures("compiled_quickly")

NAMES = [name for name, preset in PRESETS.items() if "/" in preset.config.env]


def composed(name, **changes):
    preset = PRESETS[name]
    library = libraries.library_of(preset.config.env)
    for package in libraries.LIBRARIES[library]:
        pytest.importorskip(package)
    try:
        return make_experiment(replace(preset.config, **changes), preset.hparams)
    except ConfigError as error:
        if "worlds of a batch are mixed" not in str(error):  # see ``envs.craftax``
            raise
        pytest.skip(str(error))


def test_every_library_has_a_preset():
    found = {libraries.library_of(PRESETS[name].config.env) for name in NAMES}
    assert found == set(libraries.LIBRARIES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_composes_and_its_state_keeps_its_form(name):
    """Nothing is computed: shapes and types of a period, and of an evaluation."""
    experiment = composed(name, chunk_steps=period_of(PRESETS[name].config))
    key, hparams = jax.random.key(0), cast(PRESETS[name].hparams)
    state, clock = jax.eval_shape(experiment.trainer.init, key, hparams)
    assert jax.eval_shape(experiment.trainer.chunk, state, clock, hparams)[:2] == (state, clock)
    episodes = experiment.config.eval_episodes
    found = jax.eval_shape(experiment.evaluate, state.params, key, hparams)
    assert found.returns.shape == (episodes,)


_MISSING = r"needs (\w+, which is|octax and cv2, which are) not installed; pip install -e '\.\["


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_without_its_library_is_one_sentence(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    preset = PRESETS[name]
    with pytest.raises(ConfigError, match=_MISSING):
        make_experiment(preset.config, preset.hparams)


@pytest.mark.parametrize("method", ["dqn", "pqn"])
def test_breakout_has_the_same_rules_in_both_libraries(method):
    """Actions, their stickiness and what a limit means, as the protocol of results says them."""
    other = composed(f"{method}-pgx-breakout").env
    ours = make_experiment(*PRESETS[f"{method}-breakout"][1:3]).env
    assert other.obs_spec == ours.obs_spec
    limited = {"environment": "pgx/minatar-breakout", "limit": {"max_steps_in_episode": None}}
    assert dict(other.protocol) == {**ours.protocol, **limited}
    limits = [
        env.params(PRESETS[name].hparams.env_params).max_steps_in_episode
        for env, name in ((other, f"{method}-pgx-breakout"), (ours, f"{method}-breakout"))
    ]
    assert limits[0] == limits[1]


@pytest.mark.slow
def test_pqn_finds_the_way_through_an_empty_room():
    """A goal pays 1 - 0.9 t / 256; the shortest way of 11 steps 0.961, random actions 0.13."""
    name = "pqn-minigrid-empty"
    experiment, hparams = composed(name), cast(PRESETS[name].hparams)
    init, chunk = programs(experiment.trainer)
    state, clock = init(jax.random.key(0), hparams)
    for _ in range(PRESETS[name].steps // experiment.config.chunk_steps):
        state, clock, metrics = chunk(state, clock, hparams)
    assert metrics["train_return"] > 0.9  # while it still explores: one greedy way may be a circle
