"""What is loaded when, and what the package is made of."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {
    "torch",
    "sklearn",
    "numba",
    "dask",
    "geopandas",
    "matplotlib",
    "rasterio",
    "xarray",
    "pandas",
    "scipy",
    "shap",
}


@pytest.mark.parametrize(
    "statement", ["import geosoil", "from geosoil_cli.main import group; group(['--help'], standalone_mode=False)"]
)
def test_the_start_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())


def test_every_public_name_is_there() -> None:
    import geosoil

    for name in geosoil.__all__:
        assert getattr(geosoil, name) is not None
    assert set(geosoil.__all__) <= set(dir(geosoil))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = geosoil.nothing


def test_the_packages_listed_are_those_on_disk() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "geosoil").rglob("__init__.py")}
    assert listed == found | {"geosoil_cli"}


def dangers(tree: ast.AST) -> list[str]:
    """Calls, keywords and imports through which a foreign file could run code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in {"pickle", "joblib", "dill", "shelve", "marshal"}]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if name in {"eval", "exec", "torch.load", "yaml.load", "os.system"} else []
            flags = {one.arg: ast.unparse(one.value) for one in node.keywords}
            found += [key for key in ("shell", "allow_pickle") if flags.get(key) == "True"]
    return found


@pytest.mark.parametrize("code", ["import pickle", "eval(x)", "run(c, shell=True)", "np.load(p, allow_pickle=True)"])
def test_the_search_for_dangers_finds_them(code: str) -> None:
    assert dangers(ast.parse(code))


def test_nothing_that_could_run_foreign_code_is_used() -> None:
    files = [*(ROOT / "geosoil").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    assert len(files) > 30
    for path in files:
        assert not dangers(ast.parse(path.read_text(encoding="utf-8"))), path
