"""`moonrunner submit`, `moonrunner run` and `moonrunner` as one types them: words, texts and exit statuses."""
import json
import os
import re
import signal
import subprocess
import tarfile

import pytest
from world import LIMIT, PROGRAM, wait_for


@pytest.fixture
def folder(world):
    """A folder with an experiment; `submit` packs what is in it."""
    made = world.root / "work"
    made.mkdir()
    world.artifacts, world.database = (world.studioml_home / "store" / name for name in ("storage", "studioml-meta"))
    return made


def submit(world, folder, *words):
    return world.command("submit", "--queue", "local_q", *words, cwd=folder)


def message_of(world):
    (name,) = world.messages()
    return json.loads((world.queues / "local_q" / name).read_text())


def names_in_workspace(world, key):
    with tarfile.open(world.artifacts / world.document(key)["artifacts"]["workspace"]["key"]) as tar:
        return sorted(tar.getnames())


# ---- what is sent -----------------------------------------------------------------------------------------------

def test_a_folder_is_packed_without_what_studioml_ignore_names(world, folder):
    for name in ("job.py", "data/keep.csv", "data/big.bin", "notes.log", ".git/config", "top/secret", "deep/top/kept"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".studioml_ignore").write_text("# comment\n\n*.log\n/top/\n.git/\ndata/*.bin\n")
    done = submit(world, folder, "--experiment", "e1", "job.py")
    assert done.returncode == 0, done.stderr
    files = [name for name in names_in_workspace(world, "e1") if not os.path.isdir(folder / name)]
    assert files == [".studioml_ignore", "data/keep.csv", "deep/top/kept", "job.py"]
    assert "sent e1 to the queue local_q" in done.stderr
    assert f"results will be in {world.artifacts}/experiments/e1" in done.stderr


def test_the_message_and_the_document_are_the_clients(world, folder):
    (folder / "job.py").write_text("")
    (folder / "requirements.txt").write_text("# packages\nsix==1.17.0  # pinned\n\n")
    done = submit(world, folder, "--experiment=e1", "--cpus=2", "--gpus", "0", "--gpuMem", "1g", "--ram=2g", "--hdd", "3g",
                  "--max-duration", "5m", "--lifetime", "2h", "job.py", "a b", "--x=1", "it's")
    assert done.returncode == 0, done.stderr
    message = message_of(world)
    sent = message["experiment"]
    assert world.document("e1") == sent
    assert sent["args"] == ["'a b'", "--x=1", "'it'\"'\"'s'"], "quoted as the client quotes"
    assert sent["resources_needed"] == {"cpus": 2, "gpus": 0, "gpuMem": "1g", "ram": "2g", "hdd": "3g"}
    assert (sent["max_duration"], sent["status"], sent["filename"]) == ("5m", "waiting", "job.py")
    assert sent["pythonenv"] == ["six==1.17.0"]
    assert message["config"]["experimentLifetime"] == "2h"
    assert set(sent) == set(world.experiment("any", "")), "the client's members, all and no other"
    assert sent["artifacts"]["modeldir"] == {
        "unpack": True, "mutable": True, "key": "experiments/e1/modeldir.tar",
        "qualified": f"file:/{world.artifacts}/experiments/e1/modeldir.tar"}


def test_a_captured_file_and_a_captured_folder_are_found_beside_the_workspace(world, folder):
    (folder / "job.py").write_text("print(open('../one').read(), open('../many/a:b').read())")
    (world.root / "one.txt").write_text("1")
    (world.root / "many").mkdir()
    (world.root / "many/a:b").write_text("2")
    world.host()
    done = submit(world, folder, "--wait", "--capture-once", "../one.txt:one", f"--capture-once={world.root}/many:many", "job.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 2\nmoonrunner: succeeded: ")


def test_a_submission_leaves_nothing_but_its_message(world, folder):
    (folder / "job.py").write_text("")
    assert submit(world, folder, "job.py").returncode == 0
    assert list((world.queues / ".moonrunner").iterdir()) == []
    assert len(world.messages()) == 1


# ---- waiting for it ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("program, status, outcome", [
    ("print('well')", 0, "succeeded"),
    ("raise SystemExit(7)", 7, "failed"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 137, "signalled"),
    ("import time\nwhile True: time.sleep(1)", 124, "over_time"),
])
def test_wait_exits_as_the_program_did(world, folder, program, status, outcome):
    (folder / "job.py").write_text("print('begun')\n" + program)
    world.host()
    done = submit(world, folder, "--wait", "--max-duration", "2s" if status == 124 else "5m", "job.py")
    assert done.returncode == status, done.stderr
    assert done.stdout.startswith("begun\n")
    assert done.stdout.splitlines()[-1].startswith(f"moonrunner: {outcome}: ")


