"""Runs that are diagnosed: the same training, the same numbers after a resume, and a figure."""

from pathlib import Path

import numpy as np
import pytest
from commands import assert_same_run
from common import SMALL, SMALL_HPARAMS, small
from rich.console import Console
from safetensors.numpy import load_file

from jaxq.runs import files
from jaxq.runs.runner import RunSpec, Spread, run
from jaxq.scoring import inside, plots
from jaxq.scoring.scores import INSIDE, diagnoses

pytestmark = pytest.mark.usefixtures("shared_programs")

QUIET = Console(quiet=True)
DIAGNOSED = small(diagnose=True).config
SPEC = RunSpec("small", DIAGNOSED, [SMALL_HPARAMS], [0, 1], steps=240)


def train(directory: Path, spec=SPEC, **options) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw_curves", lambda path, *_: path.touch())
        made = small(diagnose=True) if spec.config.diagnose else small()
        how = {"spread": Spread(save_every=0.0), "console": QUIET, "experiment": made}
        run(spec, directory, **{**how, **options})
    return directory


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "diagnosed")


def test_a_diagnosed_run_trains_with_the_same_bits(diagnosed, tmp_path):
    plain = train(tmp_path / "plain", SPEC._replace(config=SMALL))
    params = [load_file(place / files.POLICY / files.PARAMS) for place in (plain, diagnosed)]
    assert all(params[0][name].tobytes() == params[1][name].tobytes() for name in params[0])
    off, on = (files.read_arrays(place / files.METRICS) for place in (plain, diagnosed))
    assert all(on[name].tobytes() == values.tobytes() for name, values in off.items())
    assert set(on) - set(off) == {INSIDE + name for name in inside.WORDS} == set(diagnoses(on))
    assert all(np.isfinite(on[name]).all() for name in diagnoses(on))
    assert (diagnosed / files.DIAGNOSTICS).read_bytes().startswith(b"\x89PNG")
    assert not (plain / files.DIAGNOSTICS).exists()
    assert "diagnose" not in files.read_document(plain)["config"]


def test_a_run_that_goes_on_is_compared_with_the_same_beginning(diagnosed, tmp_path):
    half = train(tmp_path / "run", SPEC._replace(steps=140))
    train(half, resume=True)
    assert_same_run(diagnosed, half)
