"""The preparation: once, completed after a kill, one at a time, silent on stdout; then the program.

A false ``python3`` stands for the slow part: its ``-m venv`` makes two files, its ``-m pip``
notes its arguments. The scripts are the real ones.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers import wait_until

SCRIPTS = Path(__file__).parent.parent / "scripts"
FALSE_PYTHON = """#!/bin/sh
case "$*" in
    "-m venv"*) for last; do :; done
        mkdir -p "$last/bin"; cp "$0" "$last/bin/python"; echo 'version = 3' >"$last/pyvenv.cfg" ;;
    "-m pip "*) echo "$*" >>"$CALLS"; echo noise
        while [ -e "$CALLS.wait" ]; do sleep 0.01; done
        cp "$PROGRAM" "$(dirname "$0")/collector" ;;
    "-c import pip"|"-c import ensurepip") ;;
    *) exec "$REAL_PYTHON" "$@" ;;
esac
"""
PROGRAM = """#!/bin/sh
echo "out $PWD $*"; echo "$$" >"$CALLS.pid"
case "${1:-}" in fail) exit 75 ;; wait) exec sleep 60 ;; esac
"""


class Checkout:
    """A checkout of scripts and locks only, with the false interpreter first on the PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root / "a checkout"
        self.calls = root / "calls"
        self.elsewhere = root / "elsewhere"
        shutil.copytree(SCRIPTS, self.root / "scripts")
        for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            (self.root / name).write_text("one\n")
        self.elsewhere.mkdir()
        programs = {"bin/python3": FALSE_PYTHON, "program": PROGRAM}
        for name, text in programs.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "PROGRAM": str(root / "program"),
            "REAL_PYTHON": sys.executable,
        }

    def start(self, *words: str, script: str = "collector") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.root / "scripts" / script), *words],
            cwd=self.elsewhere,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, script: str = "collector") -> tuple[int, str, str]:
        process = self.start(*words, script=script)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    @property
    def installs(self) -> int:
        """How many times pip was called with a lock file."""
        if not self.calls.exists():
            return 0
        return sum("--require-hashes" in line for line in self.calls.read_text().splitlines())

    def hold_pip(self) -> Path:
        gate = Path(f"{self.calls}.wait")
        gate.touch()
        return gate


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_fresh_checkout_prepares_itself_and_becomes_the_program(checkout: Checkout) -> None:
    code, out, err = checkout.run("run", "--timeframe", "1d")
    assert code == 0
    assert out == f"out {checkout.elsewhere} run --timeframe 1d\n"
    assert "prepare: installing" in err
    assert "prepare: done in" in err
    lock, package = checkout.calls.read_text().splitlines()
    assert "--require-hashes --only-binary :all:" in lock
    assert "--no-deps --no-build-isolation -e" in package


def test_a_prepared_checkout_says_nothing_and_installs_nothing(checkout: Checkout) -> None:
    checkout.run()
    assert checkout.run("again") == (0, f"out {checkout.elsewhere} again\n", "")
    assert checkout.installs == 1


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_package_is_installed(checkout: Checkout, name: str) -> None:
    checkout.run()
    (checkout.root / name).write_text("two\n")
    assert checkout.run()[0] == 0
    assert checkout.installs == 2


def test_a_venv_for_tests_serves_the_program_but_not_the_reverse(checkout: Checkout) -> None:
    checkout.run()
    checkout.run("dev", script="prepare")
    checkout.run()
    assert checkout.installs == 2
    assert "requirements-dev.lock" in checkout.calls.read_text()


def test_the_exit_code_is_the_programs(checkout: Checkout) -> None:
    assert checkout.run("fail")[0] == 75


def test_a_signal_reaches_the_program_itself(checkout: Checkout) -> None:
    checkout.run()
    note = Path(f"{checkout.calls}.pid")
    note.unlink()
    process = checkout.start("wait")
    wait_until(lambda: note.exists() and note.read_text() != "", "the program runs")
    assert int(note.read_text()) == process.pid
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM


def test_two_at_once_install_once(checkout: Checkout) -> None:
    gate = checkout.hold_pip()
    first = checkout.start("first")
    wait_until(lambda: checkout.installs == 1, "the first installs")
    second = checkout.start("second")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.3)
    gate.unlink()
    for process, name in ((first, "first"), (second, "second")):
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, f"out {checkout.elsewhere} {name}\n")
    assert checkout.installs == 1


def test_a_killed_preparation_is_taken_up(checkout: Checkout) -> None:
    gate = checkout.hold_pip()
    process = checkout.start()
    wait_until(lambda: checkout.installs == 1, "it installs")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    gate.unlink()
    code, out, _ = checkout.run("after")
    assert (code, out) == (0, f"out {checkout.elsewhere} after\n")
    assert checkout.installs == 2


def test_a_terminated_preparation_takes_its_child_along(checkout: Checkout) -> None:
    checkout.hold_pip()
    process = checkout.start()
    wait_until(lambda: checkout.installs == 1, "it installs")
    process.terminate()
    process.communicate(timeout=10)  # ends only when no child keeps stdout or stderr open
    assert process.returncode == 143


def test_a_prepared_start_is_fast(checkout: Checkout) -> None:
    checkout.run()
    took = []
    for _ in range(5):
        began = time.perf_counter()
        checkout.run()
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1


def test_without_a_fitting_python_it_says_what_to_install(checkout: Checkout) -> None:
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        path = checkout.calls.parent / "bin" / name
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    code, out, err = checkout.run()
    assert (code, out) == (2, "")
    assert "Python 3.11 or later is needed" in err
