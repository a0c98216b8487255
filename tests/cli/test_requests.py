"""What a command line asks for: refused in one sentence, or trained as it says."""

import os
import shlex
import signal
import subprocess
import sys
import textwrap

import pytest
from commands import CAPTURE, command, refused
from common import SMALL, SMALL_HPARAMS
from conftest import ROOT
from rich.console import Console

from jaxq.cli.main import SharedOptions, main, parse
from jaxq.cli.tasks import train
from jaxq.errors import ConfigError
from jaxq.runs import files
from jaxq.runs.signals import Interrupted
from jaxq.runs.spec import RunSpec

QUIET = Console(quiet=True)


def do(*arguments):
    return train(parse([*map(str, arguments)], "train.py"), QUIET)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("dqn-cartpol", "preset=dqn-cartpol does not exist; did you mean dqn-cartpole"),
        ("dqn", "did you mean dqn-cartpole or dqn-acrobot or dqn-mountaincar"),
        ("dqn-cartpole --env CartPole", "env=CartPole does not exist; did you mean CartPole-v1"),
        ("dqn-cartpole --env Pendulum-v1", "env=Pendulum-v1 has continuous actions"),
        ("dqn-cartpole --batch-size 20000", "capacity=10000 must be at least 20000"),
        ("dqn-cartpole --prefill 100", "prefill=100 must be at least 128, to hold batch_size=128"),
        ("dqn-cartpole --capacity 10001", "capacity=10001 must be a multiple of train_every=10"),
        ("dqn-cartpole --num-envs 0", "num_envs=0 must be a whole number of at least 1"),
        ("dqn-cartpole --seeds -1", "seeds=-1 must be"),
        ("dqn-cartpole --gamma 1.5", "gamma=1.5 must be between 0 and 1"),
        ("dqn-cartpole --steps 100", "steps=100 must be larger than prefill=10000"),
        ("dqn-cartpole --target-period 15", "target_period=15 must be a multiple of train_every"),
        ("dqn-cartpole --network minatar", "network=minatar needs image observations"),
        ("dqn-cartpole --env-params gravty 9", "env_params of CartPole-v1=gravty does not exist"),
        ("dqn-cartpole --capacity 1000000000", "members fit"),
        ("dqn-cartpole --dataset=", "dataset= is empty; a run directory is accepted"),
        # what a default says has as little effect as anything else
        ("stream-q-cartpole --optimizer adam", "optimizer=adam has no effect without trace=acc"),
        ("stream-q-cartpole --correction-rate 0.1", "correction_rate=0.1 has no effect without"),
        # nor what a preset says: the value is the one that was typed
        (
            "stream-q-cartpole --dense spectral --initialization sparse",
            "initialization=sparse has no effect without network=minatar or nature or octax, or",
        ),
        ("stream-q-cartpole --agent dqn --td-lambda 0.8", "td_lambda=0.8 has no effect without"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(arguments, message, tmp_path):
    with pytest.raises(ConfigError) as raised:
        do(*arguments.split(), "--out", tmp_path / "run")
    assert message in str(raised.value) and str(raised.value).count(". ") == 0
    assert not (tmp_path / "run").exists()


def test_a_sweep_may_ask_for_what_only_some_of_its_lanes_read():
    request = parse("stream-q-cartpole --optimizer adam".split(), "sweep.py", SharedOptions)
    assert request.config.optimizer == "adam"
    with pytest.raises(ConfigError, match="dataset= is empty"):
        parse(["dqn-cartpole", "--dataset="], "sweep.py", SharedOptions)


def test_what_a_preset_says_of_its_environment_goes_along_and_that_is_told(recwarn):
    """Trap: CartPole refused n_distractor, and nothing said who had asked for it."""
    start = ["dqn-umbrellachain", "--env", "CartPole-v1"]
    parse(start, "train.py")
    told = [str(one.message) for one in recwarn]
    assert told == [
        "env_kwargs n_distractor=20 of the preset is kept with env=CartPole-v1; --env-kwargs alone "
        "drops it.",
        "env_params chain_length=20 of the preset is kept with env=CartPole-v1; --env-params alone "
        "drops it.",
    ]
    recwarn.clear()
    parse([*start, "--env-kwargs", "--env-params"], "train.py")
    parse(start[:1], "train.py")
    parse(["dqn-cartpole", "--env", "Acrobot-v1"], "train.py")
    assert not list(recwarn)


def test_a_preset_without_a_name_is_not_this_directory():
    with pytest.raises(ConfigError, match="preset= does not exist"):
        do("")


def test_unknown_options_and_choices_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="learning-rat does not exist; did you mean learning-r"):
        do("dqn-cartpole", "--learning-rat", "1")
    with pytest.raises(ConfigError, match="rmsprop"):  # a function of one's own may stand there
        do("dqn-cartpole", "--optimizer", "x")


def test_help_lists_the_presets_and_every_option(capsys):
    with pytest.raises(SystemExit):
        do("--help")
    assert "q-table-frozenlake" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        do("dqn-cartpole", "--help")
    text = capsys.readouterr().out
    assert "--learning-rate" in text and "Step size of the optimizer" in text


