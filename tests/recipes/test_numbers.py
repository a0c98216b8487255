"""Numbers: of presets, those of their papers and of reference results; and their ranges."""

import pytest

import jaxq
from jaxq.cli import tasks
from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.recipes import suites
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.ranges import check_numbers
from jaxq.reports import reference as kept

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("suite", suites.SUITES)
def test_what_was_measured_is_what_the_presets_say_now(suite):
    """Every number of every preset that has reference data, and the steps of its suite."""
    data = jaxq.reference(suite)
    assert data
    for name, run in data.items():
        cell = suites.cells(suite)[name]
        spec = tasks.spec_of(name, cell.preset, range(cell.seeds)).settled()
        assert kept.differing(run, spec.document()) == [], name


def numbers_of(name):
    preset = PRESETS[name]
    return {**vars(preset.config), **preset.hparams._asdict(), "steps": preset.steps}


YOUNG_TIAN = {
    **dict(agent="dqn", backup="greedy", network="minatar", widths=(128,), optimizer="rmsprop"),
    **dict(capacity=100_000, batch_size=32, prefill=5_000, train_every=1, target_period=1_000),
    **dict(num_envs=1, updates_per_iteration=1, gamma=0.99, rmsprop_decay=0.95, huber_delta=1.0),
    **dict(optimizer_epsilon=0.01, epsilon_start=1.0, epsilon_end=0.1, epsilon_delay=5_000.0),
    **dict(epsilon_steps=100_000.0, tau=1.0, steps=5_000_000),
}
REVISITED = {
    **dict(network="minatar", optimizer="adam", optimizer_epsilon=3.125e-4, capacity=100_000),
    **dict(batch_size=32, prefill=1_000, train_every=4, target_period=1_000, steps=10_000_000),
    **dict(epsilon_end=0.01, epsilon_delay=1_000.0, epsilon_steps=250_000.0, learning_rate=1e-4),
}
RATES = dict(asterix=-13, breakout=-9, freeway=-11, seaquest=-13, spaceinvaders=-12)


@pytest.mark.parametrize("game", RATES)
def test_presets_on_minatar_have_the_numbers_of_their_papers(game):
    """MinAtar's examples/dqn.py and sensitivity study; revisiting_rainbow's Configs/*.gin."""
    mse = float("inf")
    expected = {
        "dqn": {**YOUNG_TIAN, "learning_rate": 2.0 ** RATES[game]},
        "c51": {**REVISITED, "num_atoms": 51, "support": (-100.0, 100.0)},
        "qr-dqn": {**REVISITED, "num_atoms": 51, "huber_delta": 1.0},
        "iqn": {**REVISITED, "num_atoms": 32, "huber_delta": 1.0},
        "munchausen-dqn": {
            **REVISITED,
            **dict(learning_rate=2.5e-4, huber_delta=1.0 if game == "asterix" else mse),
            **dict(temperature=0.03, munchausen_alpha=0.9, munchausen_clip=1.0),
        },
    }
    for name, numbers in expected.items():
        found = numbers_of(f"{name}-{game}")
        assert {field: found[field] for field in numbers} == numbers, name


def test_the_first_rungs_are_what_they_are_said_to_be():
    """No replay and no target network; a replay and none. Each differs from DQN in nothing else."""
    dqn = numbers_of("dqn-cartpole")
    changes = [
        {k: v for k, v in numbers_of(name).items() if v != dqn[k]}
        for name in ("online-q-cartpole", "replay-q-cartpole")
    ]
    newest = dict(num_envs=1, replay="latest", prefill=1, train_every=1, target_period=1)
    assert changes == [newest, {"target_period": dqn["train_every"]}]
    table = numbers_of("q-table-frozenlake")
    assert table["learning_rate_schedule"] == "exponential" and table["optimizer"] == "sgd"
    assert (table["learning_rate"], table["learning_rate_steps"]) == (0.05, 135_000.0)
    assert table["epsilon_start"] == table["epsilon_end"] == 0.3 and table["steps"] == 400_000


def test_every_schedule_takes_the_same_share_of_other_steps():
    presets = PRESETS["pqn-cartpole"], PRESETS["dqn-breakout"]
    pqn, dqn = (suites.of_steps(preset, 50_000).hparams for preset in presets)
    assert (pqn.learning_rate_steps, pqn.epsilon_steps) == (50_000.0, 10_000.0)
    assert (dqn.epsilon_delay, dqn.epsilon_steps) == (50.0, 1_000.0)


def test_every_number_has_its_range():
    """Trap: tau=5, meant as a percentage, or a discount of 99."""
    shares = (
        "gamma intrinsic_gamma tau td_lambda epsilon_start epsilon_end eval_epsilon "
        "importance_exponent importance_exponent_end"
    ).split()
    decays = "adam_beta1 adam_beta2 rmsprop_decay error_decay".split()
    positive, finite = ("optimizer_epsilon", "huber_delta"), ("learning_rate", "learning_rate_end")
    for name in HParams()._fields:
        refused = [-0.5, float("nan"), "x"]
        if name in ("env_params", "extra"):
            continue
        refused += [1.5] if name in shares else [1.0, 1.5] if name in decays else []
        refused += [0.0] if name in positive else []
        refused += [float("inf")] if name in (*shares, *decays, *finite) else []
        accepted = [0.5] if name in decays else [1.0]
        accepted += [] if name in positive else [0.0]
        accepted += [] if name in (*shares, *decays, *finite) else [float("inf")]
        for value in accepted:
            check_numbers(HParams()._replace(**{name: value}))
        for value in refused:
            with pytest.raises(ConfigError, match=f"{name}="):
                check_numbers(HParams()._replace(**{name: value}))
