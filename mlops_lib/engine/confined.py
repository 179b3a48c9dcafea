"""Run a command without network, privileges and the caller's files.

Usage: python -I -S confined.py HOME KEPT COMMAND…

The process backend builds source distributions with it. Root becomes the user nobody. The command
gets no network, and an empty folder in place of HOME, in which only the interpreter and KEPT, the
command's own folder, are visible. This takes namespaces: as root, or through a user namespace if
the kernel allows other users to create them. Without namespaces root stops here. Another user
continues, because a training of the process backend can read all files of that user anyway. The
resources of the command are limited.

Only the standard library is imported: this runs in the environment's own Python.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import tempfile

NOBODY = 65534
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
LIMITS = {resource.RLIMIT_CPU: 1800, resource.RLIMIT_FSIZE: 2 << 30, resource.RLIMIT_CORE: 0}


class _Kernel:
    """System calls that Python does not wrap."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _checked(self, status: int, what: str) -> None:
        if status != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)

    def unshare(self, flags: int) -> None:
        self._checked(self._libc.unshare(flags), "unshare")

    def mount(self, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        words = [text.encode() for text in (source, target, kind)]
        self._checked(self._libc.mount(*words, ctypes.c_ulong(flags), options.encode()), target)

    def detach(self, target: str) -> None:
        self._checked(self._libc.umount2(target.encode(), MNT_DETACH), target)

    def bind(self) -> None:
        """Renounce new privileges, and die with the parent process."""
        self._checked(self._libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
        self._checked(self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _leave(kernel: _Kernel) -> None:
    """Enter namespaces without network, in which mounts affect this process only."""
    user = os.getuid()
    group = os.getgid()
    spaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID
    kernel.unshare(spaces if user == 0 else spaces | CLONE_NEWUSER)
    if user != 0:
        for name, text in (
            # The kernel refuses a `gid_map` of an unprivileged process until `setgroups` is denied
            # (user_namespaces(7)): otherwise a process could drop a group that forbids it
            # something.
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as stream:  # noqa: PTH123
                stream.write(text)
    # systemd makes the root shared: without this, the mounts below would appear outside as well.
    kernel.mount("none", "/", "", MS_REC | MS_PRIVATE)


def _hide(kernel: _Kernel, home: str, command_folder: list[str]) -> None:
    """Mount an empty folder over `home`, with only the kept folders in it."""
    below = [
        path
        for path in map(os.path.realpath, command_folder)
        if os.path.commonpath([path, home]) == home
    ]
    # What is kept lies inside the folder that is hidden. It is bound elsewhere first, because the
    # new mount covers the way to it.
    places = [tempfile.mkdtemp(dir="/tmp") for _ in below]
    for path, place in zip(below, places, strict=True):
        kernel.mount(path, place, "", MS_BIND | MS_REC)
    kernel.mount("none", home, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m")
    for path, place in zip(below, places, strict=True):
        os.makedirs(path, mode=0o755, exist_ok=True)  # noqa: PTH103
        kernel.mount(place, path, "", MS_BIND | MS_REC)
        # The second name has served its purpose, and would show the folder outside of HOME as well.
        kernel.detach(place)
        os.rmdir(place)  # noqa: PTH106


def main(home: str, command_folder: str, command: list[str]) -> None:
    """Confine this process, then execute the command in it."""
    kernel = _Kernel()
    try:
        _leave(kernel)
        home = os.path.realpath(home)
        if home != "/" and os.path.isdir(home):  # noqa: PTH112
            _hide(kernel, home, [sys.base_prefix, command_folder])
    except OSError:
        if os.getuid() == 0:
            raise
    for limit, most in LIMITS.items():
        # The caller's own hard limit stays if it is stricter; without privileges it cannot be
        # raised.
        hard = resource.getrlimit(limit)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (bound, bound))
    # The first process of its namespace: whatever it leaves behind ends with it.
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)
    os.umask(0o022)
    if os.getuid() == 0:
        # Groups and group before the user: afterwards the process may not change them any more.
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        # All three ids: with a saved user id of 0 the command could become root again.
        os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.bind()  # after the change of user, which takes it back
    os.chdir(command_folder)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
