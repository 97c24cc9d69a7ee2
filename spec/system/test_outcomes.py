"""How a job can end, and what it leaves: verdict, document, results; and nothing else."""
import re
import signal

import pytest
from world import alive, wait_for

SAVES_FIRST = """
from pathlib import Path
Path("../retval").write_text('"a result"')
Path("../modeldir/model.bin").write_text("weights")
print("saved", flush=True)
"""

# A grandchild that left the session, the parent and the environment, and will not hear of TERM.
DAEMON = """
import os, signal, sys, time
from pathlib import Path
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c",
            "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "open(%r, 'w').write(str(os.getpid())); os.rename(%r, %r)\\nwhile True: time.sleep(1)"
            % (PID + ".new", PID + ".new", PID)], {})
    os._exit(0)
os.wait()
while not os.path.exists(PID): time.sleep(0.01)
"""


def daemon(world, then):
    """A program that leaves a daemon and goes on with `then`; and how to learn the daemon's pid."""
    path = world.root / "daemon"
    return f"PID = {str(path)!r}\n" + SAVES_FIRST + DAEMON + then, lambda: int(path.read_text())


def results_are_saved(world, key):
    assert world.returned(key) == "a result"
    assert world.archive(key, "modeldir") == {"model.bin": b"weights"}
    return True


def test_a_program_that_ends_well_is_finished_and_says_so_last(world):
    host = world.host()
    world.send("good", "print('hello')")
    assert host.answered("good")["event"] == "delivery.acknowledged"
    document, ours = world.document("good"), world.ours("good")
    assert document["status"] == "finished" and document["time_finished"] >= document["time_started"]
    assert (ours["outcome"], ours["state"], ours["exit"], ours["attempt"]) == ("succeeded", "ended", 0, 1)
    said, verdict = world.output("good").splitlines()
    assert said == "hello"
    assert re.fullmatch(r"moonrunner: succeeded: the program exited with status 0 "
                        r"\(attempt 1 of 3, \d+\.\d s, peak [\d.]+ MiB\)", verdict)
    assert world.messages() == []


@pytest.mark.parametrize("status", [1, 3, 255])
def test_a_program_that_fails_is_done_and_its_results_are_kept(world, status):
    host = world.host()
    world.send("bad", SAVES_FIRST + f"raise SystemExit({status})")
    assert host.answered("bad")["event"] == "delivery.acknowledged"
    assert (world.ours("bad")["outcome"], world.ours("bad")["exit"]) == ("failed", status)
    assert world.document("bad")["status"] == "finished"
    assert f"failed: the program exited with status {status} (" in world.verdict("bad")
    assert results_are_saved(world, "bad")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_program_that_a_signal_ends_is_done_and_its_results_are_kept(world, number):
    host = world.host()
    world.send("shot", SAVES_FIRST + f"import os\nos.kill(os.getpid(), {int(number)})\nwhile True: pass")
    assert host.answered("shot")["event"] == "delivery.acknowledged"
    assert (world.ours("shot")["outcome"], world.ours("shot")["signal"]) == ("signalled", number)
    assert f"signalled: the program was ended by signal {int(number)} (" in world.verdict("shot")
    assert results_are_saved(world, "shot")


def test_a_traceback_is_in_the_output_before_the_verdict(world):
    host = world.host()
    world.send("raises", "print('first')\nraise ValueError('broken on purpose')")
    host.answered("raises")
    lines = world.output("raises").splitlines()
    assert lines[0] == "first" and lines[1].startswith("Traceback") and lines[-2] == "ValueError: broken on purpose"
    assert lines[-1].startswith("moonrunner: failed: ")


def test_a_program_over_its_time_ends_with_its_daemons_although_it_ignores_TERM(world):
    program, pid = daemon(world, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)")
    host = world.host()
    world.send("long", program, max_duration="5s")
    assert host.answered("long")["event"] == "delivery.acknowledged"
    assert not alive(pid())
    assert world.ours("long")["outcome"] == "over_time"
    assert "over_time: it ran longer than its max_duration of 5 s (" in world.verdict("long")
    assert results_are_saved(world, "long")


