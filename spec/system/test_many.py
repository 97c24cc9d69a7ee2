"""Many jobs and queues on one host, and output of any kind and size."""
import json
import os

import pytest
from world import LIMIT, wait_for

SOAK = bool(os.environ.get("MOONRUNNER_SOAK"))

# Writes one line when it begins and one when it ends; the lines of all jobs are in true order.
LOGS = """
import os, time
def tell(what):
    log = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, what)
    os.close(log)
tell(b"+")
time.sleep(0.05)
tell(b"-")
"""


def most_at_once(text):
    running = most = 0
    for letter in text:
        running += 1 if letter == "+" else -1
        most = max(most, running)
    assert running == 0
    return most


@pytest.mark.parametrize("option, needs, most", [
    ("--max.cores=1", {"cpus": 1, "ram": "1m", "hdd": "1m"}, 1),
    ("--max.mem=100MB", {"cpus": 0, "ram": "40MB", "hdd": "1m"}, 2),
    ("--max.disk=100MB", {"cpus": 0, "ram": "1m", "hdd": "30MB"}, 3),
])
def test_jobs_never_run_beside_each_other_beyond_what_is_booked(world, option, needs, most):
    log = world.root / "log"
    count = 200 if SOAK else 10
    for number in range(count):
        world.send(f"job-{number}", LOGS.format(log=str(log)), resources_needed={"gpus": 0, **needs})
    host = world.host(option)
    for number in range(count):
        host.answered(f"job-{number}")
    assert len(log.read_text()) == 2 * count
    assert 1 <= most_at_once(log.read_text()) <= most


def test_jobs_run_beside_each_other_where_there_is_room(world):
    host = world.host("--max.cores=2")
    meets = f"import os, time\nopen({str(world.root)!r} + '/' + os.environ['STUDIOML_EXPERIMENT'], 'w')\n" \
            f"while not all(os.path.exists({str(world.root)!r} + '/' + n) for n in ('one', 'two')): time.sleep(0.02)"
    world.send("one", meets, queue="local_a", resources_needed={"cpus": 1, "ram": "1m", "hdd": "1m"})
    world.send("two", meets, queue="local_b", resources_needed={"cpus": 1, "ram": "1m", "hdd": "1m"})
    if host.wait_for("capacity.detected")["cores"] < 2:
        pytest.skip("needs two cores")
    for key in ("one", "two"):
        host.answered(key)
        assert "succeeded" in world.verdict(key)


def test_all_queues_are_served_also_those_that_come_later(world):
    host = world.host()
    for queue in ("local_a", "b c", "-c", "ünïcödé"):
        world.send(f"in {queue}", "print('ran')", queue=queue)
    for queue in ("local_a", "b c", "-c", "ünïcödé"):
        host.answered(f"in {queue}")
    (world.queues / "local_a").rmdir()
    host.wait_for("queue.gone", queue="local_a")
    world.send("again", "print('ran')", queue="local_a")
    host.answered("again")
    assert all(world.messages(queue) == [] for queue in ("local_a", "b c", "-c", "ünïcödé"))


def test_messages_of_a_queue_are_taken_oldest_first(world):
    log = world.root / "log"
    names = [world.send(f"job-{n}", f"open({str(log)!r}, 'a').write('{n} ')", time_added=1.7e9 + n) for n in range(6)]
    for age, path in enumerate(reversed(names)):
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    host = world.host("--max.cores=1")
    for number in range(6):
        host.answered(f"job-{number}")
    assert log.read_text().split() == list("012345")


def test_a_job_that_fits_nowhere_is_set_aside_and_the_others_run(world):
    host = world.host()
    world.send("huge", "print('ran')", resources_needed={"cpus": 100000, "gpus": 0, "ram": "1m", "hdd": "1m"})
    world.send("small", "print('ran')")
    host.answered("small")
    assert host.answered("huge")["event"] == "delivery.set_aside"
    (reason,) = world.set_aside().values()
    assert reason["code"] == "never_fits" and "100000" in reason["reason"]
    assert not host.events("job.spawned", key="huge")
    assert world.document("huge")["status"] == "waiting"
    assert world.ours("huge")["outcome"] == "never_fits"


def test_a_job_without_needs_gets_the_operators_defaults(world):
    host = world.host("--job.default-ram=7MB")
    world.send("modest", "print('ran')", resources_needed={})
    assert host.wait_for("job.started", key="modest")["mem"] == 7_000_000
    host.answered("modest")