def test_wait_tells_why_a_job_never_ran(world, folder):
    (folder / "job.py").write_text("")
    (folder / "requirements.txt").write_text("--no-such-option\n")
    world.host()
    done = submit(world, folder, "--wait", "job.py")
    assert done.returncode == 125, done.stderr
    assert "environment_failed" in done.stdout + done.stderr
    assert "only packages can be required" in done.stdout + done.stderr


def test_wait_shows_the_output_while_the_program_runs(world, folder):
    flag = world.root / "flag"
    (folder / "job.py").write_text(f"import os, time\nprint('first')\n"
                                   f"while not os.path.exists({str(flag)!r}): time.sleep(0.02)\nprint('second')")
    world.host()
    process = subprocess.Popen([PROGRAM, "submit", "--queue=local_q", "--wait", "job.py"], cwd=folder,
                               env=world.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout.readline() == "first\n"
        flag.touch()
        rest, _ = process.communicate(timeout=LIMIT)
        assert rest.startswith("second\nmoonrunner: succeeded: ")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_output_of_any_bytes_comes_through_wait_unchanged(world, folder):
    (folder / "job.py").write_text("import sys\nsys.stdout.buffer.write(bytes(range(256)) * 4096)")
    world.host()
    done = subprocess.run([PROGRAM, "submit", "--queue=local_q", "--wait", "job.py"], cwd=folder, env=world.environment,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False)
    said, _, verdict = done.stdout.rpartition(b"\nmoonrunner: ")
    assert said == bytes(range(256)) * 4096
    assert verdict.startswith(b"succeeded: ")


def test_an_interrupted_wait_leaves_the_job_alone(world, folder):
    flag = world.root / "flag"
    (folder / "job.py").write_text(f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.02)")
    host = world.host()
    process = subprocess.Popen([PROGRAM, "submit", "--queue=local_q", "--experiment=e1", "--wait", "job.py"], cwd=folder,
                               env=world.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host.wait_for("job.spawned", key="e1")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) != 0
    flag.touch()
    host.answered("e1")
    assert world.ours("e1")["outcome"] == "succeeded"


# ---- mistakes ---------------------------------------------------------------------------------------------------

MISTAKES = {
    "no program": ([], "which program?"),
    "no such file": (["absent.py"], "absent.py: no such file in this folder"),
    "an absolute program": (["/bin/true"], "/bin/true: no such file in this folder"),
    "an unknown option": (["--max-durations", "5m", "job.py"], "--max-durations: unknown option; did you mean --max-duration?"),
    "an option without its value": (["--queue"], "--queue needs a value"),
    "a value for a switch": (["--wait=yes", "job.py"], "--wait takes no value"),
    "cpus": (["--cpus", "two", "job.py"], "--cpus two: should be a whole number"),
    "ram": (["--ram", "much", "job.py"], "--ram: "),
    "max-duration": (["--max-duration", "soon", "job.py"], "--max-duration: "),
    "lifetime": (["--lifetime", "1d", "job.py"], "--lifetime: "),
    "capture": (["--capture-once", "nothing", "job.py"], "--capture-once nothing: should be PATH:TAG"),
    "requirements": (["--requirements", "absent.txt", "job.py"], "--requirements: "),
    "queue": (["--queue", "../q", "job.py"], "the queue ../q: "),
    "hidden queue": (["--queue", ".q", "job.py"], "the queue .q: "),
    "experiment": (["--experiment", "../e", "job.py"], 'experiment.key is "../e"'),
    "a tag": (["--capture-once", "job.py:..", "job.py"], 'the tag ".."'),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_and_nothing_is_sent(world, folder, name):
    words, text = MISTAKES[name]
    (folder / "job.py").write_text("")
    done = world.command("submit", *words, cwd=folder)
    assert done.returncode == 64, done.stdout + done.stderr
    assert done.stderr.startswith("moonrunner submit: ") and text in done.stderr
    assert done.stdout == ""
    assert not [path for path in world.queues.iterdir() if path.name != ".moonrunner"]
    assert not list(world.database.glob("experiments/*"))


def test_a_file_to_capture_that_is_not_there_is_named(world, folder):
    (folder / "job.py").write_text("")
    done = world.command("submit", "--capture-once", "absent:tag", "job.py", cwd=folder)
    assert done.returncode in (64, 69)
    assert "--capture-once absent:tag" in done.stderr
    assert not [path for path in world.queues.iterdir() if path.name != ".moonrunner"]


def test_a_key_that_is_taken_is_refused(world, folder):
    (folder / "job.py").write_text("")
    assert submit(world, folder, "--experiment=e1", "job.py").returncode == 0
    done = submit(world, folder, "--experiment=e1", "job.py")
    assert done.returncode == 64 and "the experiment e1 exists already" in done.stderr
    assert len(world.messages()) == 1


def test_a_store_that_can_not_be_written_is_no_mistake_of_usage(world, folder):
    (folder / "job.py").write_text("")
    (world.root / "file").write_text("")
    done = submit(world, folder, "--store", world.root / "file", "job.py")
    assert done.returncode == 69
    assert "--store" in done.stderr


@pytest.mark.parametrize("words", [["submit", "--help"], ["run", "--help"], ["--help"], ["help"]])
def test_help_teaches_and_succeeds(world, words):
    done = world.command(*words)
    assert done.returncode == 0 and done.stderr == ""
    assert "usage: moonrunner" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 90


def test_help_of_run_prints_each_option_of_the_table(world):
    text = world.command("run", "--help").stdout
    with open(os.path.join(os.path.dirname(__file__), "../../host/option_table.h"), encoding="utf-8") as table:
        names = re.findall(r'^\s*OPTION\("([^"]+)"', table.read(), re.MULTILINE)
    assert len(names) > 10
    for name in names:
        assert re.search(rf"--{re.escape(name)}\b", text), name


def test_no_command_and_a_wrong_one_are_mistakes(world):
    done = world.command()
    assert done.returncode == 64 and "usage: moonrunner" in done.stdout + done.stderr
    done = world.command("rnu")
    assert done.returncode == 64 and "rnu is no command" in done.stderr


def test_the_version_is_told(world):
    assert re.fullmatch(r"moonrunner \d+\.\d+\.\d+\n", world.command("--version").stdout)


def test_run_reports_all_errors_of_its_configuration_together_with_file_and_line(world):
    (world.root / "c.yaml").write_text("job:\n  default-cpus: many\nqueue:\n  folder: /tmp/q\n  foldr: /tmp/q\nlog.level: loud\n")
    world.environment["MOONRUNNER_MAX_MEM"] = "lots"
    done = world.command("run", "--config", world.root / "c.yaml", "--job.grace=soon", "--no-such-option=1")
    assert done.returncode == 64
    lines = done.stderr.splitlines()
    for words in (("c.yaml:2", "default-cpus", "many"), ("c.yaml:5", "foldr"), ("c.yaml:6", "log.level", "loud"),
                  ("MOONRUNNER_MAX_MEM", "lots"), ("job.grace", "soon"), ("no-such-option",)):
        assert any(all(word in line for word in words) for line in lines), (words, done.stderr)
    assert not world.working.exists()


def test_a_configuration_that_was_named_and_is_not_there_is_an_error(world):
    done = world.command("run", "--config", world.root / "absent.yaml")
    assert done.returncode == 64 and "absent.yaml" in done.stderr


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(world):
    (world.root / "c.yaml").write_text(f"queue: {{folder: {world.root}/file}}\nworking-dir: {world.root}/file-w\njob.attempts: 9\n")
    world.environment.update(MOONRUNNER_QUEUE_FOLDER=f"{world.root}/env", MOONRUNNER_WORKING_DIR=f"{world.root}/env-w")
    host = world.host(f"--config={world.root}/c.yaml", f"--Queue_Folder={world.queues}")
    started = host.started()
    assert started["queues"] == str(world.queues)
    assert started["working_dir"] == f"{world.root}/env-w"
    world.send("e1", "print(1)")
    host.answered("e1")
    assert "(attempt 1 of 9, " in world.verdict("e1")


@pytest.mark.parametrize("option", ["working-dir", "queue.folder"])
def test_a_folder_that_can_not_be_used_is_named_and_the_host_does_not_start(world, option):
    (world.root / "file").write_text("")
    done = world.command("run", "--log.form=json", f"--{option}={world.root}/file/x")
    assert done.returncode in (64, 70)
    assert f"{world.root}/file" in done.stderr


def test_a_host_that_has_nothing_to_do_for_its_idle_duration_ends(world):
    host = world.host("--limit.idle-duration=1s")
    world.send("e1", "print(1)")
    host.answered("e1")
    wait_for("the end of the host", lambda: host.process.poll() is not None)
    assert host.wait() == 0
    assert host.events("host.stopped")