def test_a_program_may_use_its_grace_to_end_in_order(world):
    host = world.host(MOONRUNNER_JOB_GRACE="100s")
    world.send("orderly", """
import signal, sys, time
def end(*_):
    print("ended in order", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True: time.sleep(1)
""", max_duration="1s")
    host.answered("orderly")
    assert world.output("orderly").startswith("ended in order\nmoonrunner: over_time: ")


def test_the_operators_limit_holds_for_a_job_that_names_none(world):
    host = world.host("--job.max-duration=1s")
    world.send("long", "import time\nwhile True: time.sleep(1)")
    host.answered("long")
    assert "over_time: it ran longer than its job.max-duration of 1 s (" in world.verdict("long")


def test_a_daemon_does_not_outlive_a_program_that_ended_well(world):
    program, pid = daemon(world, "")
    host = world.host()
    world.send("leaves", program)
    host.answered("leaves")
    assert world.ours("leaves")["outcome"] == "succeeded"
    assert not alive(pid())
    assert results_are_saved(world, "leaves")


def test_a_job_whose_lifetime_is_over_never_starts(world):
    host = world.host()
    world.send("old", "print('ran')", config={"experimentLifetime": "1m"}, time_added=1.7e9)
    assert host.answered("old")["event"] == "delivery.acknowledged"
    assert not host.events("job.spawned")
    assert (world.document("old")["status"], world.ours("old")["outcome"]) == ("finished", "expired")


def test_retval_may_be_a_file_or_a_folder(world):
    host = world.host()
    world.send("file", "open('../retval', 'w').write('1')")
    world.send("one", "import os\nos.mkdir('../retval')\nopen('../retval/retval', 'w').write('2')")
    world.send("folder", "import os\nos.mkdir('../retval')\nfor n in 'ab': open('../retval/' + n, 'w').write(n)")
    for key in ("file", "one", "folder"):
        host.answered(key)
    assert world.archive("file", "retval") == {"./retval": b"1"}
    assert world.archive("one", "retval") == {"./retval": b"2"}, "a folder of one file of its name travels as that file"
    assert world.archive("folder", "retval") == {"a": b"a", "b": b"b"}


def test_a_result_that_the_program_did_not_make_is_not_stored(world):
    host = world.host()
    world.send("plain", "print(1)")
    host.answered("plain")
    assert not world.artifact_path("plain", "retval").exists()
    assert not world.artifact_path("plain", "_metrics").exists()


def test_a_second_run_of_a_key_finds_what_the_first_one_saved(world):
    program = "from pathlib import Path\np = Path('../modeldir/n')\nn = int(p.read_text()) + 1 if p.exists() else 1\n" \
              "p.write_text(str(n))\nprint('run', n)"
    host = world.host()
    world.send("twice", program)
    host.answered("twice")
    world.send("twice", program)
    host.answered("twice", 2)
    assert world.archive("twice", "modeldir") == {"n": b"2"}
    lines = world.output("twice").splitlines()
    assert [line for line in lines if line.startswith("run")] == ["run 1", "run 2"]
    assert lines[-1].startswith("moonrunner: succeeded: ")
    assert world.document("twice")["status"] == "finished"


def test_a_job_without_a_document_runs_and_makes_none(world):
    host = world.host()
    world.send("bare", "print(1)")
    world.document_path("bare").unlink()
    world.send("after", "print(2)")
    host.answered("bare")
    host.answered("after")
    assert world.output("bare").startswith("1\n")


def test_a_document_that_is_deleted_while_its_job_runs_is_no_stop(world):
    flag = world.root / "flag"
    host = world.host()
    world.send("orphan", f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.02)\nprint('to the end')")
    host.wait_for("job.spawned", key="orphan")
    world.document_path("orphan").unlink()
    flag.touch()
    assert host.answered("orphan")["event"] == "delivery.acknowledged"
    assert world.output("orphan").startswith("to the end\n")
    assert not world.document_path("orphan").exists()


def test_a_job_whose_queue_is_removed_meanwhile_leaves_nothing(world):
    flag = world.root / "flag"
    host = world.host()
    world.send("last", f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.02)")
    host.wait_for("job.spawned", key="last")
    (world.queues / "local_q").rmdir()
    host.wait_for("queue.gone", queue="local_q")
    flag.touch()
    assert host.answered("last")["event"] == "delivery.lost"
    assert not (world.queues / "local_q").exists()
    wait_for("the job's folder to go", lambda: not list(world.working.glob("runs/*/jobs/*")))
