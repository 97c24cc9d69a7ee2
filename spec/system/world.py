"""A world for one test: private folders, hosts that serve them, messages as the StudioML client makes them.

Everything lies below one short folder in /tmp. `World.close` stops every host by its pid and looks at what must be zero
then: job folders, run folders, claims, processes of a run, temporary files in queues and stores.
"""
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import uuid
from pathlib import Path

PROGRAM = os.environ.get("MOONRUNNER", "")
LIMIT = 180  # seconds for anything that is waited for: it only ends what hangs
LOOK = 0.02  # seconds between two looks

MUTABLE_TAGS = ("modeldir", "retval", "output", "tb", "_metrics", "_metadata")
# How this machine reaches package registries is the machine's business; everything else of our environment is not.
PASSED_ON = re.compile(r"(PIP|UV|SSL|ASAN|UBSAN|TSAN)_.*|(https?|no)_proxy|(HTTPS?|NO)_PROXY|REQUESTS_CA_BUNDLE|LANG")
ANSWERS = ("delivery.acknowledged", "delivery.returned", "delivery.set_aside", "delivery.lost")


def wait_for(what, look, limit=LIMIT):
    """What `look` returns as soon as it is true."""
    end = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"waited {limit} s in vain for {what}"
        time.sleep(LOOK)


