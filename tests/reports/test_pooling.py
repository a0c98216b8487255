"""What is one method on several environments follows from its configuration."""

from pathlib import Path

import numpy as np
import pytest

from jaxq.config import INFINITY, Config, HParams, Preset
from jaxq.recipes.minatar import MINATAR
from jaxq.recipes.presets import PRESETS
from jaxq.reports import pooling
from jaxq.reports.sources import Lane, Run, best_first
from jaxq.reports.tables import few_of
from jaxq.settings import apply, flatten

ASTERIX, BREAKOUT = "Asterix-MinAtar-original", "Breakout-MinAtar-original"


def lane_of(name, preset=None, swept=False, **changes):
    """A lane of a run of a preset, some fields of which were changed or swept."""
    preset = preset or PRESETS[name]
    config, hparams = apply(preset.config, preset.hparams, changes)
    run = Run(Path(name), {"preset": name}, {}, {}, {}, True)
    fields = {**vars(config), **flatten(hparams)}
    label = f"{name} {changes}"
    protocol = {"environment": config.env}
    setting = changes if swept else {}
    return Lane(label, run, setting, fields, protocol, [0], np.zeros(1), {}, [], 1, 0)


def labels(*lanes):
    return [method.label for method in pooling.methods_of(lanes)]


FAMILIES = sorted({name.rpartition("-")[0] for name in MINATAR})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_presets_is_one_method_by_its_name(family):
    """The step sizes of dqn differ, as Young & Tian (2019) chose them."""
    games = [name for name in MINATAR if name.rpartition("-")[0] == family]
    assert len(games) == 5 and labels(*map(lane_of, games)) == [family]


def test_all_families_are_different_methods():
    assert sorted(labels(*map(lane_of, MINATAR))) == FAMILIES


def test_a_name_pools_nothing():
    """rainbow-v2 and rainbow-v3 are not one method called rainbow, whatever their names share."""
    presets = [
        Preset("", Config(env=env, n_step=n_step), HParams(), 1_000, 1)
        for env, n_step in ((ASTERIX, 2), (BREAKOUT, 3))
    ]
    lanes = [lane_of(f"rainbow-v{n}", preset) for n, preset in zip((2, 3), presets)]
    assert labels(*lanes) == ["rainbow-v2", "rainbow-v3"]
    same = [lane_of(f"mine-{n}", presets[0], env=env) for n, env in enumerate((ASTERIX, BREAKOUT))]
    assert labels(*same) == ["mine-0 and 1 like it"]


@pytest.mark.parametrize(
    "change", [{"backup": "double"}, {"learning_rate": 0.5}, {"gamma": 0.9}, {"n_step": 3}]
)
def test_a_changed_preset_is_another_method_and_says_what_changed(change):
    ((name, value),) = change.items()
    named = f"dqn-breakout {name}={value}"
    assert labels(lane_of("dqn-asterix"), lane_of("dqn-breakout", **change)) == ["dqn", named]
    both = [lane_of(f"dqn-{game}", **change) for game in ("breakout", "asterix")]
    assert labels(*both) == [f"dqn {name}={value}"]  # all changed alike


@pytest.mark.parametrize(
    "change", [{"widths": (64,)}, {"capacity": 50_000}, {"num_envs": 4}, {"eval_episodes": 3}]
)
def test_sizes_and_evaluations_make_no_method_but_a_sweep_tells_sizes_apart(change):
    assert labels(lane_of("dqn-asterix"), lane_of("dqn-breakout", **change)) == ["dqn"]
    swept = lane_of("dqn-breakout", swept=True, **change)
    assert (len(labels(lane_of("dqn-asterix"), swept)) == 1) == ("eval_episodes" in change)


def test_a_preset_on_another_environment_keeps_its_name():
    elsewhere = lane_of("dqn-asterix", env=BREAKOUT)
    assert labels(lane_of("dqn-breakout"), elsewhere) == ["dqn", "dqn-asterix"]


def test_what_a_sweep_changed_alike_is_one_method_wherever_its_preset_is_from():
    """Trap: on its own environment a preset's delta was "that of the preset", elsewhere a number;
    the setting that a sweep over both had chosen was in no table."""
    change = {"learning_rate": 0.5}
    both = [
        lane_of("dqn-cartpole", swept=True, env=env, **change)
        for env in ("CartPole-v1", "Catch-bsuite")
    ]
    assert labels(*both) == ["dqn-cartpole learning_rate=0.5"]
    pooled = pooling.pool(both, lambda lane: lane.protocol["environment"])
    assert len(pooled.methods) == 1 and not pooled.notes
    others = lane_of("dqn-asterix"), lane_of("dqn-breakout")  # by the choice of their authors
    assert labels(*others, *both) == ["dqn", "dqn-cartpole learning_rate=0.5"]


def test_json_does_not_make_a_method():
    lane = lane_of("dqn-asterix")
    fields = {**lane.fields, "support": [-100, 100], "max_gradient_norm": "inf", "gamma": 0.99}
    assert fields["max_gradient_norm"] != INFINITY
    assert labels(lane, lane._replace(fields=fields)) == ["dqn"]


def test_what_else_a_run_was_made_of_counts():
    lane = lane_of("dqn-breakout")
    document = {**lane.run.document, "parts": {"agent": "mine:agent"}}
    assert (
        len(labels(lane_of("dqn-asterix"), lane._replace(run=lane.run._replace(document=document))))
        == 2
    )


def test_labels_of_different_methods_differ():
    lanes = [lane_of("dqn-acrobot"), lane_of("dqn-cartpole")]
    assert len(set(labels(*lanes))) == 2


def test_a_changed_preset_of_control_is_not_its_family():
    lanes = [lane_of("dqn-cartpole"), lane_of("dqn-acrobot", backup="double")]
    assert labels(*lanes) == ["dqn", "dqn-acrobot backup=double"]


def test_what_somebody_calls_the_same_is_one_method_and_its_differences_are_said():
    lanes = [lane_of("dqn-asterix"), lane_of("dqn-breakout", backup="double", gamma=0.9)]
    ours = [lane._replace(label="DQN", given=True) for lane in lanes]
    other = lane_of("dqn-asterix", n_step=3)._replace(label="Mine", given=True)
    pooled = pooling.pool([*ours, other], lambda lane: lane.protocol["environment"])
    assert pooled.methods == {"DQN": dict(zip((ASTERIX, BREAKOUT), ours))}
    assert pooled.notes == [
        "DQN: one method by its label; configurations differ in backup, gamma.",
        f"Mine: not pooled, because only a lane on {ASTERIX} is called so.",
    ]
    assert labels(lanes[0], ours[1]) == ["dqn", "DQN"]


def test_of_many_lanes_ones_own_are_shown_before_reference_results():
    """Trap: a run that scored below thirty reference results was in no figure of its report."""
    mine = lane_of("dqn-cartpole")._replace(label="mine", scores=np.zeros(2))
    others = [mine._replace(label=str(n), scores=np.full(2, n), beside=True) for n in (1, 3, 2)]
    assert [one.label for one in best_first([*others, mine])] == ["mine", "3", "2", "1"]
    assert "IQM, reference results after all others, out of 4" in few_of(2, [*others, mine])
    assert few_of(2, [mine] * 3) == "The 2 lanes of highest IQM out of 3."
