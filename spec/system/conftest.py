"""What all system specs share: the fixture `world` (world.py), and the host's log beside a failed test."""
import os
import shutil

import pytest
import world as world_module

REPORT = pytest.StashKey()


def pytest_collection_modifyitems(items):
    if not os.access(world_module.PROGRAM, os.X_OK):
        raise pytest.UsageError("MOONRUNNER should be the path of the program under test")
    for item in items:
        if item.get_closest_marker("needs_uv") and not shutil.which("uv"):
            item.add_marker(pytest.mark.skip("needs uv: the packages take minutes without it"))


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_uv: installs many packages")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[REPORT] = report
    if report.failed and "world" in item.funcargs:
        for host in item.funcargs["world"].hosts:
            if host.log.exists():
                report.sections.append((host.log.name, host.log.read_text(errors="replace")[-8000:]))
    return report


@pytest.fixture
def world(request):
    made = world_module.World()
    yield made
    report = request.node.stash.get(REPORT, None)
    made.close(failed=report is None or report.failed)
