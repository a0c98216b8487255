"""The shape of the house: one direction of imports, one idea a file, a light import."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

# From the ground up; a module may import only modules of the rows before its own.
LAYERS = [
    ["errors", "types", "sumtree", "layers"],
    ["stats", "config", "td", "returns", "exploration", "records", "heads"],
    ["envs", "networks", "backups", "targets", "replay", "validation", "methods"],
    ["sweeps", "sinks"],
    ["scores"],
    ["losses", "evaluation", "minatar", "rollout", "optimizers"],
    ["ensembles", "recurrent", "train", "pqn", "resets", "presets"],
    ["agents"],
    ["experiment", "placement", "policy", "plots", "results", "progress", "provenance", "pages"],
    ["population", "render", "checkpoint", "evolution", "tuning", "lanes"],
    ["resuming", "measurement", "tables", "stopping"],
    ["runner", "report"],
    ["studies", "cli"],
    ["searches", "terminal"],
    ["planning"],
    ["tasks"],
    ["executors"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in (ROOT / "jaxq").glob("*.py") if path.stem != "__init__")


def imports(path):
    """Names of the modules that a file imports, with the nodes at the top of the file marked."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "jaxq":
            yield from ((f"jaxq.{alias.name}", top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, top


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_run_one_way(path):
    for name, _ in imports(path):
        if name.startswith("jaxq."):
            imported = name.removeprefix("jaxq.").split(".")[0]
            assert LEVEL[imported] < LEVEL[path.stem], f"{path.stem} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_slow_packages_are_imported_where_they_are_used(path):
    for name, top in imports(path):
        package = name.split(".")[0]
        assert package != "gymnax" or (path.stem in ("envs", "render") and not top)
        lazy = ("matplotlib", "orbax", "pygame", "optuna", "wandb", "tensorboardX", "ray")
        assert package not in lazy or not top


def test_the_loop_is_at_most_200_lines_and_no_file_is_long():
    lengths = {path.stem: len(path.read_text().splitlines()) for path in MODULES}
    assert lengths["train"] <= 200
    assert max(lengths.values()) <= 320, lengths


def test_the_loop_knows_no_algorithm():
    source = (ROOT / "jaxq" / "train.py").read_text().lower()
    for word in ("dqn", "double", "dueling", "priorit", "config.", "lax.cond"):
        assert word not in source.replace("priority", ""), word


def test_import_is_light():
    code = (
        "import sys, jaxq; print([m for m in ('jax', 'gymnax', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_top_level_is_what_it_should_be():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    top = {name.split("/")[0] for name in tracked}
    allowed = {"pyproject.toml", "README.md", "LICENSE", "jaxq", "experiments", "tests"}
    assert all(name in allowed or name.startswith(".") for name in top), top


def test_an_environment_does_not_load_what_gymnax_draws_with():
    """gymnax imports pyplot and seaborn, and so pandas and SciPy: a second of every start."""
    code = (
        "import sys; from jaxq import envs; envs.make_env('CartPole-v1', 1);"
        "print([m for m in ('matplotlib.pyplot', 'seaborn', 'pandas') if m in sys.modules]);"
        "from gymnax.environments.bsuite import catch; print(catch.plt.Figure.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", "Figure"]