def test_every_line_of_the_log_is_an_object_that_names_its_event_and_the_trace_replays_it(world):
    host = world.host()
    world.send("e1", "print('ran')")
    host.answered("e1")
    run = host.run
    host.stop()
    for line in host.log.read_text().splitlines():
        assert {"time", "level", "event"} <= set(json.loads(line))
    trace = [json.loads(line) for line in (world.working / f"traces/{run}.jsonl").read_text().splitlines()]
    assert trace
    assert "SECRET" not in json.dumps(trace)


def test_a_secret_of_a_message_is_neither_logged_nor_traced_nor_left_readable(world):
    host = world.host()
    world.send("secret", "import os\nassert os.environ['TOKEN'] == 's3cret'", config={"env": {"TOKEN": "s3cret"}})
    host.answered("secret")
    assert world.ours("secret")["outcome"] == "succeeded"
    world.put("local_q", json.dumps({"experiment": {"key": 7}, "config": {"env": {"TOKEN": "s3cret"}}}))
    host.wait_for("delivery.set_aside")
    host.stop()
    written = host.log.read_bytes() + b"".join(path.read_bytes() for path in (world.working / "traces").iterdir())
    assert b"s3cret" not in written
    for path in (world.queues / ".moonrunner").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


# ---- output -----------------------------------------------------------------------------------------------------

def test_output_of_any_bytes_is_kept_as_it_is(world):
    host = world.host()
    world.send("bytes", "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 100)")
    host.answered("bytes")
    said, _, verdict = world.output_bytes("bytes").rpartition(b"\nmoonrunner: ")
    assert said == bytes(range(256)) * 100 and verdict.startswith(b"succeeded: ")


def test_output_without_a_line_end_does_not_stall_the_host(world):
    megabytes = 100 if SOAK else 5
    host = world.host()
    world.send("long", f"import sys\nfor _ in range({megabytes}): sys.stdout.write('x' * 1000000)",
               resources_needed={"cpus": 1, "gpus": 0, "ram": "64m", "hdd": "1g"})
    world.send("beside", "print('fine')")
    host.answered("beside")
    host.answered("long")
    data = world.output_bytes("long")
    assert data.startswith(b"x" * 1000000) and data.count(b"x", 0, megabytes * 1000000) == megabytes * 1000000
    assert data[megabytes * 1000000:].startswith(b"\nmoonrunner: succeeded: ")


def test_standard_output_and_error_are_in_true_order(world):
    host = world.host()
    world.send("order", "import os\nfor n in range(200): os.write(1 + n % 2, b'%d\\n' % n)")
    host.answered("order")
    assert world.output("order").splitlines()[:-1] == [str(n) for n in range(200)]


def test_a_program_that_closes_its_output_runs_to_its_end(world):
    host = world.host()
    world.send("closed", "import os\nprint('before', flush=True)\nos.close(1)\nos.close(2)\nopen('../retval', 'w').write('1')\n"
                         "os._exit(5)")
    host.answered("closed")
    assert world.output("closed").startswith("before\nmoonrunner: failed: the program exited with status 5 (")
    assert world.returned("closed") == 1


def test_a_program_that_takes_its_output_away_still_gets_its_verdict(world):
    host = world.host()
    world.send("gone", "import os\nprint('lost', flush=True)\nos.unlink('../output')")
    world.send("link", "import os\nos.unlink('../output')\nos.symlink('/etc/passwd', '../output')")
    world.send("folder", "import os\nos.unlink('../output')\nos.mkdir('../output')")
    for key in ("gone", "link", "folder"):
        host.answered(key)
        assert world.ours(key)["outcome"] in ("succeeded", "store_failed")
    assert world.output("gone").startswith("moonrunner: succeeded: ")
    with open("/etc/passwd", encoding="utf-8") as passwd:
        assert "moonrunner: " not in passwd.read()


def test_a_program_that_starts_processes_without_end_leaves_none(world):
    host = world.host(MOONRUNNER_JOB_GRACE="100ms")
    world.send("bomb", """
import os, time
# At most so many at once, so that the machine lives; each lives shorter than a look at /proc takes.
end = time.monotonic() + 2
os.setsid() if os.getpid() != os.getpgid(0) else None
if os.fork() == 0:
    os.setsid()
    while True:
        if os.fork(): os._exit(0)
        time.sleep(0.002)
print("left", flush=True)
""")
    host.answered("bomb")
    assert world.ours("bomb")["outcome"] == "succeeded"


def test_a_program_that_fills_its_folder_with_many_files_is_cleaned_up(world):
    host = world.host()
    world.send("many", f"import os\nos.makedirs('d/' + 'e/' * 100)\n"
                       f"for n in range({50000 if SOAK else 2000}): open(f'd/{{n}}', 'w')")
    host.answered("many")
    wait_for("the job's folder to go", lambda: not list(world.working.glob("runs/*/jobs/*")), LIMIT)
