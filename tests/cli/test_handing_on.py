"""What is typed reaches what it is meant for, in every script."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import module_of
from common import SMALL, SMALL_HPARAMS, small
from rich.console import Console

from jaxq.cli import tasks
from jaxq.cli.main import main, parse
from jaxq.errors import ConfigError
from jaxq.loops.evaluation import Evaluation
from jaxq.recipes import suites
from jaxq.recipes.presets import PRESETS
from jaxq.runs import files
from jaxq.runs.policy import save_policy
from jaxq.runs.runner import RunSpec, Spread
from jaxq.runs.stopping import Stop
from jaxq.studies.asking import make_study

pytestmark = pytest.mark.usefixtures("compiled_quickly")

QUIET = Console(quiet=True)
SPEC = RunSpec("small", SMALL, [SMALL_HPARAMS], [7, 9], steps=440)


def test_what_is_typed_reaches_the_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(tasks, "use_one_core", lambda: pytest.fail("devices were asked for"))
    monkeypatch.setattr(tasks, "gains_by_one_core", lambda config: True)
    monkeypatch.setattr(tasks, "print_scores", lambda *_: None)
    monkeypatch.setattr(tasks, "run", lambda *a, **k: asked.append(("run", *a, k)) or {})
    monkeypatch.setattr(tasks, "add_seeds", lambda *a, **k: asked.append(("add", *a, k)))
    ended = SimpleNamespace(META=files.META, read_json=lambda path: {"stopped_by": "steps"})
    monkeypatch.setattr(tasks, "results", ended)
    how = (
        "--devices 1 --batch 2 --save-every 7 --track tensorboard --until-return 475 --episodes 9 "
        "--keep-replay 6 --no-try-env --accept-changed-code"
    ).split()
    spread = Spread(2, 1, 7.0, ("tensorboard",), True, False, (6,))
    new = ["dqn-cartpole", "--seeds", "2", "--first-seed", "5", "--steps", "3e4", "--gamma", "0.9"]
    tasks.train(parse([*new, "--out", str(tmp_path / "new"), *how], "train.py"), QUIET)
    ((what, spec, directory, given),) = asked
    assert (what, directory) == ("run", tmp_path / "new")
    assert (list(spec.seeds), spec.steps) == ([5, 6], 30_000)
    assert spec.lanes == [PRESETS["dqn-cartpole"].hparams._replace(gamma=0.9)]
    assert (given["spread"], given["stop"], given["resume"]) == (spread, Stop(475.0, 9), False)
    tasks.train(parse(["dqn-cartpole", "--seeds", "1", *how], "train.py"), QUIET)
    asked.clear()
    files.create(tmp_path / "old", SPEC._replace(seeds=[7, 8]).document())
    old = ["--resume", str(tmp_path / "old")]
    tasks.train(parse([*old, *how], "train.py"), QUIET)
    tasks.train(parse([*old, "--seeds", "3", *how], "train.py"), QUIET)
    tasks.train(parse([*old, "--first-seed", "5", *how], "train.py"), QUIET)
    assert [one[0] for one in asked] == ["run", "add", "run", "add", "run"]
    assert [list(one[1].seeds) for one in asked] == [[7, 8], *[[7, 8, 9]] * 2, *[[5, 6]] * 2]
    assert all(one[2] == tmp_path / "old" and one[-1]["spread"] == spread for one in asked)
    assert all(one[-1]["resume"] for one in asked if one[0] == "run")


def test_the_command_that_resumes_asks_for_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    stop = "--until-return 475 --episodes 9 --keep-replay 1 --track tensorboard".split()
    command = tasks._resume_command(Path("R"), parse(["dqn-cartpole", *stop], "train.py"))
    assert command == f"python train.py --resume R {' '.join(stop)}"
    files.create(tmp_path / "old", SPEC._replace(seeds=[7, 8]).document())
    more = "--first-seed 6 --seeds 3 --steps 900".split()
    request = parse(["--resume", str(tmp_path / "old"), *more], "train.py")
    command = tasks._resume_command(Path("R"), request)
    assert command == f"python train.py --resume R {' '.join(more)}"


def test_ctrl_c_is_no_success(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])

    def stopped(arguments, console):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        main(stopped)
    assert ended.value.code == 130


def test_a_run_is_not_repeated_with_changed_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine_g.py").write_text(
        "import jaxq\ndef backup(values, a_tm1, hparams):\n"
        "    return jaxq.backups.greedy(values, a_tm1, hparams)\n"
    )
    spec = SPEC._replace(config=replace(SMALL, backup="mine_g:backup"))
    made_of = {"backup": {"name": "mine_g:backup", "source": "another"}}
    files.create(tmp_path / "run", spec.document(made_of))
    words = ["run", "--trust", "mine_g:backup"]
    with pytest.raises(ConfigError, match=r"made with a different source of backup mine_g:backup"):
        parse(words, "train.py")
    assert parse([*words, "--accept-changed-code"], "train.py").config.backup == "mine_g:backup"
    sys.modules.pop("mine_g")


def test_evaluate_plays_what_it_is_asked_for(tmp_path, monkeypatch):
    module, seen = module_of("evaluate.py"), []
    lanes = [SMALL_HPARAMS, SMALL_HPARAMS._replace(gamma=0.5)]
    document = SPEC._replace(config=replace(SMALL, eval_max_steps=77), lanes=lanes).document()
    shapes = jax.eval_shape(small().agent.network.init, jax.random.key(0), jnp.zeros((2, 4)))
    whose = np.arange(4, dtype=np.float32).reshape(2, 2)
    params = jax.tree.map(lambda x: np.multiply.outer(whose, np.ones(x.shape, np.float32)), shapes)
    save_policy(tmp_path / "policy", document, params)

    def make_evaluator(env, agent, max_steps):
        def play(params, key, hparams):
            seen.append((env.num_envs, max_steps, jax.tree.leaves(params)[0].flat[0], key, hparams))
            returns = np.array([0.0, 0.0, 0.0, 4.0])
            return Evaluation(returns, returns + 1.0, returns > 0.0, returns)

        return play

    monkeypatch.setattr(module, "make_evaluator", make_evaluator)
    fake = SimpleNamespace(jit=lambda f: f, device_get=jax.device_get, random=jax.random)
    monkeypatch.setattr(module, "jax", fake)
    console = Console(file=io.StringIO(), width=300)
    words = "--lane 1 --seed-index 1 --episodes 4 --epsilon 0.25 --key 3 --no-gif".split()
    module.evaluate([str(tmp_path), *words], console)
    ((*found, key, hparams),) = seen
    assert found == [4, 77, 3.0] and key == jax.random.key(3)
    assert hparams == lanes[1]._replace(eval_epsilon=0.25)
    said = console.file.getvalue()
    assert "lane 1, seed 9, epsilon 0.25: mean return 1 over 4 episodes (5% 0, median 0, " in said
    assert "mean length 2, 3 cut at 77 steps." in said


def test_report_hands_on_what_it_is_asked_for(monkeypatch):
    module, seen = module_of("report.py"), []
    monkeypatch.setattr(module, "write_report", lambda *a, **k: seen.append((a, k)) or [])
    words = "a b --out c.html --reference control --anchors d --label a=A --label b=B --format pdf"
    module.report([*words.split(), "--latex"], QUIET)
    given = (Path("a"), Path("b")), Path("c.html"), "control"
    more = dict(anchors=Path("d"), labels=["a=A", "b=B"], kind="pdf", latex=True)
    assert seen == [(given, more)]


def test_a_sweep_is_asked_for_in_all_ways(tmp_path, monkeypatch):
    module, words = module_of("sweep.py"), "dqn-cartpole --seeds 2 --steps 20000".split()
    rates, ask = "learning_rate=log:1e-4..1e-2", dict(seeds=2, steps=20_000)
    space = {"learning_rate": rates.split("=")[1]}
    for more, asked in {
        "--grid gamma=0.9,0.99 --fresh-seeds 0": dict(grid={"gamma": "0.9,0.99"}, fresh_seeds=0),
        f"--random 4 --space {rates} --pbt 2 --pbt-replay --search-seed 3": dict(
            random=4, space=space, pbt=2, pbt_replay=True, search_seed=3
        ),
        "--grid gamma=0.9,0.99 --envs CartPole-v1 Acrobot-v1 --scale percentile": dict(
            grid={"gamma": "0.9,0.99"}, envs=("CartPole-v1", "Acrobot-v1"), scale="percentile"
        ),
    }.items():
        _, study = module.parse([*words, *more.split()])
        assert study == make_study("dqn-cartpole", **ask, **asked), more
    _, study = module.parse([*words, "--first-seed", "5", "--grid", "gamma=0.9,0.99"])
    assert (study.seeds, study.fresh_seeds) == ((5, 6), (7, 8))
    seen = []
    monkeypatch.setattr(module.sweeping, "carry_out", lambda *a, **k: seen.append((a, k)))
    how = f"--out {tmp_path} --parts 3 --devices 1 --save-every 7 --track tensorboard --trust a:b"
    module.sweep([*words, *"--grid gamma=0.9,0.99 --batch 2".split(), *how.split()], QUIET)
    (((directory, _), given),) = seen
    assert directory == tmp_path and given["num_parts"] == 3 and given["trusted"] == ("a:b",)
    assert given["spread"] == Spread(2, 1, 7.0, ("tensorboard",))


def test_batches_of_a_search_are_as_large_as_asked_for():
    pytest.importorskip("optuna")
    words = "dqn-cartpole --optuna 6 --at-once 3 --search-seed 1 --space gamma=0.9..0.99".split()
    _, study = module_of("sweep.py").parse(words)
    asked = dict(optuna=6, at_once=3, search_seed=1, space={"gamma": "0.9..0.99"})
    assert study == make_study("dqn-cartpole", **asked)


def test_methods_are_compared_by_48_settings_of_the_same_steps():
    """README: 48 settings on 6 environments, 3 seeds, 30k steps, 10 fresh seeds."""
    module = module_of("chs.py")
    for name, field, values in (
        ("dqn", "tau", {1.0, 0.2}),
        ("pqn", "td_lambda", {0.65, 0.95}),
        ("stream-q", "td_lambda", {0.0, 0.8}),
    ):
        study = module._study(name, module.Arguments((name,)))
        assert len(study.settings) == 48 * 6 and study.search["scale"] == "cdf"
        assert (study.seeds, study.fresh_seeds) == ((0, 1, 2), tuple(range(3, 13)))
        assert study.steps == 30_000 and study.config.widths == (64, 64)
        assert {setting[field] for setting in study.settings} == values
        assert {setting["gamma"] for setting in study.settings} == {0.95, 0.99}
        assert {setting["epsilon_end"] for setting in study.settings} == {0.01, 0.05, 0.2}
        rates = (0.01, 0.1, 0.3, 1.0) if name == "stream-q" else (1e-4, 3e-4, 1e-3, 3e-3)
        assert {setting["learning_rate"] for setting in study.settings} == {*rates}
        spec = RunSpec(name, study.config, [study.hparams], [0], study.steps)
        assert spec.last_step == (30_720 if name == "pqn" else 30_000)


def test_rungs_are_named_by_what_they_train(tmp_path, monkeypatch):
    module, seen = module_of("ladder.py"), []
    monkeypatch.setattr(module.tasks, "train_each", lambda jobs, out, _: seen.append((jobs, out)))
    monkeypatch.setattr(module.plots, "draw_comparison", lambda *_: None)
    module.ladder(["--seeds", "3", "--steps", "20000", "--out", str(tmp_path)], QUIET)
    ((jobs, out),) = seen
    names = {label: name for label, (name, *_) in jobs.items()}
    assert out == tmp_path and names["+ target network (DQN)"] == "dqn-cartpole"
    assert names["+ experience replay"] == "replay-q-cartpole"
    assert names["online Q-learning"] == "online-q-cartpole"
    assert {(preset.steps, seeds) for _, preset, seeds in jobs.values()} == {(20_000, 3)}


def test_the_command_that_is_kept_repeats_its_own_seeds():
    cell = suites.cells("control")["dqn-cartpole"]
    assert module_of("reference.py")._command(cell, [3, 4], 5) == (
        "python experiments/train.py dqn-cartpole --steps 250000 --seeds 2 --first-seed 3 "
        "--batch 5 --epsilon-steps 125000"
    )


@pytest.mark.parametrize(
    ("method", "names", "period"),
    [
        ("averaged-dqn", {"learning_rate", "gamma", "epsilon_end"}, 0),
        ("soft-q", {"learning_rate", "gamma", "tau"}, 0),
        ("noisy-dqn", {"learning_rate", "gamma", "tau"}, 0),
        ("reset-dqn", {"learning_rate", "gamma", "epsilon_end", "tau"}, 20_000),
    ],
)
def test_methods_are_compared_by_what_they_read_and_reset_in_their_steps(method, names, period):
    """Trap: the grid of all was refused, or epsilon rose, or a reset never came."""
    module = module_of("chs.py")
    study = module._study(method, module.Arguments((method,)))
    assert set(study.settings[0]) - {"env"} == names and study.config.reset_period == period
