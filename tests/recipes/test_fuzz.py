"""Any configuration is a program or one sentence, never another error; nothing is compiled.

``JAXQ_DRAWS=10000 python -m pytest -n 0 tests/recipes/test_fuzz.py`` draws that many others.
"""

import math
import os
from dataclasses import replace
from typing import Literal, get_args, get_origin, get_type_hints

import jax
import pytest
from common import cast
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxq.cli.main import parse
from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.parts import TABLES
from jaxq.recipes.presets import PRESETS

pytestmark = pytest.mark.usefixtures("compiled_quickly")

# Presets that cover all agents and loops, in environments whose traces are short.
BASES = [name for name in PRESETS if name.endswith(("-cartpole", "-frozenlake", "-memorychain"))]
HINTS = get_type_hints(Config)
NAMES = ("CartPole-v1", "FourRooms-misc", "Catch-bsuite", "Pendulum-v1", "nothing", "", "a:b", ":")
WHOLE = (-1, 0, 1, 2, 3, 4, 5, 8, 10, 16, 50, 64, 100, 1_000, 20_000, 2**31, 10**12)
REAL = (-1.0, 0.0, 1e-9, 0.25, 0.5, 1.0, 1.5, 3.0, 100.0, 1e30, math.inf, -math.inf, math.nan)
ODD = (None, "", "x", "1", True, 1.5, math.nan, (), (1,), [2, 3], {}, b"x")


def values_of(field: str) -> st.SearchStrategy:
    """Mostly of the field's kind, sometimes of none."""
    hint = HINTS[field]
    if field in TABLES:
        likely = st.sampled_from(list(TABLES[field]))
    elif field in ("env", "env_kwargs", "extra"):
        likely = st.sampled_from(NAMES if field == "env" else ((), ("size=3",), ("a",), ("a=b",)))
    elif get_origin(hint) is Literal:
        likely = st.sampled_from(get_args(hint))
    elif hint is bool:
        likely = st.booleans()
    elif hint is int:
        likely = st.sampled_from(WHOLE)
    elif hint is float:
        likely = st.sampled_from(REAL)
    elif float in get_args(hint):
        likely = st.tuples(st.sampled_from(REAL), st.sampled_from(REAL))
    else:
        likely = st.lists(st.sampled_from(WHOLE[:8]), max_size=3).map(tuple)
    return st.one_of(likely, likely, likely, st.sampled_from(ODD))


def changes_of(fields: list[str], values) -> st.SearchStrategy:
    some = st.lists(st.sampled_from(fields), max_size=3, unique=True)
    return some.flatmap(lambda names: st.fixed_dictionaries({n: values(n) for n in names}))


CONFIGS = changes_of(list(HINTS), values_of)
NUMBERS = changes_of(
    list(HParams._fields), lambda name: st.one_of(st.sampled_from(REAL), st.sampled_from(ODD))
)
DRAWS = int(os.environ.get("JAXQ_DRAWS", 0))
DRAWN = settings(
    max_examples=DRAWS or 25,
    derandomize=not DRAWS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)


def composed(base: str, structure: dict, numbers: dict) -> bool:
    """Whether there is a program; False is a sentence."""
    preset = PRESETS[base]
    try:
        config, hparams = replace(preset.config, **structure), preset.hparams._replace(**numbers)
        experiment = make_experiment(config, hparams)
    except ConfigError as error:
        sentence = str(error)
        assert sentence and sentence[-1] in ".?" and "\n" not in sentence
        return False
    hparams = cast(hparams)
    state, clock = jax.eval_shape(experiment.trainer.init, jax.random.key(0), hparams)
    jax.eval_shape(experiment.trainer.chunk, state, clock, hparams)
    jax.eval_shape(experiment.evaluate, state.params, jax.random.key(0), hparams)
    return True


@pytest.mark.filterwarnings("ignore")
@DRAWN
@given(st.sampled_from(BASES), CONFIGS, NUMBERS)
def test_any_configuration_is_a_program_or_a_sentence(base, structure, numbers):
    composed(base, structure, numbers)


WORDS = st.one_of(
    st.sampled_from([f"--{name.replace('_', '-')}" for name in (*HINTS, *HParams._fields)]),
    st.sampled_from(
        ["--steps", "--seeds", "--out", "--resume", "--batch", "--extra", "--no", "--"]
    ),
    st.sampled_from([*map(str, REAL), *map(str, WHOLE), *BASES[:3], *NAMES, "a=1", "true", "1e6"]),
    st.text(max_size=6),
)


@pytest.mark.filterwarnings("ignore")
@DRAWN
@given(st.sampled_from([[], ["dqn-cartpole"], ["pqn-cartpole"]]), st.lists(WORDS, max_size=5))
def test_any_command_line_is_a_request_or_a_sentence(begin, words):
    try:
        parse([*begin, *words], "train.py")
    except ConfigError as error:
        assert str(error)[-1] in ".?"
    except SystemExit as end:
        assert end.code in (0, 2, None)
