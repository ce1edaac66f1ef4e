"""Each example of the README runs as it stands there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import portbook

from conftest import PYTHON, Service

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
FILES = {name: text for _, name, text in BLOCKS if name}
TESTS = [name for name in FILES if name.startswith("test_")]
PROGRAMS = [name for name in FILES if name.endswith(".py") and name not in TESTS]


def test_every_example_in_python_has_a_file_name_and_is_run() -> None:
    assert all(name for kind, name, _ in BLOCKS if kind in ("python", "ini"))
    assert len(TESTS) >= 3 and len(PROGRAMS) >= 4


@pytest.mark.parametrize("service", ["auto", "never"])
@pytest.mark.parametrize("name", TESTS)
def test_example_of_the_plugin_passes(
    pytester: pytest.Pytester, with_service: Service, name: str, service: str
) -> None:
    Path(name).write_text(FILES[name])
    Path("pytest.ini").write_text(FILES["pytest.ini"])
    arguments = ["--strict-markers", "-p", "no:cacheprovider", f"--portbook-service={service}"]
    result = pytester.runpytest_subprocess(*arguments)
    assert result.ret == 0
    result.assert_outcomes(passed=FILES[name].count("def test_"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_example_of_the_client_runs(with_service: Service, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    subprocess.run([PYTHON, "-W", "error", name], cwd=tmp_path, check=True, timeout=60)


def test_summaries_are_those_of_the_plugin() -> None:
    source = Path(portbook.__file__).with_name("pytest_plugin.py").read_text()
    for words in ("held by pytest itself: no service answers", "held by the service on "):
        assert words in source and words in README.read_text()
