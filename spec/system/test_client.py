"""The unmodified StudioML client 0.0.49 submits, and reads results back with its own library."""
import json
import os
import re
import subprocess
import venv
from pathlib import Path

import pytest
from world import LIMIT, wait_for

CLIENT = os.environ.get("MOONRUNNER_CLIENT_PYTHON")
CONFIG = Path(__file__).parents[1] / "support/client/local.yaml"

pytestmark = pytest.mark.skipif(not CLIENT, reason="needs the StudioML client (MOONRUNNER_CLIENT_PYTHON)")

PROGRAM = """
import os, sys
from pathlib import Path
print("arguments", sys.argv[1:])
print("MYVAR", os.environ["MYVAR"])
Path("../retval").write_text("42")
Path("../modeldir/weights").mkdir(parents=True)
Path("../modeldir/weights/w.bin").write_bytes(bytes(range(256)))
"""

# Reads an experiment as the client's own tools do, and prints what it found as JSON.
READ_BACK = """
import json, os, sys
from studio import model
from studio.artifacts import artifacts_tracker
config, key = sys.argv[1:]
# The client extracts an artifact that is one file only where the folder is there already.
os.makedirs(os.path.dirname(artifacts_tracker.get_artifact_cache("output", key)))
db = model.get_db_provider(model.get_config(config))
experiment = db.get_experiment(key)
found = {"status": experiment.status, "args": experiment.args, "time_finished": experiment.time_finished}
for tag in ("output", "retval", "modeldir"):
    path = db.get_artifact(experiment.artifacts[tag])
    if os.path.isdir(path):
        found[tag] = sorted(os.path.join(d, f)[len(path) + 1:] for d, _, files in os.walk(path) for f in files)
    else:
        found[tag] = open(path).read()
print("FOUND " + json.dumps(found))
"""

STOP = """
import sys
from studio import model
model.get_db_provider(model.get_config(sys.argv[1])).stop_experiment(sys.argv[2])
"""


class Client:
    """The client in a world: its own home, and the folder of an experiment."""

    def __init__(self, world, python):
        self.world, self.python, self.folder = world, python, world.root / "work"
        self.folder.mkdir()
        world.store.mkdir(exist_ok=True)
        world.artifacts, world.database = world.store / "artb", world.store / "dbb"
        self.environment = {**world.environment, "STUDIO_STORE": str(world.store)}

    def run(self, *words):
        done = subprocess.run([self.python, "-W", "ignore", *words], cwd=self.folder, env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, key, program, *arguments, options=()):
        (self.folder / "job.py").write_text(program)
        self.run("-m", "studio.runner", f"--config={CONFIG}", "--queue=local_x", f"--experiment={key}", *options, "job.py",
                 *arguments)

    def read_back(self, key):
        printed = self.run("-c", READ_BACK, str(CONFIG), key)
        return json.loads(re.search(r"^FOUND (.*)$", printed, re.MULTILINE)[1])


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """The client's environment without the records of what is installed in it: its messages then require no package,
    and the client's code is untouched."""
    folder = tmp_path_factory.mktemp("client") / "env"
    venv.EnvBuilder(symlinks=True).create(folder)
    (installed,) = Path(CLIENT).parents[1].glob("lib/python3*/site-packages")
    (bare,) = folder.glob("lib/python3*/site-packages")
    for entry in installed.iterdir():
        if entry.suffix != ".dist-info":
            (bare / entry.name).symlink_to(entry)
    return str(folder / "bin/python")


@pytest.fixture
def client(world, bare_python):
    return Client(world, bare_python)


def test_the_client_reads_back_what_its_experiment_returned(world, client):
    client.submit("e1", PROGRAM, "a b", "--x=1", "$HOME;'\"\n")
    host = world.host()
    host.answered("e1")
    found = client.read_back("e1")
    assert found["status"] == "finished" and found["time_finished"] is not None
    assert found["retval"] == "42"
    assert found["modeldir"] == ["weights/w.bin"]
    lines = found["output"].splitlines()
    assert lines[0] == "arguments " + repr(["a b", "--x=1", "$HOME;'\"\n"])
    assert lines[1] == "MYVAR hello"
    assert lines[-1].startswith("moonrunner: succeeded: ")
    assert world.messages("local_x") == []


def without_ours(text):
    """The document with the members that a runner writes blanked out."""
    text = re.sub(r', "moonrunner": \{[^{}]*\}', "", text)
    return re.sub(r'"(status|time_started|time_finished|time_last_checkpoint)": ("[a-z]*"|null|[0-9.e+]+)', r'"\1": ?', text)


def test_a_document_of_the_client_stays_as_it_was_but_for_what_a_runner_says(world, client):
    client.submit("e1", "print(1)", "a", options=["--max-duration=5m"])
    before = world.document_path("e1").read_text()
    host = world.host()
    host.answered("e1")
    after = world.document_path("e1").read_text()
    assert before != after
    assert without_ours(before) == without_ours(after)


def test_a_stop_by_the_client_ends_the_program_and_its_results_are_saved(world, client):
    client.submit("e1", "from pathlib import Path\nimport time\nPath('../retval').write_text('half')\n"
                        "print('begun')\nwhile True: time.sleep(1)")
    host = world.host()
    host.wait_for("job.spawned", key="e1")
    wait_for("the program's output", lambda: list(world.working.glob("runs/*/jobs/*/experiments/e1/retval")))
    client.run("-c", STOP, str(CONFIG), "e1")
    assert host.answered("e1")["event"] == "delivery.acknowledged"
    found = client.read_back("e1")
    assert (found["status"], found["retval"]) == ("finished", "half")
    assert found["output"].splitlines()[-1].startswith("moonrunner: stopped: ")


def test_an_experiment_that_the_client_stopped_while_it_waited_never_runs(world, client):
    client.submit("e1", PROGRAM)
    client.run("-c", STOP, str(CONFIG), "e1")
    host = world.host()
    assert host.answered("e1")["event"] == "delivery.acknowledged"
    assert not host.events("job.spawned")
    assert world.ours("e1")["outcome"] == "stopped"
    assert world.document("e1")["status"] == "finished"


IN_THE_JOB = """
import json, sys
from pathlib import Path
from studio.artifacts import artifacts_tracker as tracker
import numpy
assert Path(tracker.get_artifact("modeldir")) == Path(tracker.get_artifact_cache("modeldir")) == Path("../modeldir").resolve()
assert Path(tracker.get_artifact("data")).joinpath("d.txt").read_text() == "data" == Path("../data/d.txt").read_text()
assert tracker.get_experiment_key() == "e1"
Path(tracker.get_artifact("modeldir"), "sum.txt").write_text(str(numpy.arange(5).sum()))
Path(tracker.get_artifact("retval")).write_text("found all")
"""


@pytest.mark.needs_uv
def test_a_job_has_the_packages_of_the_client_and_finds_its_data_by_the_clients_library(world):
    client = Client(world, CLIENT)
    (world.root / "data").mkdir()
    (world.root / "data/d.txt").write_text("data")
    client.submit("e1", IN_THE_JOB, options=["--capture-once=../data:data"])
    host = world.host()
    assert len(json.loads(world.document_path("e1").read_text())["pythonenv"]) > 50
    host.answered("e1")
    found = client.read_back("e1")
    assert found["output"].splitlines()[-1].startswith("moonrunner: succeeded: ")
    assert (found["retval"], found["modeldir"]) == ("found all", ["sum.txt"])