def alive(pid):
    """Does the process live (a zombie does not)?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_with(*texts):
    """Processes whose environment or command line holds one of the texts, as {pid: command line}."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if int(folder.name) != os.getpid() and any(t.encode() in environment + command for t in texts):
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def pack(files, target):
    """A tar of {name: text, bytes or tarfile.TarInfo}, as given; returns its bytes."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
                continue
            content = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o644, int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.getvalue())
    return data.getvalue()


class Host:
    """One `moonrunner run`."""

    def __init__(self, world, *options, program=None, **environment):
        self.log = world.root / f"host-{len(world.hosts) + 1}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program or PROGRAM, "run", "--log.form=json", "--log.level=debug", *options], cwd=world.root,
                env={**world.environment, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid
        self.ended_as_expected = False
        self.may_print = False  # lines that are none of its log
        world.hosts.append(self)

    def events(self, name=None, **fields):
        """The log's events so far; only those of this name, and with these values."""
        found = []
        for line in self.log.read_bytes().split(b"\n")[:-1]:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if name in (None, event["event"]) and all(event.get(k) == v for k, v in fields.items()):
                found.append(event)
        return found

    def other_lines(self):
        """What it printed that is no log line: nothing, unless it has a bug."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith('{"time"')]

    def wait_for(self, name, **fields):
        """The first event of this name with these values, when it is there."""
        def look():
            found = self.events(name, **fields)
            if not found:
                assert self.process.poll() is None, f"the host ended ({self.process.returncode}) before {name} {fields}"
            return found
        return wait_for(f"{name} {fields}", look)[0]

    def answered(self, key, number=1):
        """Waits until the job has been answered so many times; how the last one was."""
        def look():
            found = [event for event in self.events(key=key) if event["event"] in ANSWERS]
            if len(found) < number:
                assert self.process.poll() is None, f"the host ended ({self.process.returncode}) before {key} was answered"
            return found[number - 1:]
        return wait_for(f"the answer for {key}", look)[0]

    def started(self):
        return self.wait_for("host.started")

    @property
    def run(self):
        return self.started()["run"]

    def signal(self, number=signal.SIGTERM):
        os.kill(self.pid, number)

    def wait(self):
        """Its exit status, negative for a signal."""
        status = self.process.wait(LIMIT)
        self.ended_as_expected = True
        return status

    def stop(self):
        """Drains it; it must end by itself, well."""
        self.signal()
        assert self.wait() == 0, self.log.read_text()[-4000:]

    def kill(self):
        """kill -9: whatever it runs is left to the next host, and to the kernel."""
        self.signal(signal.SIGKILL)
        self.wait()


class World:
    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="mr-", dir="/tmp"))
        self.home, self.studioml_home = self.root / "h", self.root / "s"
        self.working, self.store, self.temporary = self.root / "w", self.root / "store", self.root / "t"
        self.queues = self.studioml_home / "queue"
        self.artifacts, self.database = self.store / "storage", self.store / "studioml-meta"
        for folder in (self.home, self.queues, self.temporary, self.artifacts, self.database):
            folder.mkdir(parents=True)
        self.hosts = []
        self.sent_at = {}  # the time of each message's file, in ns, by its name
        uv = shutil.which("uv")
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.environment = {
            # Where packages once fetched are kept: a home of its own would fetch them for each test.
            "UV_CACHE_DIR": f"{cache}/uv", "PIP_CACHE_DIR": f"{cache}/pip",
            **{name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)},
            "PATH": (f"{os.path.dirname(uv)}:" if uv else "") + "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home), "STUDIOML_HOME": str(self.studioml_home), "TMPDIR": str(self.temporary),
            "MOONRUNNER_WORKING_DIR": str(self.working), "MOONRUNNER_JOB_GRACE": "1s",
        }

    # ---- hosts and commands -------------------------------------------------------------------------------------

    def host(self, *options, **environment):
        return Host(self, *options, **environment)

    def command(self, *words, cwd=None, **options):
        """Runs the program to its end; stdout and stderr as text."""
        environment = {**self.environment, **options.pop("env", {})}
        return subprocess.run([PROGRAM, *map(str, words)], cwd=cwd or self.root, env=environment, timeout=LIMIT,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)

    # ---- messages -----------------------------------------------------------------------------------------------

    def artifact(self, key, mutable, **changes):
        return {"unpack": True, "mutable": mutable, "key": key, "qualified": f"file:/{self.artifacts}/{key}", **changes}

    def pack_artifact(self, files):
        """An immutable artifact in the store."""
        data = files if isinstance(files, bytes) else pack(files, None)
        key = f"blobstore/{hashlib.sha256(data).hexdigest()}.tar"
        (self.artifacts / key).parent.mkdir(exist_ok=True)
        (self.artifacts / key).write_bytes(data)
        return self.artifact(key, False)

    def experiment(self, key, program, args=(), files=None, **changes):
        """What the client sends as `experiment`; `program` is the text of job.py. `args` are as a shell would read them."""
        artifacts = {"workspace": self.pack_artifact({"job.py": program, **(files or {})})}
        for tag in MUTABLE_TAGS:
            artifacts[tag] = self.artifact(f"experiments/{key}/{tag}.tar", True)
        artifacts.update(changes.pop("artifacts", {}))
        now = time.time()
        return {
            "key": key, "filename": "job.py", "args": list(args), "pythonenv": [], "project": None, "pythonver": "3",
            "resources_needed": {"gpus": 0, "cpus": 1, "ram": "64m", "hdd": "256m"}, "status": "waiting",
            "time_added": now, "time_started": None, "time_last_checkpoint": now, "time_finished": None, "info": {},
            "git": None, "metric": None, "max_duration": None, "owner": "guest", "from_compl_service": False,
            "artifacts": artifacts, **changes,
        }

    def config(self, **changes):
        return {"database": {"type": "local", "endpoint": str(self.store), "bucket": "studioml-meta"},
                "storage": {"type": "local", "endpoint": str(self.store), "bucket": "storage"}, **changes}

    def put(self, queue, body, name=None):
        """A message into a queue's folder, whole at once; the path of its file."""
        folder = self.queues / queue
        folder.mkdir(exist_ok=True)
        name = name or str(uuid.uuid4())
        beside = self.root / f"new-{name}"
        beside.write_bytes(body if isinstance(body, bytes) else body.encode())
        self.sent_at[name] = beside.stat().st_mtime_ns
        beside.rename(folder / name)
        return folder / name

    def send(self, key, program, queue="local_q", config=None, name=None, **changes):
        """Writes the document and sends the message, as the client does; `name` is that of the message's file."""
        experiment = self.experiment(key, program, **changes)
        path = self.document_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(experiment))
        return self.put(queue, json.dumps({"experiment": experiment, "config": self.config(**(config or {}))}), name)

    # ---- results ------------------------------------------------------------------------------------------------

    def document_path(self, key):
        return self.database / "experiments" / key

    def document(self, key):
        return json.loads(self.document_path(key).read_text())

    def ours(self, key):
        return self.document(key).get("moonrunner") or {}

    def artifact_path(self, key, tag):
        return self.artifacts / "experiments" / key / f"{tag}.tar"

    def archive(self, key, tag):
        """The saved artifact: {entry's name: bytes, or None for a folder}."""
        with tarfile.open(self.artifact_path(key, tag)) as tar:
            return {entry.name: tar.extractfile(entry).read() if entry.isfile() else None for entry in tar}

    def output(self, key):
        """The saved output, as text; it is exactly one entry."""
        return self.output_bytes(key).decode()

    def output_bytes(self, key):
        entries = self.archive(key, "output")
        assert list(entries) == ["./output"]
        return entries["./output"]

    def verdict(self, key):
        """The last line of the output; it ends in a newline."""
        text = self.output_bytes(key)
        assert text.endswith(b"\n")
        return text[:-1].rpartition(b"\n")[2].decode()

    def returned(self, key):
        """What the program wrote into the file retval, as JSON."""
        entries = self.archive(key, "retval")
        assert list(entries) == ["./retval"]
        return json.loads(entries["./retval"])

    def messages(self, queue="local_q"):
        return sorted(entry.name for entry in (self.queues / queue).iterdir())

    def set_aside(self, queue="local_q"):
        """The messages set aside: {file's name: its reason as written beside it}."""
        folder = self.queues / ".moonrunner/set-aside" / queue
        reasons = {path.name.removesuffix(".reason"): json.loads(path.read_text()) for path in folder.glob("*.reason")}
        assert sorted(reasons) == sorted(p.name for p in folder.glob("*") if p.suffix != ".reason")
        return reasons

    # ---- the end ------------------------------------------------------------------------------------------------

    def close(self, failed=False):
        problems = []
        try:
            for host in self.hosts:
                if host.process.poll() is None:
                    host.signal(signal.SIGKILL if failed else signal.SIGTERM)
                    status = host.wait()
                    if status != 0 and not failed:
                        problems.append(f"the host ended with {status} after TERM")
                elif not host.ended_as_expected:
                    problems.append(f"a host ended by itself with {host.process.returncode}")
            if not failed:
                problems += self.leftovers()
        finally:
            for pid in processes_with(f"{self.root}/"):
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.root, ignore_errors=True)
        assert not problems, "\n".join(problems)

    def leftovers(self):
        """Everything that a host should not have left behind, as sentences."""
        problems = [f"the host printed: {line}" for host in self.hosts if not host.may_print for line in host.other_lines()]
        problems += [f"process {pid} is left: {command}" for pid, command in processes_with(f"{self.root}/").items()]

        def left(folder, allowed):
            for path in sorted(folder.rglob("*")) if folder.exists() else []:
                name = str(path.relative_to(folder))
                if not re.fullmatch(allowed, name):
                    problems.append(f"left behind: {path}")

        left(self.working, r"runs|traces|traces/.*\.jsonl|environments|environments/[0-9a-f]{24}(/.*|\.lock|\.build\.log)?")
        left(self.queues, r"\.moonrunner(/runs|/set-aside(/.*)?)?|[^./][^/]*(/[0-9a-f-]{36}(\.\d+\.\d+)?)?")
        left(self.artifacts, r"blobstore|blobstore/[0-9a-f]{64}\.tar|experiments|experiments/[^/]+|experiments/[^/]+/[^/]+\.tar")
        died = [host for host in self.hosts if host.process.returncode == -signal.SIGKILL]
        left(self.database, r"experiments|experiments/[^/]+|users(/.*)?|\.moonrunner|\.moonrunner/lock"
             + (r"|\.moonrunner/replaced-\d+-[0-9a-f]{16}" if died else ""))  # these go after an hour
        left(self.temporary, r"uv-setuptools-[0-9a-f]+\.lock")  # uv's own habit
        return problems
