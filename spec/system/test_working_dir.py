"""The working folder is ours alone: its usual place is one where anybody could have made it before us."""
import os

import pytest


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a folder of another user")
def test_another_users_folder_is_refused(world):
    folder = world.root / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    host = world.host(f"--working-dir={folder}")
    assert host.wait() == 64
    assert "belongs to the user 12345" in "".join(host.other_lines())
    host.may_print = True


def test_a_link_is_refused(world):
    (world.root / "real").mkdir()
    (world.root / "link").symlink_to("real")
    host = world.host(f"--working-dir={world.root}/link")
    assert host.wait() == 64
    assert f"working-dir {world.root}/link" in "".join(host.other_lines())
    host.may_print = True


def test_a_folder_that_can_not_be_made_is_named(world):
    (world.root / "file").write_text("in the way")
    host = world.host(f"--working-dir={world.root}/file/below")
    assert host.wait() == 64
    assert f"{world.root}/file" in "".join(host.other_lines())
    host.may_print = True
