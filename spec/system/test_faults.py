"""Each call of the host that can fail in real life fails once: the host says so, the job is neither lost nor doubled, and
nothing is left. Needs a test build (MOONRUNNER_FAULT)."""
import os
import re
import subprocess
from pathlib import Path

import pytest
from world import ANSWERS, PROGRAM, wait_for

HOST = Path(__file__).parents[2] / "host"
POINTS = sorted({name for path in HOST.rglob("*.[ch]") for name in
                 re.findall(r'\b(?:FAULT|CALL)\("([a-z0-9_.]+)"', path.read_text())})
# What is passed often fails at a later pass too: the first ones are those of the start.
LATER = (2, 4, 8, 16, 32, 64) if not os.environ.get("MOONRUNNER_SOAK") else range(2, 200)
OFTEN = ("file.", "archive.", "copy.", "task.start", "base.", "time.", "channel.")
PASSES = [(point, 1) for point in POINTS] + [(p, n) for p in POINTS if p.startswith(OFTEN) for n in LATER]


@pytest.fixture(scope="session", autouse=True)
def test_build():
    done = subprocess.run([PROGRAM, "run", "--config=/dev/null"], env={"MOONRUNNER_FAULT": "options.open"}, timeout=60,
                          capture_output=True, check=False)
    if done.returncode != 64:
        pytest.skip("needs a build with fault points")


@pytest.mark.parametrize("point, nth", PASSES, ids=lambda value: str(value))
def test_a_call_that_fails_once_loses_no_job_and_leaves_nothing(world, point, nth):
    ran = world.root / "ran"
    sent = world.send("e1", f"print('ran')\nopen({str(ran)!r}, 'a').write('x')\nopen('../retval', 'w').write('1')",
                      files={"data/d.txt": "data" * 1000})
    first = world.host(MOONRUNNER_FAULT=f"{point}:{nth}")
    ends = (*ANSWERS, "job.ended", "job.refused")
    wait_for("the job's end, or the host's", lambda: first.process.poll() is not None
             or [event for event in first.events() if event["event"] in ends])
    if first.process.poll() is None:
        first.signal()
    out_of_memory_at_once = not first.events("host.started") and "no memory" in first.log.read_text()
    assert first.wait() in (0, 64, 70) or out_of_memory_at_once
    assert first.process.returncode != 70 or first.events("host.failed") or first.other_lines(), "it says why"
    over = [event for event in first.events() if event["event"] in ("delivery.acknowledged", "delivery.set_aside")]
    second = world.host()
    if over:
        second.wait_for("queue.opened")
    else:
        over = [second.answered("e1")]
    assert len(over) == 1
    if over[0]["event"] == "delivery.acknowledged":
        assert over[0]["code"] == "succeeded"
    else:
        assert [name.split(".")[0] for name in world.set_aside()] == [sent.name]
        assert over[0]["reason"]
    runs = len(first.events("job.spawned")) + len(second.events("job.spawned"))
    assert ran.exists() <= runs and len(ran.read_text() if ran.exists() else "") <= runs
    first.may_print = True  # what it printed was expected
