"""Paths of a program that itself runs in a container, on the engine's machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib.engine import host_paths
from mlops_lib.errors import EngineError

ID = "0f" * 32
IN_DOCKER = f"""\
1573 1551 0:249 / / rw,relatime master:421 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A
1580 1573 254:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda1 rw
1581 1573 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw
1582 1573 254:1 /srv/mlops /srv/mlops rw,relatime - ext4 /dev/vda1 rw
"""
ON_A_MACHINE = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /sys rw,nosuid shared:2 - sysfs sysfs rw
"""
FOREIGN_MOUNT = f"""\
30 22 254:1 /var/lib/docker/containers/{ID}/x /mnt rw - ext4 /dev/vda1 rw
"""


def test_the_container_is_known_from_its_own_files_only() -> None:
    assert host_paths.own_container(IN_DOCKER) == ID
    assert host_paths.own_container(ON_A_MACHINE) is None
    assert host_paths.own_container(FOREIGN_MOUNT) is None
    assert host_paths.own_container("") is None
    assert host_paths.own_container("torn line\n") is None


def test_the_innermost_mount_translates_a_path(tmp_path: Path) -> None:
    home = tmp_path.resolve()
    mounts = [(str(home), "/srv/agent"), (str(home / "mlops"), "/data/mlops")]
    assert host_paths.translate(str(home / "mlops" / "runs"), mounts) == "/data/mlops/runs"
    assert host_paths.translate(str(home / "other"), mounts) == "/srv/agent/other"
    assert host_paths.translate(str(home), mounts) == "/srv/agent"
    # A folder that only begins with the same characters lies in the outer mount.
    assert host_paths.translate(str(home / "mlops2"), mounts) == "/srv/agent/mlops2"


def test_a_link_is_followed_before_its_mount_is_looked_up(tmp_path: Path) -> None:
    inside = tmp_path / "mounted"
    inside.mkdir()
    link = tmp_path / "link"
    link.symlink_to(inside)
    assert host_paths.translate(str(link), [(str(inside.resolve()), "/host")]) == "/host"


def test_a_folder_that_only_this_container_has_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as raised:
        host_paths.translate(str(tmp_path), [("/elsewhere", "/host")])
    assert raised.value.where == str(tmp_path)
    assert "MLOPS_HOME" in raised.value.remedy
