"""What a program sees of the world: its arguments, variables, files and packages."""
import json
import shlex
import shutil

import pytest

TELL = """
import json, os, sys
facts = {"argv": sys.argv, "environ": dict(os.environ), "cwd": os.getcwd(), "siblings": sorted(os.listdir("..")),
         "fds": sorted(os.listdir("/proc/self/fd")), "sid": os.getsid(0), "pid": os.getpid(), "prefix": sys.prefix,
         "stdin": os.readlink("/proc/self/fd/0")}
json.dump(facts, open("../retval", "w"))
"""


def told(world, key, **changes):
    """Runs a program that returns what it sees."""
    host = world.host()
    world.send(key, TELL, **changes)
    host.answered(key)
    assert "succeeded" in world.verdict(key), world.output(key)
    return world.returned(key)


def test_arguments_arrive_as_they_were_typed(world):
    typed = ["a b", "--x=1", "", "it's", '"quoted"', "$HOME", "`id`", "$(id)", "a;b", "a|b>c", "*", "~", "\\", "new\nline",
             "tab\t", "-", "--", "ünïcödé ☃ 🚀", "#no", "!x", "{1,2}", "a\\ b"]
    facts = told(world, "words", args=[shlex.quote(word) for word in typed])
    assert facts["argv"] == ["job.py", *typed]


def test_a_program_sees_only_the_variables_that_are_meant_for_it(world):
    world.environment.update(SECRET="s3cret", AWS_SECRET_ACCESS_KEY="s3cret", MOONRUNNER_JOB_DEFAULT_RAM="1g", LANG="C.UTF-8")
    facts = told(world, "env", config={"env": {"MYVAR": "hello", "NUMBER": 7, "PATH": "%PATH%:./bin", "STOLEN": "%SECRET%",
                                               "NOTHING": None, "HOME": "/elsewhere"}})
    environ = facts["environ"]
    environ.pop("LC_CTYPE", None)  # Python's own
    folder = environ["HOME"]
    assert "s3cret" not in json.dumps(environ)
    assert environ.pop("PATH") == world.environment["PATH"] + ":./bin"
    assert environ.pop("STUDIOML_ARTIFACT_MAPPING").startswith(folder)
    assert environ.pop("MOONRUNNER_ATTEMPT").startswith(environ.pop("MOONRUNNER_RUN"))
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        assert environ.pop(f"{name}_NUM_THREADS") == "1"
    assert environ == {
        "HOME": folder, "TMPDIR": folder, "STUDIOML_HOME": folder, "STUDIOML_EXPERIMENT": "env",
        "PYTHONUNBUFFERED": "TRUE", "CUDA_VISIBLE_DEVICES": "-1", "NVIDIA_VISIBLE_DEVICES": "-1", "LANG": "C.UTF-8",
        "MYVAR": "hello", "NUMBER": "7", "STOLEN": "%SECRET%"}


def test_an_operator_chooses_which_variables_are_inherited(world):
    world.environment.update(SITE="paris", SECRET="s3cret", MOONRUNNER_JOB_INHERIT="SITE,ABSENT")
    environ = told(world, "env")["environ"]
    assert environ["SITE"] == "paris"
    assert "SECRET" not in environ and "ABSENT" not in environ and "LANG" not in environ
    assert environ["PATH"] == "/usr/local/bin:/usr/bin:/bin"


def test_a_program_has_a_session_of_its_own_and_no_descriptor_of_the_host(world):
    facts = told(world, "alone")
    assert facts["sid"] == facts["pid"]
    assert facts["fds"] == ["0", "1", "2", "3"], "3 is the one that lists them"
    assert facts["stdin"] == "/dev/null"


FIND = """
import json, os
from pathlib import Path
mapping = json.load(open(os.environ["STUDIOML_ARTIFACT_MAPPING"]))
home = Path(os.environ["STUDIOML_HOME"], "experiments", os.environ["STUDIOML_EXPERIMENT"])
for tag in ("data", "single", "modeldir", "workspace"):
    assert Path(mapping[tag]).resolve() == Path("..", tag).resolve() == (home / tag).resolve(), tag
assert Path.cwd() == (home / "workspace").resolve()
assert Path("../data/deep/d.txt").read_text() == "data" and Path("../single").read_text() == "single"
assert Path(mapping["output"]).exists() and Path(mapping["modeldir"]).is_dir() and Path(mapping["tb"]).is_dir()
assert Path("local.txt").read_text() == "local"
Path(mapping["retval"]).write_text("1")
"""


def test_both_ways_by_which_a_program_looks_for_its_data_lead_to_it(world):
    host = world.host()
    world.send("finds", FIND, files={"local.txt": "local"}, artifacts={
        "data": world.pack_artifact({"deep/d.txt": "data"}), "single": world.pack_artifact({"./single": "single"})})
    host.answered("finds")
    assert "succeeded" in world.verdict("finds"), world.output("finds")
    assert world.returned("finds") == 1


def test_an_artifact_that_is_not_to_be_unpacked_comes_as_it_is(world):
    artifact = {**world.pack_artifact({"a.txt": "a"}), "unpack": False}
    host = world.host()
    world.send("whole", "import os, tarfile\n(name,) = os.listdir('../model')\n"
                        "print(tarfile.open('../model/' + name).getnames())", artifacts={"model": artifact})
    host.answered("whole")
    assert world.output("whole").startswith("['a.txt']\n")


