#!/usr/bin/env python3
"""Writes one and the same tree as every kind of archive that Python knows, into the folder named on the command line.

The tree: file (mode 0750, time 1200000000), sub/deep, long (a name of 150 letters), nom-é, and, in tars, link -> file.
"""
import io
import sys
import tarfile
import zipfile
from pathlib import Path

FILES = {"file": b"from Python", "sub/deep": b"deep", "n" * 150: b"long", "nom-\u00e9": b"accent", "big": b"big " * 500000}
TIME = 1200000000


def member(name, kind=tarfile.REGTYPE, size=0):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.mtime = kind, size, 0o750, TIME
    return info


def write_tar(tar):
    for name, content in FILES.items():
        tar.addfile(member(name, size=len(content)), io.BytesIO(content))
    link = member("link", tarfile.SYMTYPE)
    link.linkname = "file"
    tar.addfile(link)
    tar.close()


class Forward(io.RawIOBase):
    """A file that can not be sought: zipfile then writes sizes behind the data."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


def write_zip(file, compression):
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(zipfile.ZipInfo("sub/", (2008, 1, 10, 21, 20, 0)), b"")
        for name, content in FILES.items():
            archive.writestr(name, content)


def main():
    folder = Path(sys.argv[1])
    for name, form in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT)):
        if form == tarfile.USTAR_FORMAT:  # has room for 100 bytes of a name
            FILES["n" * 100] = FILES.pop("n" * 150)
        write_tar(tarfile.open(folder / f"{name}.tar", "w", format=form))
    FILES["n" * 150] = FILES.pop("n" * 100)
    for mode in ("gz", "bz2", "xz"):
        write_tar(tarfile.open(folder / f"tar.{mode}", f"w:{mode}"))
        write_tar(tarfile.open(str(folder / f"stream.{mode}"), f"w|{mode}"))
    write_zip(folder / "stored.zip", zipfile.ZIP_STORED)
    write_zip(folder / "deflated.zip", zipfile.ZIP_DEFLATED)
    with open(folder / "forward.zip", "wb") as file:
        write_zip(Forward(file), zipfile.ZIP_DEFLATED)


main()
