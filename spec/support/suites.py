#!/usr/bin/env python3
"""Builds and runs the test suites beside each other, and says in one line how they ended.

    suites.py SUITE[:FILTER]...      c threads lua arm64 system lint

Every test executable and every spec file is a process of its own (a job), so that a crash costs that job alone: it
counts as one failed test. Jobs report in JUnit's XML; what they print goes to build/logs. The last line on stdout is
exactly `N passed, N failed, N skipped`; the exit status is 0 only when nothing failed and every suite counted something.
"""
import concurrent.futures
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "spec/support"
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
CORES = len(os.sched_getaffinity(0))
SOAK = bool(os.environ.get("MOONRUNNER_SOAK"))
JOB_LIMIT = 3600 if SOAK else 240  # seconds; generous: it only ends what hangs
SYSTEM_LIMIT = 4 * 3600 if SOAK else 1800
SHOWN_LINES = 40  # of the log of a failed job
SLOWEST = 8

BUILD_OF = {"c": "asan", "lua": "asan", "system": "asan", "threads": "tsan", "arm64": "arm64", "lint": None}
SUITES = list(BUILD_OF)

# A job of the same user can't be traced once the host is not dumpable, which the leak check at exit needs: it is on
# where the code under test is a unit, and off in the whole program.
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
}


@dataclass
class Case:
    suite: str
    name: str
    state: str  # passed, failed, skipped
    seconds: float = 0.0
    reason: str = ""  # why it was skipped, or what its report says about the failure


@dataclass
class Job:
    suite: str
    name: str
    command: list
    env: dict = field(default_factory=dict)
    report: bool = True  # writes JUnit XML to self.xml; otherwise the exit status is the one case
    limit: int = JOB_LIMIT
    before: Callable = None  # called in the child

    @property
    def log(self):
        return LOGS / self.suite / f"{self.name}.log"

    @property
    def xml(self):
        return LOGS / self.suite / f"{self.name}.xml"


class Screen:
    """Whole blocks of lines from several threads, never mixed."""

    def __init__(self):
        self.lock = threading.Lock()

    def say(self, text):
        with self.lock:
            print(text, flush=True)


SCREEN = Screen()
LIVE = set()  # processes of ours that run now


def stop(number, _frame):
    """Ctrl-C or TERM: whatever runs in a session of its own would outlive us."""
    for process in list(LIVE):
        os.killpg(process.pid, signal.SIGKILL)
    os._exit(128 + number)


def indented(text):
    return "\n".join("    " + line for line in text.splitlines() if line.strip())


def last_lines(path, count=SHOWN_LINES):
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return indented("\n".join(lines[-count:]))


def build_errors(log):
    """The lines of a build's log that say what is wrong, or its end when none does."""
    lines = log.read_text(errors="replace").splitlines()
    wrong = [line for line in lines if re.search(r"\berror\b|undefined reference|CMake Error", line, re.IGNORECASE)
             and " -c " not in line]
    return "\n".join("    " + line for line in list(dict.fromkeys(wrong))[:SHOWN_LINES]) or last_lines(log)


LIBC = ctypes.CDLL(None)
PR_SET_CHILD_SUBREAPER = 36


def become_subreaper():
    """In the child, before it becomes qemu: see qemu_user.c."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_logged(command, log, env=None, limit=None, before=None):
    """Returns the exit status, or None past the limit. The process gets a session of its own and dies as a whole."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        process = subprocess.Popen(
            [str(word) for word in command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={**os.environ, **(env or {})}, start_new_session=True, preexec_fn=before)
        LIVE.add(process)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        finally:
            LIVE.discard(process)


def setup(*words):
    """Runs spec/support/setup; what it prints on stdout, or None with the reason in build/logs/setup-….log."""
    log = LOGS / f"setup-{'-'.join(words)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as err:
        done = subprocess.run([str(SUPPORT / "setup"), *words], stdout=subprocess.PIPE, stderr=err, check=False)
    return done.stdout.decode().strip() if done.returncode == 0 else None


