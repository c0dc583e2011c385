"""Tests of voxrec.sandbox.rootfs that build nothing: what would be run, and what is said when it cannot be."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import rootfs
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.rootfs import (
    ASTERISK_16,
    ASTERISK_22,
    Recipe,
    asterisk_rootfs,
    bootstrap_command,
    cache_directory,
    debian_mirror,
    ensure_rootfs,
)


class Recipes(SynchronousTestCase):
    def test_the_key_is_stable_and_readable(self) -> None:
        self.assertRegex(ASTERISK_22.key, r"^asterisk-22-[0-9a-f]{12}$")
        self.assertEqual(ASTERISK_22.key, Recipe("asterisk-22", "sid", ASTERISK_22.packages).key)

    def test_whatever_is_in_it_changes_the_key(self) -> None:
        others = [replace(ASTERISK_22, suite="forky"), replace(ASTERISK_22, packages=("asterisk",)), ASTERISK_16]
        self.assertEqual(len({ASTERISK_22.key, *(other.key for other in others)}), 4)


class Commands(SynchronousTestCase):
    def command(self, uid: int = 0, mirror: str | None = "http://mirror.example/debian") -> list[str]:
        self.patch(os, "geteuid", lambda: uid)
        return bootstrap_command("mmdebstrap", ASTERISK_16, mirror, ['Acquire::http::Proxy "http://proxy.example";'])

    def test_the_whole_line(self) -> None:
        self.assertEqual(
            self.command(),
            [
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                "--format=tar",
                "--include=asterisk,asterisk-modules,asterisk-core-sounds-en-wav,sip-tester",
                '--aptopt=Acquire::Check-Valid-Until "false"',
                '--aptopt=Acquire::http::Proxy "http://proxy.example";',
                "bullseye",
                "-",
                "http://mirror.example/debian",
            ],
        )

    def test_a_user_builds_in_a_namespace(self) -> None:
        self.assertIn("--mode=unshare", self.command(uid=1000))

    def test_without_a_mirror_mmdebstrap_chooses(self) -> None:
        self.assertEqual(self.command(mirror=None)[-1], "-")

    def test_the_mirror_is_the_one_that_is_debian(self) -> None:
        targets = (
            "http://other.example/|Other|Other\n"
            "http://security.example/|Debian|Debian-Security\n"
            "http://backports.example/|Debian Backports|Debian Backports\n"
            "http://mirror.example/debian/|Debian|Debian\n"
        )
        self.assertEqual(debian_mirror(targets), "http://mirror.example/debian/")

    def test_lists_that_are_empty_name_no_mirror(self) -> None:
        self.assertIsNone(debian_mirror(""))
        self.assertIsNone(debian_mirror("http://mirror.example/debian/||\n"))


class Cache(SynchronousTestCase):
    def setUp(self) -> None:
        self.cache = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {"XDG_CACHE_HOME": str(self.cache), "HOME": "/home/somebody"})

    def test_it_is_where_the_user_keeps_such_things(self) -> None:
        self.assertEqual(cache_directory(), self.cache / "voxrec" / "rootfs")
        for ignored in ("", "relative"):
            os.environ["XDG_CACHE_HOME"] = ignored
            self.assertEqual(cache_directory(), Path("/home/somebody/.cache/voxrec/rootfs"))

    def test_what_is_there_is_not_built_again(self) -> None:
        root = cache_directory() / ASTERISK_22.key
        root.mkdir(parents=True)
        said: list[str] = []
        self.assertEqual(ensure_rootfs(ASTERISK_22, said.append), root)
        self.assertEqual(said, [])

    def test_a_build_that_fails_leaves_nothing_to_be_taken_for_a_root(self) -> None:
        self.patch(rootfs, "_check_machine", lambda _cache: None)
        self.patch(rootfs._Apt, "mmdebstrap", lambda _self: "false")
        self.patch(rootfs._Apt, "mirror", lambda _self: None)
        self.patch(rootfs._Apt, "network_options", lambda _self: [])
        # What an earlier build left when it was cut off.
        (cache_directory() / f"{ASTERISK_22.key}.building" / "etc").mkdir(parents=True)
        with self.assertRaisesRegex(SandboxError, "could not build"):
            ensure_rootfs(ASTERISK_22, lambda _line: None)
        self.assertEqual([path.name for path in cache_directory().iterdir()], [f"{ASTERISK_22.key}.lock"])


class Obstacles(SynchronousTestCase):
    """Each says what to do."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"XDG_CACHE_HOME": str(Path(self.mktemp()).absolute())})
        self.programs = {"apt-get", "unshare", "newuidmap"}
        self.patch(shutil, "which", lambda name: f"/usr/bin/{name}" if name in self.programs else None)
        self.patch(os, "geteuid", lambda: 1000)

    def says(self, *words: str) -> None:
        fault = self.assertRaises(SandboxError, ensure_rootfs, ASTERISK_22, lambda _line: None)
        for word in words:
            self.assertIn(word, fault.detail)

    def answering(self, code: int) -> Callable[..., subprocess.CompletedProcess[str]]:
        return lambda command, **_: subprocess.CompletedProcess(command, code, "", "")

    def test_not_debian(self) -> None:
        self.programs.remove("apt-get")
        self.says("apt", "VOXREC_ASTERISK=host")

    def test_no_room(self) -> None:
        usage = shutil.disk_usage("/")
        self.patch(shutil, "disk_usage", lambda _path: usage._replace(free=5_000_000))
        self.says("5 MB free", "XDG_CACHE_HOME")

    def test_a_root_that_may_not_mount(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.patch(subprocess, "run", self.answering(1))
        self.says("CAP_SYS_ADMIN", "VOXREC_ASTERISK=host")

    def test_no_user_namespaces(self) -> None:
        self.patch(subprocess, "run", self.answering(1))
        self.says("kernel.unprivileged_userns_clone=1", "build as root")

    def test_no_newuidmap(self) -> None:
        self.patch(subprocess, "run", self.answering(0))
        self.programs.remove("newuidmap")
        self.says("apt-get install uidmap")

    def test_no_range_of_ids(self) -> None:
        self.patch(subprocess, "run", self.answering(0))
        self.patch(os, "getuid", lambda: 987654)
        self.says("/etc/subuid", "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 987654")


class Host(SynchronousTestCase):
    """VOXREC_ASTERISK=host."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"VOXREC_ASTERISK": "host"})
        self.patch(shutil, "which", lambda name: f"/usr/sbin/{name}")

    def asterisk_says(self, answer: str) -> None:
        self.patch(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, answer, ""))

    def test_no_root_file_system_is_needed(self) -> None:
        for answer in ("Asterisk 16.28.0~dfsg-0+deb11u4\n", "Asterisk 22.10.1\n", "Asterisk certified/20.7-cert2\n"):
            self.asterisk_says(answer)
            self.assertIsNone(asterisk_rootfs(lambda _line: None))

    def test_too_old(self) -> None:
        self.asterisk_says("Asterisk 13.38.3\n")
        with self.assertRaisesRegex(SandboxError, "is 13; 16 is needed"):
            asterisk_rootfs(lambda _line: None)

    def test_none_at_all(self) -> None:
        self.patch(shutil, "which", lambda _name: None)
        with self.assertRaisesRegex(SandboxError, "no asterisk on PATH"):
            asterisk_rootfs(lambda _line: None)

    def test_a_word_that_means_nothing(self) -> None:
        os.environ["VOXREC_ASTERISK"] = "docker"
        with self.assertRaisesRegex(SandboxError, "'docker'; it can be 'host'"):
            asterisk_rootfs(lambda _line: None)
