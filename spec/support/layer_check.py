#!/usr/bin/env python3
"""Checks the rules of the house that no compiler knows: who may include whom, and what the tree holds.

Prints one line a breach, `file:line: what`, and exits 1 when there is one.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {"host", "scripts", "policies", "lualib", "k8s", "spec",
             "CMakeLists.txt", "CMakePresets.json", "README.md", "dev", "LICENSE"}
LUA_HEADERS = {"lua.h", "lauxlib.h", "lualib.h", "luajit.h", "luaconf.h", "lua-cjson.h"}
MAX_LINES = 600
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Written in pieces, so that this file does not break its own rule.
MACHINE_PATHS = re.compile(r"(?<![\w.~/$}-])/" + r"(?:work|root)/\w")
REGISTRIES = re.compile("|".join(name + r"\." + tld for name, tld in (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), (r"proxy\.golang", "org"), (r"deb\.debian", "org"),
    ("crates", "io"), ("luarocks", "org"))))


def files():
    """Everything that is or could be committed."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True,
                            text=True, check=False)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.relative_to(ROOT).parts[0] != "build"]
    return sorted(name for name in set(names) if (ROOT / name).is_file())


def lines_of(name):
    try:
        return (ROOT / name).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []  # data


def may_include(name, header):
    """May the file host/<name> include our header "<header>"? None, or why not."""
    folder, _, file = name.rpartition("/")
    target = header.rpartition("/")[0]
    if folder == "":  # main and options are above all folders
        return None
    if folder == "base":
        return None if target == "base" else "base/ includes nothing but base/"
    if folder == "lua":
        return None if target in ("base", "lua", "") else "lua/ knows no primitive: it meets them as doors"
    if file.startswith("lua_"):
        return None if target in ("base", "lua", folder, "") else "a door includes base/, lua/ and its own folder"
    return None if target in ("base", folder) else "the core of a primitive includes base/ and its own folder"


def may_include_lua(name):
    folder, _, file = name.rpartition("/")
    return folder == "lua" or file.startswith("lua_")


def include_breaches(name, lines):
    inside = name.removeprefix("host/")
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, header = match.groups()
        if quote == '"' and not (ROOT / "host" / header).is_file():
            yield f"{name}:{number}: \"{header}\" is not a header below host/"
        elif quote == '"' and (why := may_include(inside, header)):
            yield f"{name}:{number}: \"{header}\": {why}"
        elif header in LUA_HEADERS and not may_include_lua(inside):
            yield f"{name}:{number}: <{header}>: only lua/ and lua_*.c include Lua headers"


def breaches():
    for name in files():
        top = name.split("/")[0]
        if not top.startswith(".") and top not in TOP_LEVEL:
            yield f"{name}:1: the top level holds only {' '.join(sorted(TOP_LEVEL))}"
        lines = lines_of(name)
        if name.startswith("host/") and name.endswith((".c", ".h")):
            yield from include_breaches(name, lines)
        if name.endswith((".c", ".h", ".lua", ".py")) and len(lines) > MAX_LINES:
            yield f"{name}:{MAX_LINES}: {len(lines)} lines ask to be two files"
        for number, line in enumerate(lines, 1):
            if MACHINE_PATHS.search(line):
                yield f"{name}:{number}: a path of one machine"
            if REGISTRIES.search(line):
                yield f"{name}:{number}: a registry's host; the package clients know theirs"


found = list(breaches())
print("\n".join(found) if found else "layers, tree and paths: as they should be")
sys.exit(1 if found else 0)
