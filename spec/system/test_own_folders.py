"""An operator's own folders of scripts and policies hold what differs; everything else is as shipped."""

def test_a_file_in_scripts_folder_replaces_the_shipped_one(world):
    own = world.root / "scripts"
    own.mkdir()
    (own / "note.lua").write_text('return "from my own script"\n')
    (own / "handle_job.lua").write_text(
        'local note = require "note"\n'
        'return function(job)\n'
        '  host.log("info", "script.logged", {note = note})\n'
        '  return job:save(require("outcome").new("failed", note))\n'
        'end\n')
    host = world.host(f"--scripts.folder={own}")
    world.send("one", "print('never run')")
    host.answered("one")
    assert host.wait_for("script.logged", key="one")["note"] == "from my own script"
    assert host.wait_for("job.ended", key="one")["sentence"] == "from my own script"
    host.stop()


def test_a_file_in_policies_folder_replaces_the_shipped_one(world):
    own = world.root / "policies"
    own.mkdir()
    # Last in, first out; the other four policies are the shipped ones.
    (own / "rank.lua").write_text('return {api = 1, rank = function(job) return -job.added end}\n')
    for number, name in enumerate(["first", "second", "third"]):
        world.send(name, "print('x')", time_added=1795527098.0 + number)
    host = world.host(f"--policies.folder={own}", "--max.cores=1")
    for name in ["first", "second", "third"]:
        host.answered(name)
    started = [line["key"] for line in host.events("job.started")]
    assert started.index("third") < started.index("second"), started
    host.stop()


def test_a_folder_that_is_not_there_is_an_error_that_names_it(world):
    for option in ("scripts.folder", "policies.folder"):
        host = world.host(f"--{option}={world.root}/nowhere")
        assert host.wait() == 64
        assert f"{world.root}/nowhere" in host.events("host.failed")[0]["error"]


def test_a_policy_that_does_not_load_is_an_error_with_file_and_line(world):
    own = world.root / "policies"
    own.mkdir()
    (own / "rank.lua").write_text("return {\n  api = 1,\n  rank = functio(job) end,\n}\n")
    host = world.host(f"--policies.folder={own}")
    assert host.wait() == 64
    assert "rank.lua:3" in host.events("host.failed")[0]["error"]


def test_a_host_without_anything_to_serve_says_so(world):
    host = world.host("--queue.folder=off")
    assert host.wait() == 64
    assert "queue.folder" in "".join(host.other_lines()) + str(host.events("host.failed"))
