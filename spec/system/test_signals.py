"""How a host ends: by one signal, two, three, or without warning; and what the next host makes of it."""
import os
import signal
import subprocess

import pytest
from world import LIMIT, PROGRAM, alive, processes_with, wait_for


class Gate:
    """A program that tells that it runs, and goes on when it may."""

    def __init__(self, world, name, before="", after=""):
        self.begun, self.open = world.root / f"{name}-begun", world.root / f"{name}-open"
        self.program = (f"import os, signal, sys, time\n{before}\nopen({str(self.begun)!r}, 'a').write(f'{{os.getpid()}} ')\n"
                        f"while not os.path.exists({str(self.open)!r}): time.sleep(0.02)\n{after}")

    def pids(self):
        return [int(word) for word in self.begun.read_text().split()]

    def wait(self, times=1):
        wait_for(f"{self.begun}", lambda: self.begun.exists() and len(self.pids()) == times)
        return self.pids()[-1]


SAVES = "open('../retval', 'w').write('1')\nprint('begun', flush=True)"


def names(world):
    return {path.name: path.stat().st_mtime_ns for path in (world.queues / "local_q").iterdir()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_what_runs_finish_and_returns_what_waits(world, number):
    gate = Gate(world, "runs", after="print('finished')")
    host = world.host("--max.cores=1")
    world.send("runs", gate.program)
    gate.wait()
    waiting = world.send("waits", "print('ran')")
    host.wait_for("delivery.received", key="waits")
    host.signal(number)
    host.wait_for("delivery.returned", key="waits")
    late = world.send("late", "print('ran')")
    assert host.process.poll() is None
    gate.open.touch()
    assert host.wait() == 0
    assert world.output("runs").startswith("finished\nmoonrunner: succeeded: ")
    assert names(world) == {name: world.sent_at[name] for name in (waiting.name, late.name)}
    assert len(host.events("job.spawned")) == 1
    assert world.document("waits")["status"] == "waiting"
    assert host.events("host.stopped", exit=0)


def test_the_second_signal_stops_what_runs_saves_it_and_hands_it_back(world):
    gate = Gate(world, "runs", before=SAVES)
    host = world.host()
    sent = world.send("runs", gate.program)
    gate.wait()
    host.signal()
    host.wait_for("signal.received", consequence="drain")
    host.signal()
    assert host.wait() == 0
    assert names(world) == {f"{sent.name}.1.0": world.sent_at[sent.name]}, "one attempt, no failure, its old place"
    assert world.verdict("runs").startswith("moonrunner: interrupted: ")
    assert (world.document("runs")["status"], world.ours("runs")["state"]) == ("waiting", "waiting")

    gate.open.touch()
    world.host()
    wait_for("the next attempt", lambda: world.document("runs")["status"] == "finished")
    lines = world.output("runs").splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "begun", "moonrunner: interrupted: the runner was told to stop", "moonrunner: attempt 2 of 3", "begun",
        "moonrunner: succeeded: the program exited with status 0"]
    assert world.returned("runs") == 1