def test_an_answer_that_cannot_be_written_is_no_success():
    """Trap: `evaluate.py RUN > /dev/full` said nothing and ended with 0, as the list of presets."""
    with open("/dev/full", "w") as full:
        run = subprocess.run(command(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    said = "error: standard output cannot be read or written: No space left on device.\n"
    assert (run.returncode, run.stderr) == (1, said)


def test_output_that_is_closed_from_outside_takes_no_help(capfd):
    """As by `>&-`: Python then has no stream, and the next file that is opened has its number."""
    shell = f"{shlex.join(command('dqn-cartpole', '--help'))} <&- >&-"
    assert subprocess.run(shell, shell=True).returncode == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_what_jax_refuses_in_the_environment_is_one_sentence(script):
    """It raises ValueError when it is imported, wherever that is."""
    refused(
        "JAX_DEBUG_NANS=2 in the environment is refused by JAX: invalid truth value",
        "x",
        script=script,
        env={**os.environ, "JAX_DEBUG_NANS": "2"},
    )


def test_ctrl_c_while_garbage_is_collected_is_not_lost():
    """Trap: JAX has a callback there, in which KeyboardInterrupt is printed and forgotten."""
    code = """
        import gc, signal, time, jaxq.cli
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def callback(*_):
            gc.callbacks.remove(callback)
            signal.raise_signal(signal.SIGINT)
        gc.callbacks.append(callback)
        gc.collect()
        time.sleep(10)
        print("nobody heard it")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, **CAPTURE)
    assert (
        not run.stdout
        and run.stderr.strip() == "Stopped at once."
        and run.returncode == -signal.SIGINT
    )


def test_what_matplotlib_refuses_in_the_environment_is_one_sentence(tmp_path):
    """As gymnax imports it."""
    environment = {**os.environ, "MPLBACKEND": "foo"}
    refused("MPLBACKEND=foo", "dqn-cartpole", "--out", tmp_path / "run", env=environment)


def test_a_config_can_be_given_back(tmp_path):
    lanes = [SMALL_HPARAMS, SMALL_HPARAMS._replace(huber_delta=float("inf"))]
    spec = RunSpec("mine", SMALL, lanes, [7, 9], 400)
    files.create(tmp_path / "run", spec.document())
    for path in (tmp_path / "run", tmp_path / "run" / files.CONFIG):
        request = parse([str(path)], "train.py")
        assert RunSpec(request.name, *request[2:]) == spec
    request = parse([str(tmp_path / "run"), "--steps", "500", "--seeds", "1"], "train.py")
    assert request.steps == 500 and list(request.seeds) == [0]
    request = parse(["--resume", str(tmp_path / "run"), "--seeds", "4"], "train.py")
    assert list(request.seeds) == [7, 8, 9, 10]  # those it has, and those it lacks


def test_options_may_come_before_the_preset(tmp_path):
    request = parse("--seeds 2 dqn-cartpole --steps 1e5".split(), "train.py")
    assert request.name == "dqn-cartpole" and len(request.seeds) == 2 and request.steps == 100_000
    with pytest.raises(ConfigError, match=r"train\.py begins with a preset, or a run"):
        parse("--seeds 2".split(), "train.py")
    for words in (["--resume", str(tmp_path / "no")], [f"--resume={tmp_path / 'no'}"]):
        with pytest.raises(ConfigError, match=r"resume=.*no is not a directory; a run directory"):
            parse(words, "train.py")


def test_the_nearest_preset_is_found_whatever_its_case():
    with pytest.raises(ConfigError, match=r"did you mean dqn-cartpole\?"):
        do("DQN-CartPole")


def test_a_sweep_is_resumed_by_its_own_script(tmp_path):
    (tmp_path / files.STUDY).write_text("{}")
    with pytest.raises(ConfigError, match=r"is a sweep; sweep\.py --resume .* continues it"):
        parse(["--resume", str(tmp_path), "--seeds", "4"], "train.py")


def test_what_ones_own_code_raises_is_a_sentence_with_its_place(tmp_path, monkeypatch, capsys):
    """Trap: thirty lines of traceback where the second line of a loss has a name that is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(
        "def nameless(values, a_tm1, hparams):\n    return nothing\n"
        "def eager(values, a_tm1, hparams):\n    return float(values.target_tm1[0])\n"
    )

    def said(name):
        arguments = ["train.py", "dqn-cartpole", "--backup", f"broken:{name}", "--out", "run"]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            main(lambda arguments, console: train(parse(arguments, "train.py"), console))
        assert ended.value.code == 2
        return capsys.readouterr().err

    raised = "error: broken:nameless raised NameError: name 'nothing' is not defined (broken.py, "
    assert said("nameless") == f"{raised}line 2).\n"
    assert "broken:eager decides in Python or NumPy what is only known when" in said("eager")


def test_what_the_house_or_its_script_raises_stays_a_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(ZeroDivisionError):
        main(lambda arguments, console: 1 / 0)
    with pytest.raises(AttributeError):
        main(lambda arguments, console: train(None, console))


def test_a_run_that_a_signal_has_stopped_ends_with_its_exit_code(monkeypatch):
    """Trap: it is an exception, too, and no mistake of anybody's."""
    monkeypatch.setattr(sys, "argv", ["train.py"])

    def stopped(arguments, console):
        raise Interrupted(signal.SIGTERM, 100)

    with pytest.raises(SystemExit) as ended:
        main(stopped)
    assert ended.value.code == 128 + signal.SIGTERM