def test_home_and_temporary_files_are_private_and_go_with_the_job(world):
    host = world.host()
    world.send("scratch", """
import os, tempfile
from pathlib import Path
handle, name = tempfile.mkstemp()
assert Path(name).parent == Path.home() == Path(os.environ["TMPDIR"])
assert Path.home().stat().st_mode & 0o077 == 0
Path.home().joinpath(".cache").mkdir()
Path("read_only").mkdir()
Path("read_only/file").touch()
os.chmod("read_only", 0o500)
os.symlink("/etc", "link")
print(Path.home())
""")
    host.answered("scratch")
    home = world.output("scratch").splitlines()[0]
    assert home.startswith(f"{world.working}/runs/")


def test_multiprocessing_works_in_a_job(world):
    host = world.host()
    world.send("pool", """
import multiprocessing
def square(n): return n * n
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, sum(pool.map(square, range(10))))
    with multiprocessing.Manager() as manager:
        print(manager.list([1, 2]))
""")
    host.answered("pool")
    assert world.output("pool").splitlines()[:-1] == ["fork 285", "spawn 285", "forkserver 285", "[1, 2]"]


def test_a_module_is_run_by_its_name(world):
    host = world.host()
    world.send("module", "", files={"pkg/__init__.py": "", "pkg/mod.py": "import sys\nprint(__name__, sys.argv[1:])"},
               filename="-m", args=["pkg.mod", "1"])
    host.answered("module")
    assert world.output("module").startswith("__main__ ['1']\n")


def test_a_program_in_a_folder_of_the_workspace_is_run(world):
    host = world.host()
    world.send("deep", "", files={"src/my job.py": "print('deep')"}, filename="src/my job.py")
    host.answered("deep")
    assert world.output("deep").startswith("deep\n")


# ---- packages ---------------------------------------------------------------------------------------------------

IMPORT = "import json, six, sys\njson.dump([six.__version__, sys.prefix], open('../retval', 'w'))"


def count_installations(world):
    """Puts a uv first in PATH that notes each call; returns what tells how many installations there were."""
    folder, log = world.root / "bin", world.root / "calls"
    folder.mkdir()
    (folder / "uv").write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("uv")} "$@"\n')
    (folder / "uv").chmod(0o755)
    world.environment["PATH"] = f"{folder}:{world.environment['PATH']}"
    return lambda: sum(line.startswith("pip install") for line in log.read_text().splitlines())


def test_equal_requirements_are_built_once_for_jobs_beside_each_other_and_later(world):
    installations = count_installations(world) if shutil.which("uv") else lambda: 1
    host = world.host("--max.cores=2")
    for key in ("one", "two"):
        world.send(key, IMPORT, pythonenv=["six==1.17.0"])
    for key in ("one", "two"):
        host.answered(key)
    (folder,) = [path for path in (world.working / "environments").iterdir() if path.is_dir()]
    assert world.returned("one") == world.returned("two") == ["1.17.0", str(folder)]
    built = (folder / ".complete").stat().st_mtime_ns
    host.stop()

    host = world.host()
    world.send("three", IMPORT, config={"pip": ["six==1.17.0"]})
    host.answered("three")
    assert world.returned("three") == ["1.17.0", str(folder)]
    assert (folder / ".complete").stat().st_mtime_ns == built
    assert installations() == 1


def test_requirements_that_can_not_be_met_are_tried_again_and_the_output_says_why(world):
    host = world.host()
    world.send("never", IMPORT, pythonenv=["six==0.0.0.999"])
    host.wait_for("job.ended", outcome="environment_failed", key="never")
    host.stop()  # returns what waits for its next attempt
    assert host.answered("never")["answer"] == "again"
    text = world.output("never")
    assert "0.0.0.999" in text.rpartition("\nmoonrunner: ")[0], "what the installer said"
    assert world.verdict("never").startswith("moonrunner: environment_failed: ")
    ours = world.ours("never")
    assert (ours["state"], ours["attempt"], ours["failures"]) == ("waiting", 1, 1)
    assert world.document("never")["status"] == "waiting"
    (message,) = world.messages()
    assert message.endswith(".1.1")


@pytest.mark.parametrize("requirement", ["--index-url=http://127.0.0.1:9/", "-e .", ""])
def test_a_requirement_that_is_an_option_is_refused_before_anything_is_built(world, requirement):
    host = world.host()
    world.send("option", IMPORT, pythonenv=[requirement])
    assert host.answered("option")["event"] == "delivery.set_aside"
    (reason,) = world.set_aside().values()
    assert "only packages can be required" in reason["reason"]
    assert not [path for path in (world.working / "environments").iterdir() if path.is_dir()]


def test_a_python_that_is_not_there_is_said_to_be_missing(world):
    world.environment["PATH"] = str(world.root / "empty")
    host = world.host()
    world.send("python", "print(1)", pythonver="3")
    host.answered("python")
    (reason,) = world.set_aside().values()
    assert "no Python 3" in reason["reason"]
