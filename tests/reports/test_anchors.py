"""What counts as 0 and as 1 is known, or said by a file, or the report says why it is not."""

import json

import numpy as np
import pytest
from invented import make_preset_run, make_run, read, row

from jaxq.errors import ConfigError
from jaxq.reports.anchors import read_anchors, scale_of, together
from jaxq.reports.report import write_report
from jaxq.runs import files as results

pytestmark = pytest.mark.usefixtures("undrawn")

CARTPOLE = {"environment": "CartPole-v1", "env_kwargs": [], "sticky_actions": 0.0}


def anchors(tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def make(tmp_path, content, environment="CartPole-v1"):
    return read_anchors(anchors(tmp_path, content), [environment])


def report(tmp_path, runs, content=None):
    page = tmp_path / "report.html"
    path = anchors(tmp_path, content) if content else None
    write_report(runs, page, anchors=path, latex=True)
    return read(page)


def test_own_anchors_of_one_environment(tmp_path):
    run = make_run(tmp_path / "a", 9.0)
    _, text = report(tmp_path, [run], {"CartPole-v1": [-1, 9]})
    text = text[text.index("### Normalised scores") :]
    scores = np.array(results.read_json(run / results.SCORES)["lanes"][0]["per_seed"])
    assert row(text, "a")[2].startswith(f"{np.mean((scores + 1) / 10):.2f} (")
    assert "A score of -1 is 0 and 9 is 1, as mine.json says." in text and "random" not in text


def test_known_anchors_say_what_1_is_in_the_games_that_are_there():
    scales = {
        name: scale_of({"environment": name, "env_kwargs": [], "sticky_actions": 0.0})
        for name in ("Freeway-MinAtar", "Breakout-MinAtar")
    }
    assert "scripted" not in scales["Freeway-MinAtar"].alone("Freeway-MinAtar")
    assert "scripted" in scales["Breakout-MinAtar"].alone("Breakout-MinAtar")
    assert together(scales).endswith(
        "what the time limit allows, in Breakout a scripted player that never misses, "
        "which others surpass."
    )


def test_own_anchors_pool_environments(tmp_path):
    runs = [
        make_run(tmp_path / name, level, preset=name, protocol={"environment": name}, env=name)
        for name, level in (("Here-v1", 2.0), ("There-v1", 5.0))
    ]
    _, text = report(tmp_path, runs)
    assert "No normalised scores: no anchors of Here-v1 are known; --anchors FILE gives" in text
    assert "Here-v1: not pooled, because no anchors of Here-v1 are known" in text
    page, text = report(tmp_path, runs, {"Here-v1": [0, 10], "There-v1": [0, 20]})
    assert "<h2>Across environments, anchors of mine.json</h2>" in page
    names = [make_preset_run(tmp_path / n, n) for n in ("dqn-asterix", "dqn-breakout")]
    ours = {"Asterix-MinAtar-original": [0, 2], "Breakout-MinAtar-original": [1, 3]}
    page, text = report(tmp_path, names, ours)
    assert "0 and 1 are, as mine.json says, 0 and 2 in Asterix-MinAtar-original, 1 and 3 in" in text
    assert "random policy" not in text and "Young" not in text
    tables = (tmp_path / "report.tex").read_text()
    assert "median of environments (95\\%)" in tables and "as mine.json says" in tables
    assert "--anchors" in tables.splitlines()[1]


def test_anchors_of_one_environment_alone_are_said_to_pool_nothing(tmp_path):
    runs = [make_run(tmp_path / "a"), make_preset_run(tmp_path / "b", "dqn-asterix")]
    _, text = report(tmp_path, runs)
    assert "b: not pooled, because Asterix-MinAtar-original alone has anchors of that kind" in text
    _, text = report(tmp_path, runs[:1])
    assert "all on CartPole-v1: nothing is pooled over environments." in text


def test_anchors_by_protocol(tmp_path):
    own = make(
        tmp_path,
        {
            "CartPole-v1": {
                "": [0, 1],
                "sticky_actions=0.10": [0, 2],
                "sticky_actions=0.1 env_kwargs=size=10": [0, 3],
                "env_params.length=0.7": [0, 4],
            }
        },
    )

    def one(**changes):
        scale = scale_of({**CARTPOLE, **changes}, own)
        return scale if isinstance(scale, str) else scale.anchor.one

    assert one() == 1.0 and one(sticky_actions=0.1) == 2.0
    assert one(sticky_actions=0.1, env_kwargs=["size=10"]) == 3.0
    assert one(**{"env_params.length": 0.7}) == 4.0
    changed = "mine.json has no anchors of CartPole-v1 with env_kwargs size=10"
    assert one(env_kwargs=["size=10"]) == changed  # which is another environment
    assert one(**{"env_params.length": 0.9}).endswith("with env_params.length 0.9")
    only = make(tmp_path, {"CartPole-v1": {"sticky_actions=0.1": [0, 2]}})
    assert scale_of(CARTPOLE, only).endswith("no anchors of CartPole-v1 under this protocol")


def test_known_anchors_are_of_their_protocol_alone():
    minatar = {**CARTPOLE, "environment": "Breakout-MinAtar"}
    assert scale_of(minatar).family == "gymnax"
    assert scale_of({**minatar, "sticky_actions": 0.1}).endswith("sticky_actions 0, and not 0.1")
    assert scale_of({**minatar, "env_kwargs": ["a=b"]}).endswith("not those with env_kwargs a=b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON: Expecting"),
        ("[]", "holds no environments"),
        ({"CartPole-v1": [1]}, r"gives CartPole-v1 \[1\]; \[zero, one\], two different"),
        ({"CartPole-v1": [1, 1]}, r"gives CartPole-v1 \[1, 1\]"),
        ({"CartPole-v1": [1, True]}, r"gives CartPole-v1 \[1, true\]"),
        ({"CartPole-v1": {}}, r"gives CartPole-v1 \{\}"),
        ('{"CartPole-v1": [0, NaN]}', r"gives CartPole-v1 \[0, NaN\]"),
        ({"CartPole-v1": {"sticky": [0, 1]}}, r"the protocol 'sticky'; NAME=VALUE"),
        ({"CartPole-v0": [0, 1]}, "has CartPole-v0, and none of CartPole-v1"),
    ],
)
def test_what_is_no_anchor_is_refused(content, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        make(tmp_path, content)
    with pytest.raises(ConfigError, match=r"nowhere\.json cannot be read: No such file"):
        read_anchors(tmp_path / "nowhere.json", [])
