"""The tree that `cmake --install` makes works where it is put, without the source tree."""
import shutil
import subprocess
from pathlib import Path

import pytest
from world import LIMIT, PROGRAM, Host

BUILD = Path(PROGRAM).parents[1]


@pytest.fixture
def prefix(world):
    if not shutil.which("cmake") or not (BUILD / "cmake_install.cmake").exists():
        pytest.skip("needs cmake, and MOONRUNNER in a build folder")
    made = world.root / "prefix"
    done = subprocess.run(["cmake", "--install", BUILD, "--prefix", made], capture_output=True, text=True, timeout=LIMIT,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_an_installed_program_runs_jobs_from_its_prefix(world, prefix):
    prefix = prefix.rename(world.root / "elsewhere")
    (world.root / "bin").mkdir()
    (world.root / "bin/moonrunner").symlink_to(prefix / "bin/moonrunner")
    host = Host(world, program=str(world.root / "bin/moonrunner"))
    world.send("e1", "print('ran')")
    host.answered("e1")
    assert world.output("e1").startswith("ran\nmoonrunner: succeeded: ")
    assert not [path for path in prefix.rglob("*") if path.is_symlink()]


def test_an_installed_tree_holds_what_an_operator_edits(world, prefix):
    share = prefix / "share/moonrunner"
    assert sorted(path.name for path in share.iterdir()) == ["lualib", "policies", "scripts"]
    assert (share / "scripts/handle_job.lua").exists() and len(list((share / "policies").glob("*.lua"))) == 5


def test_the_home_of_the_environment_comes_before_that_beside_the_program(world, prefix):
    home = world.root / "home"
    shutil.copytree(prefix / "share/moonrunner", home)
    (home / "scripts/handle_job.lua").write_text("error('the other home')")
    environment = {**world.environment, "MOONRUNNER_HOME": str(home)}
    done = subprocess.run([prefix / "bin/moonrunner", "run"], cwd=world.root, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode in (64, 70)
    assert "the other home" in done.stderr
