"""Whatever a queue or a store holds: the job that it belongs to ends with a reason, and nothing else is harmed."""
import gzip
import io
import json
import tarfile
import time
import zipfile

import pytest
from world import pack


def goes_on(world, host):
    """The host still does its work."""
    world.send("after", "print('still here')")
    host.answered("after")
    assert world.output("after").startswith("still here\n")
    return True


def body(world, change):
    """A good message, changed."""
    message = {"experiment": world.experiment("bad", "print('ran')"), "config": world.config()}
    change(message["experiment"], message["config"])
    return json.dumps(message)


def field(name, value):
    def change(experiment, _config):
        experiment[name] = value
    return lambda world: body(world, change)


def config(name, value):
    def change(_experiment, made):
        made[name] = value
    return lambda world: body(world, change)


def missing(name):
    return lambda world: body(world, lambda experiment, _config: experiment.pop(name))


def artifact(**changes):
    def change(experiment, _config):
        experiment["artifacts"]["workspace"].update(changes)
    return lambda world: body(world, change)


def raw(data):
    return lambda _world: data


REFUSED = {
    "empty": (raw(b""), ["not valid JSON"]),
    "no JSON": (raw(b"hello"), ["not valid JSON", "line 1"]),
    "cut short": (raw(b'{"experiment": {"key": "a"'), ["not valid JSON"]),
    "invalid UTF-8": (raw(b'{"experiment": {"key": "\xff\xfe"}, "config": {}}'), ["not valid JSON", "UTF-8"]),
    "NaN": (raw(b'{"experiment": {"key": "a", "time_added": NaN}, "config": {}}'), ["not valid JSON"]),
    "a key twice": (raw(b'{"experiment": {"key": "a", "key": "b"}, "config": {}}'), ["not valid JSON", "key"]),
    "deep": (raw(b'{"experiment": ' + b"[" * 100000 + b"]" * 100000 + b"}"), ["not valid JSON"]),
    "binary": (raw(bytes(range(256)) * 100), ["not valid JSON"]),
    "a list": (raw(b"[1, 2]"), ["a list", "an object with experiment and config"]),
    "no experiment": (raw(b'{"config": {}}'), ["experiment is missing"]),
    "experiment is text": (raw(b'{"experiment": "x", "config": {}}'), ['experiment is "x"', "an object"]),
    "no key": (missing("key"), ["experiment.key is missing"]),
    "key is a number": (field("key", 7), ["experiment.key is 7", "a string"]),
    "key climbs": (field("key", "../../x"), ['experiment.key is "../../x"']),
    "key is dots": (field("key", ".."), ['experiment.key is ".."']),
    "key is long": (field("key", "k" * 5000), ["experiment.key is", "200 bytes"]),
    "key with a newline": (field("key", "a\nb"), ["experiment.key is", "control characters"]),
    "key with NUL": (field("key", "a\0b"), ["experiment.key is", "NUL"]),
    "no program": (field("filename", None), ["experiment.filename is null"]),
    "program climbs": (field("filename", "../../../bin/sh"), ["experiment.filename is"]),
    "program is absolute": (field("filename", "/bin/sh"), ['experiment.filename is "/bin/sh"']),
    "args is text": (field("args", "x"), ['experiment.args is "x"', "a list of strings"]),
    "args of numbers": (field("args", ["a", 2]), ["experiment.args[2] is 2", "a string"]),
    "args unbalanced": (field("args", ["'a"]), ["experiment.args[1] is", "shell-quoted"]),
    "requirements": (field("pythonenv", {"six": 1}), ["experiment.pythonenv is an object"]),
    "cpus": (field("resources_needed", {"cpus": -1}), ["experiment.resources_needed.cpus is -1"]),
    "half a cpu": (field("resources_needed", {"cpus": 0.5}), ["experiment.resources_needed.cpus is 0.5"]),
    "ram": (field("resources_needed", {"ram": "much"}), ['experiment.resources_needed.ram is "much"', "a size"]),
    "needs is a list": (field("resources_needed", [1]), ["experiment.resources_needed is a list"]),
    "max_duration": (field("max_duration", "soon"), ['experiment.max_duration is "soon"', "a duration"]),
    "time_added": (field("time_added", "now"), ['experiment.time_added is "now"']),
    "artifacts is a list": (field("artifacts", ["a"]), ["experiment.artifacts is a list"]),
    "a tag climbs": (field("artifacts", {"../x": {"key": "a.tar"}}), ['the tag "../x"']),
    "an artifact without a place": (field("artifacts", {"data": {"unpack": True}}), ["experiment.artifacts.data is"]),
    "an artifact's key climbs": (artifact(key="../../etc.tar"), ["experiment.artifacts.workspace.key is"]),
    "an artifact's key is absolute": (artifact(key="/etc/passwd"), ["experiment.artifacts.workspace.key is"]),
    "unpack": (artifact(unpack="yes"), ['experiment.artifacts.workspace.unpack is "yes"']),
    "env": (config("env", {"A=B": "1"}), ['config.env has the name "A=B"']),
    "env of objects": (config("env", {"A": {"b": 1}}), ["config.env.A is an object"]),
    "lifetime": (config("experimentLifetime", "later"), ['config.experimentLifetime is "later"']),
    "bucket": (config("database", {"type": "local", "endpoint": "/tmp", "bucket": "../x"}), ["config.database.bucket is"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_message_that_is_no_job_is_set_aside_with_the_field_that_is_wrong(world, name):
    make, words = REFUSED[name]
    message = make(world)
    path = world.put("local_q", message)
    host = world.host()
    host.wait_for("job.refused", queue="local_q", message=path.name)
    assert goes_on(world, host)
    ((kept, reason),) = world.set_aside().items()
    for word in words:
        assert word in reason["reason"]
    assert reason["code"] == "refused" and (reason["attempt"], reason["failures"]) == (0, 0)
    held = (world.queues / ".moonrunner/set-aside/local_q" / kept)
    assert held.read_bytes() == (message if isinstance(message, bytes) else message.encode())
    assert held.stat().st_mode & 0o777 == 0o600, "messages hold secrets"
    assert len(host.events("job.spawned")) == 1


def test_a_message_names_all_that_is_wrong_with_it_at_once(world):
    def change(experiment, made):
        experiment.update(key="..", args=[1], max_duration="soon")
        made["env"] = {"A": []}
    world.put("local_q", body(world, change))
    host = world.host()
    host.wait_for("delivery.set_aside")
    (reason,) = world.set_aside().values()
    for name in ("experiment.key", "experiment.args[1]", "experiment.max_duration"):
        assert name in reason["reason"]


def test_a_message_that_is_too_big_is_set_aside_unread(world):
    world.put("local_q", b" " * 5000)
    host = world.host("--message.max-size=4096")
    host.wait_for("job.refused")
    assert goes_on(world, host)
    (reason,) = world.set_aside().values()
    assert "5000 bytes" in reason["reason"] and "message.max-size" in reason["reason"]


def test_a_file_of_a_gigabyte_in_a_queue_stops_nobody(world):
    path = world.put("local_q", b"{")
    with open(path, "ab") as sparse:
        sparse.truncate(1 << 30)
    host = world.host()
    host.wait_for("job.refused")
    assert goes_on(world, host)


def test_a_number_longer_than_a_double_is_no_reason_to_refuse(world):
    host = world.host()
    world.send("exact", "print(1)", info={"exact": 123456789012345678901234567890})
    host.answered("exact")
    assert world.document("exact")["info"] == {"exact": 123456789012345678901234567890}


@pytest.mark.parametrize("key", ["with space", "quo'te\"$HOME`id`;&|", "-rf", "ünïcödé", "%s%n", "a.b.c", "*", "{}"])
def test_a_strange_key_is_only_a_name(world, key):
    host = world.host()
    world.send(key, "import os\nprint(os.environ['STUDIOML_EXPERIMENT'])")
    assert host.answered(key)["event"] == "delivery.acknowledged"
    assert world.output(key).startswith(key + "\n")


@pytest.mark.parametrize("program", ["-c", "a b.py", "$(id).py", "-m.py"])
def test_a_strange_program_name_is_only_a_file(world, program):
    host = world.host()
    world.send("named", "", files={program: "print('the file')"}, filename=program)
    host.answered("named")
    assert world.output("named").startswith("the file\n")


def test_folders_and_hidden_files_in_a_queue_are_nobodys_messages(world):
    (world.queues / "local_q/folder").mkdir(parents=True)
    (world.queues / "local_q/.hidden").write_text("{")
    (world.queues / "local_q/link").symlink_to("/etc/passwd")
    host = world.host()
    assert goes_on(world, host)
    assert world.messages() == [".hidden", "folder", "link"]
    assert not world.set_aside()
    (world.queues / "local_q/folder").rmdir()
    (world.queues / "local_q/.hidden").unlink()
    (world.queues / "local_q/link").unlink()


# ---- stores -----------------------------------------------------------------------------------------------------

def entry(kind, linkname="", **fields):
    made = tarfile.TarInfo("set by pack")
    made.type, made.linkname, made.mode, made.mtime = kind, linkname, 0o755, int(time.time())
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def archives(outside):
    """Workspaces that try to reach `outside`."""
    return {
        "climbing": {"../../../../../../../../../" + str(outside)[1:] + "/planted": "x"},
        "climbing inside": {"a/../../planted": "x"},
        "absolute": {f"{outside}/planted": "x"},
        "through a link": {"way": entry(tarfile.SYMTYPE, str(outside)), "way/planted": "x"},
        "through two links": {"a": entry(tarfile.SYMTYPE, "b"), "b": entry(tarfile.SYMTYPE, str(outside)), "a/planted": "x"},
        "a hard link out": {"hard": entry(tarfile.LNKTYPE, f"{outside}/victim"), "job.py": "print('ran')"},
        "a hard link up": {"hard": entry(tarfile.LNKTYPE, "../../../../victim")},
        "a device": {"null": entry(tarfile.CHRTYPE, devmajor=1, devminor=3)},
        "a disk": {"disk": entry(tarfile.BLKTYPE, devmajor=8, devminor=0)},
        "a pipe": {"pipe": entry(tarfile.FIFOTYPE)},
    }


@pytest.mark.parametrize("name", archives("/outside"))
def test_a_hostile_workspace_writes_nothing_outside_and_its_job_is_set_aside(world, name):
    outside = world.root / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    files = {"job.py": "print('ran')", **archives(outside)[name]}
    host = world.host()
    world.send("hostile", "", artifacts={"workspace": world.pack_artifact(pack(files, None))})
    assert host.answered("hostile")["event"] == "delivery.set_aside"
    assert goes_on(world, host)
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_text() == "untouched" and (outside / "victim").stat().st_nlink == 1
    (reason,) = world.set_aside().values()
    assert reason["code"] == "fetch_failed" and "artifact workspace" in reason["reason"]
    assert world.verdict("hostile").startswith("moonrunner: fetch_failed: artifact workspace")
    assert world.document("hostile")["status"] == "finished", "nothing follows"
    assert len(host.events("job.spawned")) == 1


def test_a_name_that_comes_twice_replaces_a_link_instead_of_writing_through_it(world):
    victim = world.root / "victim"
    victim.write_text("untouched")
    files = {"job.py": "import os\nprint(os.path.islink('way'), open('way').read())",
             "way": entry(tarfile.SYMTYPE, str(victim)), "./way": "x"}
    host = world.host()
    world.send("twice", "", artifacts={"workspace": world.pack_artifact(pack(files, None))})
    host.answered("twice")
    assert victim.read_text() == "untouched"
    assert world.output("twice").startswith("False x\n")


def test_an_archive_that_unpacks_to_more_than_the_job_asked_for_is_refused(world):
    host = world.host()
    world.send("bomb", "", artifacts={"workspace": world.pack_artifact({"job.py": "", "big": bytes(3_000_000)})},
               resources_needed={"cpus": 1, "ram": "64m", "hdd": "1m"})
    assert host.answered("bomb")["event"] == "delivery.set_aside"
    (reason,) = world.set_aside().values()
    assert reason["code"] == "fetch_failed" and "artifact workspace" in reason["reason"]


@pytest.mark.parametrize("data", [b"", b"no archive at all", pack({"job.py": "print(1)" * 1000}, None)[:700]],
                         ids=["empty", "text", "cut short"])
def test_a_workspace_that_is_no_archive_costs_its_job_alone(world, data):
    host = world.host()
    artifact_of = world.pack_artifact(data)
    world.send("broken", "", artifacts={"workspace": artifact_of})
    host.answered("broken")
    assert world.ours("broken")["outcome"] in ("fetch_failed", "failed")
    assert goes_on(world, host)


def test_an_immutable_artifact_that_is_not_there_is_named(world):
    host = world.host()
    world.send("lacks", "print(1)", artifacts={"data": world.artifact("blobstore/none.tar", False)})
    assert host.answered("lacks")["event"] == "delivery.set_aside"
    (reason,) = world.set_aside().values()
    assert reason["code"] == "fetch_failed"
    assert "artifact data" in reason["reason"] and "blobstore/none.tar" in reason["reason"]
    assert goes_on(world, host)


@pytest.mark.parametrize("place", ["database", "storage"])
def test_a_store_of_a_kind_that_is_not_known_is_named(world, place):
    host = world.host()
    world.send("elsewhere", "print(1)", config={place: {"type": "s3", "endpoint": "http://127.0.0.1:9"}})
    assert host.answered("elsewhere")["event"] == "delivery.set_aside"
    (reason,) = world.set_aside().values()
    assert f"config.{place}.type" in reason["reason"] and '"s3"' in reason["reason"]
    assert goes_on(world, host)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"null"], ids=["empty", "cut short", "list", "bytes", "null"])
def test_a_document_that_can_not_be_read_does_not_keep_its_job_from_running(world, text):
    host = world.host()
    world.send("odd", "print('ran')")
    world.document_path("odd").write_bytes(text)
    assert host.answered("odd")["event"] == "delivery.acknowledged"
    assert world.output("odd").startswith("ran\n")
    assert world.document_path("odd").read_bytes() == text, "what is not understood is not touched"


def test_a_gzipped_and_a_zipped_workspace_are_unpacked_whatever_their_name(world):
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("job.py", "print('zip')")
    host = world.host()
    world.send("gz", "", artifacts={"workspace": world.pack_artifact(gzip.compress(pack({"job.py": "print('gz')"}, None)))})
    world.send("zip", "", artifacts={"workspace": world.pack_artifact(zipped.getvalue())})
    for key in ("gz", "zip"):
        host.answered(key)
        assert world.output(key).startswith(f"{key}\n")