def setup_failure(*words):
    lines = (LOGS / f"setup-{'-'.join(words)}.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"


# --- from reports to cases --------------------------------------------------------------------------------------

def case_of(suite, job_name, element):
    name = element.get("name", "?")
    where = element.get("classname") if suite == "system" else job_name
    problem = next((child for tag in ("failure", "error") if (child := element.find(tag)) is not None), None)
    skipped = element.find("skipped")
    if problem is not None:
        # pytest's log shows more than its report
        text = "" if suite == "system" else "\n".join(filter(None, (problem.get("message"), problem.text)))
        return Case(suite, f"{where}: {name}", "failed", float(element.get("time") or 0), text.strip())
    if skipped is not None:
        reason = skipped.get("message") or (skipped.text or "").strip()
        return Case(suite, f"{where}: {name}", "skipped", 0.0, reason.splitlines()[0] if reason else "")
    return Case(suite, f"{where}: {name}", "passed", float(element.get("time") or 0))


def reported_cases(job):
    try:
        tree = xml.etree.ElementTree.parse(job.xml)
    except (OSError, xml.etree.ElementTree.ParseError):
        return None
    cases = [case_of(job.suite, job.name, element) for element in tree.iter("testcase")]
    # cmocka has no place for a reason: a C test prints "skipped: why" before it skips.
    reasons = re.findall(r"^skipped: (.*)$", job.log.read_text(errors="replace"), re.MULTILINE)
    for case in cases:
        if case.state == "skipped" and not case.reason:
            case.reason = reasons.pop(0) if reasons else "gives no reason"
    return cases


def run_job(job):
    """All cases of one job. An end that the report does not explain is a failed case of its own."""
    job.log.unlink(missing_ok=True)
    job.xml.unlink(missing_ok=True)
    began = time.monotonic()
    status = run_logged(job.command, job.log, job.env, job.limit, job.before)
    seconds = time.monotonic() - began
    if not job.report:
        return [Case(job.suite, job.name, "passed" if status == 0 else "failed", seconds)]
    cases = reported_cases(job)
    if cases is None:
        cases = []
        problem = "left no report, or one that is no XML"
    elif not cases:
        problem = "counted no test"
    else:
        problem = "ended badly after its tests" if all(case.state != "failed" for case in cases) else ""
    if status == 0 and cases:
        problem = ""
    if status is None:
        problem = f"did not end within {job.limit} s"
    if problem:
        how = f"exit {status}" if status is None or status >= 0 else f"signal {-status}"
        cases.append(Case(job.suite, f"{job.name}: {problem} ({how})", "failed", seconds))
    return cases


# --- the jobs of each suite -------------------------------------------------------------------------------------

def c_jobs(suite, build, runner=()):
    for program in sorted((build / "spec").glob("test_*")):
        source = ROOT / f"spec/c/{program.name}.c"
        if os.access(program, os.X_OK) and source.exists():
            job = Job(suite, program.name, [*runner, program])
            job.env = {**SANITIZER_ENV, "CMOCKA_MESSAGE_OUTPUT": "xml", "CMOCKA_XML_FILE": str(job.xml)}
            yield job


def fuzz_jobs(suite, build, runner=()):
    for program in sorted((build / "spec").glob("fuzz_*")):
        if (ROOT / f"spec/fuzz/{program.name}.c").exists():
            corpus = f"spec/fuzz/corpus/{program.name.removeprefix('fuzz_')}"
            yield Job(suite, program.name, [*runner, program, corpus], dict(SANITIZER_ENV), report=False)


def lua_jobs(suite, build, runner=()):
    for spec in sorted((ROOT / "spec/unit").glob("*_spec.lua")):
        job = Job(suite, spec.stem, [])
        job.command = [*runner, build / "bin/spec-host", "--output=junit", f"-Xoutput={job.xml}", spec.relative_to(ROOT)]
        job.env = dict(SANITIZER_ENV)
        yield job


def arm64_jobs(sysroot):
    runner = ["qemu-aarch64-static", "-L", sysroot]
    for jobs in (c_jobs, lua_jobs):
        for job in jobs("arm64", BUILD / "arm64", runner):
            job.limit *= 2  # emulated
            job.before = become_subreaper
            yield job


def system_jobs(filters):
    python = setup("python", "specs")
    if python is None:
        raise RuntimeError(f"the Python environment of the specs is missing: {setup_failure('python', 'specs')}")
    job = Job("system", "pytest", [], limit=SYSTEM_LIMIT)
    job.command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "--durations=5",
                   "-n", 2 * min(CORES, 4), f"--junitxml={job.xml}", "spec/system"]
    if filters:
        job.command += ["-k", " or ".join(filters)]
    job.env = {
        "MOONRUNNER": str(BUILD / "asan/bin/moonrunner"),
        "PYTHONDONTWRITEBYTECODE": "1",
        **SANITIZER_ENV, "ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0"),
    }
    client = setup("python", "client")
    if client:
        job.env["MOONRUNNER_CLIENT_PYTHON"] = client
    uv = setup("uv")
    if uv:
        job.env["PATH"] = f"{Path(uv).parent}:{os.environ['PATH']}"
    yield job