def test_a_program_that_ignores_TERM_gets_its_grace_and_no_more(world):
    gate = Gate(world, "runs", before="signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SAVES)
    host = world.host("--job.grace=1s")
    world.send("runs", gate.program)
    pid = gate.wait()
    host.signal()
    host.wait_for("signal.received", consequence="drain")
    host.signal()
    assert host.wait() == 0
    assert not alive(pid)
    assert world.verdict("runs").startswith("moonrunner: interrupted: ")


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_third_signal_ends_it_all_at_once(world, number, status):
    gate = Gate(world, "runs", before="signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SAVES)
    host = world.host("--job.grace=1h")
    sent = world.send("runs", gate.program)
    pid = gate.wait()
    for consequence in ("drain", "interrupt", "kill"):
        host.signal(number)
        host.wait_for("signal.received", consequence=consequence)
    assert host.wait() == status
    assert not alive(pid)
    assert world.messages() == [f"{sent.name}.1.0"]


def test_a_signal_while_the_host_has_nothing_to_do_ends_it(world):
    host = world.host()
    host.started()
    host.signal()
    assert host.wait() == 0


def test_a_signal_while_packages_are_installed_waits_for_them_and_a_second_one_does_not(world):
    world.root.joinpath("bin").mkdir()
    uv = world.root / "bin/uv"
    uv.write_text(f"#!/bin/sh\necho $$ > {world.root}/uv-pid.new && mv {world.root}/uv-pid.new {world.root}/uv-pid\n"
                  "trap '' TERM\nwhile :; do sleep 1; done\n")
    uv.chmod(0o755)
    host = world.host(PATH=f"{uv.parent}:{world.environment['PATH']}")
    sent = world.send("builds", "print(1)", pythonenv=["six"])
    pid = int(wait_for("uv", lambda: (world.root / "uv-pid").exists() and (world.root / "uv-pid").read_text()))
    host.signal()
    host.wait_for("signal.received", consequence="drain")
    host.signal()
    assert host.wait() == 0
    assert not alive(pid)
    assert world.messages() == [f"{sent.name}.1.0"]


def test_a_job_that_waits_minutes_for_its_next_attempt_is_returned_at_once(world):
    host = world.host("--job.attempts=99")
    sent = world.send("later", "print(1)", name="00000000-0000-0000-0000-000000000000.9.9",
                      pythonenv=["six==0.0.0.999"])
    host.wait_for("job.ended", key="later", outcome="environment_failed")
    host.stop()
    assert world.messages() == [sent.name.replace(".9.9", ".10.10")]


def test_a_host_that_is_killed_takes_its_programs_along_and_the_next_host_runs_them_again(world):
    gate = Gate(world, "runs", before=SAVES)
    host = world.host()
    run = host.run
    sent = world.send("runs", gate.program)
    pid = gate.wait()
    host.kill()
    wait_for("the program's end", lambda: not alive(pid))
    assert world.messages() == []
    (claim,) = (world.queues / f".moonrunner/runs/{run}/claims/local_q").glob("[!.]*")
    assert claim.name == f"{sent.name}.1.0"

    second = world.host()
    gate.wait(2)
    assert second.events("run.cleaned", run=run)
    assert second.events("delivery.returned")
    (claim,) = (world.queues / f".moonrunner/runs/{second.run}/claims/local_q").glob("[!.]*")
    assert (claim.name, claim.stat().st_mtime_ns) == (f"{sent.name}.2.1", world.sent_at[sent.name])
    gate.open.touch()
    second.answered("runs")
    lines = world.output("runs").splitlines()
    assert lines[0] == "moonrunner: attempt 2 of 3"
    assert "(attempt 2 of 3, " in lines[-1] and "succeeded" in lines[-1]
    assert (world.ours("runs")["attempt"], world.ours("runs")["failures"]) == (2, 1)


def test_daemons_of_a_killed_host_are_ended_by_the_next_one(world):
    gate = Gate(world, "daemon")
    daemon = gate.program.replace("import os", "import os\nif os.fork(): os._exit(0)\nos.setsid()\nimport os", 1)
    flag = world.root / "flag"
    world.send("leaves", f"import os, subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {daemon!r}])\n"
                         f"while not os.path.exists({str(flag)!r}): time.sleep(0.02)")
    host = world.host()
    pid = gate.wait()
    run = host.run
    host.kill()
    second = world.host()
    second.wait_for("run.cleaned", run=run)
    assert not alive(pid)
    assert [found for found in processes_with(f"MOONRUNNER_RUN={run}") if alive(found)] == []
    own = gate.wait(2)  # the next attempt starts its own
    flag.touch()
    second.answered("leaves")
    assert not alive(own)


def test_a_job_that_kills_its_host_each_time_is_set_aside_in_the_end(world):
    world.send("killer", "import os, signal, time\nparent = os.getppid()\nos.kill(parent, signal.SIGKILL)\ntime.sleep(60)")
    for _ in range(3):
        host = world.host("--job.attempts=3")
        wait_for("the host's death", lambda: host.process.poll() is not None)
        assert host.wait() == -signal.SIGKILL
    host = world.host("--job.attempts=3")
    assert host.answered("killer")["event"] == "delivery.set_aside"
    assert not host.events("job.spawned")
    ((name, reason),) = world.set_aside().items()
    assert name.endswith(".3.3") and reason["failures"] == 3
    assert world.document("killer")["status"] == "finished"


def test_a_second_host_leaves_what_the_first_one_holds_alone(world):
    gate = Gate(world, "runs", after="print('once')")
    first = world.host()
    world.send("runs", gate.program)
    gate.wait()
    second = world.host()
    second.started()
    second.wait_for("queue.opened")
    assert not second.events("run.cleaned")
    gate.open.touch()
    first.answered("runs")
    second.stop()
    assert len(gate.pids()) == 1
    assert world.output("runs").startswith("once\nmoonrunner: succeeded: ")


def test_hosts_beside_each_other_run_each_message_once(world):
    hosts = [world.host() for _ in range(3)]
    count = 12
    for number in range(count):
        world.send(f"job-{number}", f"open({str(world.root / 'ran')!r}, 'a').write('{number} ')")
    for number in range(count):
        wait_for(f"job {number}", lambda: world.document(f"job-{number}")["status"] == "finished")
    for host in hosts:
        host.stop()
    assert sorted(map(int, (world.root / "ran").read_text().split())) == list(range(count))
    assert sum(len(host.events("delivery.acknowledged")) for host in hosts) == count


def test_hosts_that_start_together_do_not_take_each_other_for_dead(world):
    hosts = [world.host() for _ in range(8)]
    for host in hosts:
        host.started()
    assert len({host.run for host in hosts}) == len(hosts)
    assert not [host for host in hosts if host.events("run.cleaned")]


def test_a_host_whose_log_can_not_be_written_any_more_goes_on(world):
    read, write = os.pipe()
    process = subprocess.Popen([PROGRAM, "run", "--log.form=json"], env=world.environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=write)
    try:
        os.close(write)
        assert os.read(read, 10)
        os.close(read)
        world.send("quiet", "print('ran')")
        wait_for("the job", lambda: world.document("quiet")["status"] == "finished")
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
