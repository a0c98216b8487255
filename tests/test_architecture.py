"""The shape of the house: one direction of imports, one idea a file, a light import."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from jaxq.envs.libraries import LIBRARIES

ROOM = re.compile(r"^    (\w+)  +\S", re.M)  # a line of a package's docstring: name, what it is


def rooms(package: Path) -> list[str]:
    """What a package's docstring lists, from the ground up."""
    return ROOM.findall(ast.get_docstring(ast.parse((package / "__init__.py").read_text()), False))


def height(name: str) -> tuple[int, int]:
    """The floor of a module such as ``learning.td``, and its place on it."""
    floor, _, module = name.partition(".")
    return FLOORS.index(floor), rooms(HOUSE / floor).index(module) if module else -1


HOUSE = ROOT / "jaxq"
FLOORS = rooms(HOUSE)
MODULES = {
    ".".join(path.relative_to(HOUSE).with_suffix("").parts): path
    for path in sorted(HOUSE.rglob("*.py"))
    if path.stem != "__init__"
}


def imports(path):
    """Names of the modules that a file imports, with the nodes at the top of the file marked."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (ROOT / node.module.replace(".", "/")).is_dir():
            yield from ((f"{node.module}.{alias.name}", top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, top


def test_every_room_stands_where_its_docstring_says():
    """The docstrings are the plan of the house: none missing, none too many."""
    on_disk = {name.partition(".")[0] for name in MODULES}
    assert set(FLOORS) == on_disk
    for floor in FLOORS:
        if (HOUSE / floor).is_dir():
            modules = {path.stem for path in (HOUSE / floor).glob("*.py")} - {"__init__"}
            assert modules == set(rooms(HOUSE / floor)), floor


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name):
    for imported, _ in imports(MODULES[name]):
        if imported.startswith("jaxq."):
            imported = ".".join(imported.split(".")[1:3])
            while imported not in MODULES:
                imported = imported.rpartition(".")[0]
            assert height(imported) < height(name), f"{name} imports {imported}"


@pytest.mark.parametrize("name", MODULES)
def test_slow_packages_are_imported_where_they_are_used(name):
    for imported, top in imports(MODULES[name]):
        package = imported.split(".")[0]
        assert package != "gymnax" or (name in ("envs.gymnax", "reports.render") and not top)
        assert package not in LIBRARIES or (name == f"envs.{package}" and not top)
        lazy = ("matplotlib", "pygame", "optuna", "wandb", "tensorboardX", "ray")
        assert package not in lazy or not top


def test_the_loop_is_at_most_200_lines_and_no_file_is_long():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert lengths["loops.off_policy"] <= 200
    assert max(lengths.values()) <= 320, lengths


def test_no_method_has_a_line_of_its_own_in_the_loop():
    """What a loss says of a window, its priority, is passed on, and nothing is made of it."""
    source = MODULES["loops.off_policy"].read_text().lower()
    words = "dqn double dueling prioritized importance exponent munchausen temperature"
    for word in (*words.split(), "config.agent", "lax.cond"):
        assert word not in source, word
    assert source.count("priority") == 1


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
        "import sys; from jaxq.envs import libraries as envs; envs.make_env('CartPole-v1', 1);"
        "print([m for m in ('matplotlib.pyplot', 'seaborn', 'pandas') if m in sys.modules]);"
        "from gymnax.environments.bsuite import catch; print(catch.plt.Figure.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", "Figure"]
