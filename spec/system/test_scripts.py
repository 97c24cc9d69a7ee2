"""What an operator's own handle_job.lua can do wrong costs that job alone; and what it may do works."""
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(world):
    """A copy of lualib, scripts and policies that a test may edit."""
    made = world.root / "home"
    for name in ("lualib", "scripts", "policies"):
        shutil.copytree(ROOT / name, made / name)
    world.environment["MOONRUNNER_HOME"] = str(made)
    return made


def handle_job(home, text):
    """A script that does `text` for the job `bad` and handles every other one as shipped."""
    shipped = (home / "scripts/handle_job.lua").read_text()
    (home / "scripts/shipped.lua").write_text(shipped)
    (home / "scripts/handle_job.lua").write_text(
        'local shipped = require "shipped"\n'   # line 1
        'return function(job)\n'                # line 2
        '  if job.key ~= "bad" then return shipped(job) end\n'  # line 3
        f'{text}\n'                             # line 4
        'end\n')


WRONG = {
    "raises": ('  error("broken on purpose")', ["handle_job.lua:4: ", "broken on purpose"]),
    "raises a table": ('  error({code = "x"})', []),
    "indexes nil": ("  return job.nothing.at_all", ["handle_job.lua:4: ", "nothing"]),
    "returns nothing": ("  return", ["returned nil, should be an outcome"]),
    "returns a text": ('  return "done"', ["returned string, should be an outcome"]),
    "returns half an outcome": ('  return {code = "succeeded"}', ["returned table, should be an outcome"]),
    "returns an unknown code": ('  return {code = "splendid", sentence = "x"}', ["should be an outcome"]),
    "loops": ("  while true do end", ["handle_job.lua:4"]),
    "loops under pcall": ("  while true do pcall(function() while true do end end) end", ["handle_job.lua"]),
    "loops in a handler": ("  xpcall(error, function() while true do end end)", ["handle_job.lua"]),
    "recurses": ("  local function f() return 1 + f() end; return f()", ["stack overflow"]),
    "concatenates without end": ("  local s = 'x'; while true do s = s .. s end", []),
    "wants a file": ('  return io.open("/etc/passwd")', ["handle_job.lua:4: ", "io"]),
    "wants a process": ('  return os.execute("true")', ["handle_job.lua:4: "]),
    "wants the end": ("  os.exit(1)", ["handle_job.lua:4: "]),
    "wants ffi": ('  require "ffi"', ["ffi"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_script_that_goes_wrong_fails_its_job_alone(world, home, name):
    text, words = WRONG[name]
    handle_job(home, text)
    host = world.host("--lua.slice=200ms")
    world.send("before", "print('fine')")
    host.answered("before")
    world.send("bad", "print('ran')")
    world.send("beside", "print('fine')")
    ended = host.wait_for("job.ended", key="bad")
    assert ended["outcome"] == "script_failed"
    for word in words:
        assert word in ended["sentence"], ended["sentence"]
    host.answered("beside")
    assert world.output("beside").startswith("fine\n")
    host.stop()
    assert host.answered("bad")["answer"] == "again", "another host's script may be right"
    assert (world.ours("bad")["failures"], world.ours("bad")["outcome"]) == (1, "script_failed")


def test_a_script_that_loops_with_a_program_running_ends_the_program_too(world, home):
    handle_job(home, "  job:make_workspace(); job:fetch_artifacts(); job:prepare_environment()\n"
                     "  host.task.start(function() job:run() end)\n  host.time.sleep(300)\n  while true do end")
    host = world.host("--lua.slice=200ms")
    world.send("bad", "import time\nwhile True: time.sleep(1)")
    assert host.wait_for("job.ended", key="bad")["outcome"] == "script_failed"
    host.stop()
    assert host.events("job.spawned", key="bad")


def test_a_script_that_forgets_to_save_has_its_results_saved_all_the_same(world, home):
    handle_job(home, "  job:make_workspace(); job:fetch_artifacts(); job:prepare_environment(); return (job:run())")
    host = world.host()
    world.send("bad", "print('ran')\nopen('../retval', 'w').write('1')")
    assert host.answered("bad")["event"] == "delivery.acknowledged"
    assert world.output("bad").startswith("ran\nmoonrunner: succeeded: ")
    assert world.returned("bad") == 1


def test_a_script_that_saves_twice_writes_one_verdict(world, home):
    handle_job(home, "  local outcome = shipped(job); job:save(outcome); return job:save(outcome)")
    host = world.host()
    world.send("bad", "print('ran')")
    host.answered("bad")
    assert world.output("bad").count("moonrunner: ") == 1


def test_a_script_may_do_without_any_of_the_steps(world, home):
    handle_job(home, '  return {code = "succeeded", sentence = "nothing to do", retryable = false, exit = false, '
                     'signal = false, duration = false, peak = false}')
    host = world.host()
    world.send("bad", "print('ran')")
    assert host.answered("bad")["event"] == "delivery.acknowledged"
    assert world.ours("bad")["sentence"] == "nothing to do"
    assert world.document("bad")["status"] == "finished"


def test_a_script_that_is_no_lua_keeps_the_host_from_starting_and_is_named_with_its_line(world, home):
    (home / "scripts/handle_job.lua").write_text("return function(job)\n  retrun 1\nend\n")
    done = world.command("run", "--log.form=json")
    assert done.returncode in (64, 70)
    assert "handle_job.lua:2: '=' expected near '1'" in done.stderr


def test_a_policy_that_is_no_lua_keeps_the_host_from_starting_and_is_named_with_its_line(world, home):
    (home / "policies/rank.lua").write_text("return {\n  api = = 1,\n}\n")
    done = world.command("run", "--log.form=json")
    assert done.returncode in (64, 70)
    assert "rank.lua:2" in done.stderr


def test_a_policy_of_the_operator_decides(world, home):
    (home / "policies/retry.lua").write_text(
        "return {api = 1, retry = function(job, outcome)\n"
        "  if outcome.code == 'failed' and job.failures < 1 then return {action = 'again', delay = 0} end\n"
        "  return {action = 'done'}\nend}\n")
    host = world.host()
    world.send("twice", "print('try')\nraise SystemExit(1)")
    host.answered("twice", 2)
    lines = world.output("twice").splitlines()
    assert [line.split(": ")[1] if ": " in line else line for line in lines] == [
        "try", "failed", "attempt 2 of 3", "try", "failed"]
    assert world.document("twice")["status"] == "finished"


def test_a_policy_that_raises_costs_its_decision_alone_and_is_named_with_its_line(world, home):
    (home / "policies/rank.lua").write_text("return {api = 1, rank = function(job)\n  return job.nothing.at_all\nend}\n")
    host = world.host()
    world.send("e1", "print('ran')")
    host.answered("e1")
    assert "rank.lua:2" in host.events("policy.failed", policy="rank")[0]["error"]
    assert world.output("e1").startswith("ran\n")


def test_a_home_that_is_none_is_named(world):
    world.environment["MOONRUNNER_HOME"] = str(world.root / "nowhere")
    done = world.command("run")
    assert done.returncode == 64
    assert "MOONRUNNER_HOME" in done.stderr and f"{world.root}/nowhere" in done.stderr