def lint_jobs():
    for name, command in (
            ("format", [SUPPORT / "lint", "format"]),
            ("luacheck", [SUPPORT / "lint", "luacheck"]),
            ("shell", [SUPPORT / "lint", "shell"]),
            ("layers", [sys.executable, SUPPORT / "layer_check.py"])):
        yield Job("lint", name, command, report=False)


def jobs_of(suite, filters, sysroot):
    if suite == "system":
        return list(system_jobs(filters))
    if suite == "arm64":
        jobs = arm64_jobs(sysroot)
    elif suite == "lint":
        jobs = lint_jobs()
    else:
        makers = {"c": (c_jobs, fuzz_jobs), "threads": (c_jobs,), "lua": (lua_jobs,)}[suite]
        jobs = (job for maker in makers for job in maker(suite, BUILD / BUILD_OF[suite]))
    return [job for job in jobs if not filters or any(text in job.name for text in filters)]


# --- running ----------------------------------------------------------------------------------------------------

def build(preset, env):
    """None, or what went wrong."""
    log = LOGS / f"build-{preset}.log"
    log.unlink(missing_ok=True)
    for command in (["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset]):
        if run_logged(command, log, env) != 0:
            return f"the {preset} build failed; {log.relative_to(ROOT)} says\n{build_errors(log)}"
    return None


class Run:
    def __init__(self, wanted):
        self.wanted = wanted  # suite -> texts, one of which a name must hold; none: all
        self.cases = {suite: [] for suite in wanted}
        self.began = {}
        self.open_jobs = {}
        self.lock = threading.Lock()
        self.pool = concurrent.futures.ThreadPoolExecutor(CORES)
        self.waiting_pool = concurrent.futures.ThreadPoolExecutor(1)  # the system suite mostly waits: beside the others

    def fail(self, suite, what, text):
        self.cases[suite].append(Case(suite, what, "failed"))
        SCREEN.say(f"FAILED {suite}: {what}\n{text}")
        self.finish(suite)

    def finish(self, suite):
        cases = self.cases[suite]
        if not cases:
            cases.append(Case(suite, "no test was found", "failed"))
            SCREEN.say(f"FAILED {suite}: no test was found")
        count = {state: sum(case.state == state for case in cases) for state in ("passed", "failed", "skipped")}
        minutes = (time.monotonic() - self.began.get(suite, time.monotonic())) / 60
        SCREEN.say(f"{suite:8} {count['passed']:5} passed {count['failed']:4} failed {count['skipped']:4} skipped "
                   f"{minutes:6.1f} min")

    def job_done(self, job):
        cases = run_job(job)
        failed = [case for case in cases if case.state == "failed"]
        if failed:
            told = [f"FAILED {case.suite}: {case.name}\n{indented(case.reason)}".rstrip() for case in failed]
            logged = last_lines(job.log)
            told += [logged, f"    (whole log: {job.log.relative_to(ROOT)})"] if logged else []
            SCREEN.say("\n".join(told))
        with self.lock:
            self.cases[job.suite] += cases
            self.open_jobs[job.suite] -= 1
            last = self.open_jobs[job.suite] == 0
        if last:
            self.finish(job.suite)

    def start(self, suite, sysroot=None):
        try:
            jobs = jobs_of(suite, self.wanted[suite], sysroot)
        except RuntimeError as error:
            return self.fail(suite, "could not start", f"    {error}")
        if not jobs:
            return self.finish(suite)
        self.open_jobs[suite] = len(jobs)
        for job in jobs:
            (self.waiting_pool if suite == "system" else self.pool).submit(self.job_guarded, job)
        return None

    def job_guarded(self, job):
        try:
            self.job_done(job)
        except BaseException as error:  # a mistake of this program must not look like success
            with self.lock:
                self.cases[job.suite].append(Case(job.suite, f"{job.name}: {error!r}", "failed"))
            SCREEN.say(f"FAILED {job.suite}: {job.name}: suites.py: {error!r}")

    def run(self):
        for suite in self.wanted:
            shutil.rmtree(LOGS / suite, ignore_errors=True)
            self.began[suite] = time.monotonic()
        ahead = concurrent.futures.ThreadPoolExecutor(3)  # fetched while we build
        if "system" in self.wanted:
            ahead.submit(setup, "python", "specs")
            ahead.submit(setup, "python", "client")
        sysroot = ahead.submit(setup, "arm64") if "arm64" in self.wanted else None
        if "lint" in self.wanted:
            self.start("lint")
        for preset in ("asan", "tsan", "arm64"):
            suites = [suite for suite in self.wanted if BUILD_OF[suite] == preset]
            if suites:
                self.build_and_start(preset, suites, sysroot)
        for pool in (ahead, self.pool, self.waiting_pool):
            pool.shutdown(wait=True)

    def build_and_start(self, preset, suites, sysroot):
        env, root = {}, None
        if preset == "arm64":
            root = sysroot.result()
            if root is None:
                reason = f"cross compiler, qemu-user or arm64 libraries are missing: {setup_failure('arm64')}"
                self.cases["arm64"].append(Case("arm64", "all", "skipped", 0.0, reason))
                return self.finish("arm64")
            env = {"MOONRUNNER_ARM64_SYSROOT": root}
        SCREEN.say(f"building {preset} for {' '.join(suites)}")
        problem = build(preset, env)
        for suite in suites:
            if problem:
                self.fail(suite, "build", problem)
                problem = "    (the same build)"
            else:
                self.start(suite, root)
        return None


def summary(cases):
    timed = sorted(cases, key=lambda case: -case.seconds)[:SLOWEST]
    if timed and timed[0].seconds >= 1:
        print("slowest:")
        for case in timed:
            if case.seconds >= 1:
                print(f"  {case.seconds:6.1f} s  {case.suite}: {case.name}")
    skipped = [case for case in cases if case.state == "skipped"]
    if skipped:
        print("skipped:")
        for case in skipped:
            print(f"  {case.suite}: {case.name}: {case.reason or 'gives no reason'}")
    failed = [case for case in cases if case.state == "failed"]
    if failed:
        print("failed:")
        for case in failed:
            print(f"  {case.suite}: {case.name}")
    passed = len(cases) - len(failed) - len(skipped)
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    return 1 if failed or not cases else 0


def main():
    wanted = {}
    for word in sys.argv[1:]:
        suite, _, filter_text = word.partition(":")
        if suite not in SUITES:
            sys.exit(f"there is no suite {suite!r}; there are: {' '.join(SUITES)}")
        wanted.setdefault(suite, [])
        if filter_text:
            wanted[suite].append(filter_text)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    run = Run(wanted)
    run.run()
    return summary([case for suite in wanted for case in run.cases[suite]])


if __name__ == "__main__":
    sys.exit(main())
