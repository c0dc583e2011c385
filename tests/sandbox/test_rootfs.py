"""Tests of voxrec.sandbox.rootfs without a build: commands, cache and error messages."""

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
    free_subordinate_ids,
)


class RecipeTests(SynchronousTestCase):
    def test_the_key_is_stable_and_readable(self) -> None:
        self.assertRegex(ASTERISK_22.key, r"^asterisk-22-[0-9a-f]{12}$")
        self.assertEqual(ASTERISK_22.key, Recipe("asterisk-22", "sid", ASTERISK_22.packages).key)

    def test_every_change_of_contents_changes_the_key(self) -> None:
        others = [
            replace(ASTERISK_22, suite="forky"),
            replace(ASTERISK_22, packages=("asterisk",)),
            replace(ASTERISK_22, commands="true"),
            ASTERISK_16,
        ]
        self.assertEqual(len({ASTERISK_22.key, *(other.key for other in others)}), 5)


class BootstrapCommandTests(SynchronousTestCase):
    def command(self, uid: int = 0, mirror: str | None = "http://mirror.example/debian") -> list[str]:
        self.patch(os, "geteuid", lambda: uid)
        return bootstrap_command("mmdebstrap", ASTERISK_16, mirror, ['Acquire::http::Proxy "http://proxy.example";'])

    def test_the_complete_command(self) -> None:
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

    def test_commands_are_run_in_the_root_and_do_not_write_to_the_archive(self) -> None:
        root = Path(self.mktemp())
        (root / "bin").mkdir(parents=True)
        recipe = replace(ASTERISK_16, commands='echo "it\'s" $PWD\necho done')
        (hook,) = (
            option.partition("=")[2]
            for option in bootstrap_command("mmdebstrap", recipe, None, [])
            if option.startswith("--customize-hook=")
        )
        chroot = root / "bin" / "chroot"  # shows where the commands would run, and runs them here
        chroot.write_text('#!/bin/sh\necho "in $1"; shift; exec "$@"\n')
        chroot.chmod(0o755)
        done = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", hook, "hook", "/target"],
            env={"PATH": f"{chroot.parent.absolute()}:{os.environ['PATH']}", "PWD": "/"},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual((done.stdout, done.stderr), ("", "in /target\nit's /\ndone\n"))

    def test_an_unprivileged_user_builds_in_a_user_namespace(self) -> None:
        self.assertIn("--mode=unshare", self.command(uid=1000))

    def test_without_a_mirror_mmdebstrap_uses_its_default(self) -> None:
        self.assertEqual(self.command(mirror=None)[-1], "-")

    def test_the_mirror_is_the_one_with_origin_and_label_debian(self) -> None:
        targets = (
            "http://other.example/|Other|Other\n"
            "http://security.example/|Debian|Debian-Security\n"
            "http://backports.example/|Debian Backports|Debian Backports\n"
            "http://mirror.example/debian/|Debian|Debian\n"
        )
        self.assertEqual(debian_mirror(targets), "http://mirror.example/debian/")

    def test_empty_package_lists_have_no_mirror(self) -> None:
        self.assertIsNone(debian_mirror(""))
        self.assertIsNone(debian_mirror("http://mirror.example/debian/||\n"))


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cache = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {"XDG_CACHE_HOME": str(self.cache), "HOME": "/home/user"})

    def test_the_cache_directory_follows_the_xdg_specification(self) -> None:
        self.assertEqual(cache_directory(), self.cache / "voxrec" / "rootfs")
        for ignored in ("", "relative"):
            os.environ["XDG_CACHE_HOME"] = ignored
            self.assertEqual(cache_directory(), Path("/home/user/.cache/voxrec/rootfs"))

    def test_an_existing_root_is_not_rebuilt(self) -> None:
        root = cache_directory() / ASTERISK_22.key
        root.mkdir(parents=True)
        progress: list[str] = []
        self.assertEqual(ensure_rootfs(ASTERISK_22, progress.append), root)
        self.assertEqual(progress, [])

    def test_a_failed_build_leaves_no_root(self) -> None:
        self.patch(rootfs, "_check_host", lambda _cache: None)
        self.patch(rootfs._Apt, "mmdebstrap", lambda _self: "false")
        self.patch(rootfs._Apt, "mirror", lambda _self: None)
        self.patch(rootfs._Apt, "network_options", lambda _self: [])
        # The remains of an interrupted build.
        (cache_directory() / f"{ASTERISK_22.key}.building" / "etc").mkdir(parents=True)
        with self.assertRaisesRegex(SandboxError, "could not build"):
            ensure_rootfs(ASTERISK_22, lambda _line: None)
        self.assertEqual([path.name for path in cache_directory().iterdir()], [f"{ASTERISK_22.key}.lock"])


class ErrorMessageTests(SynchronousTestCase):
    """Each error message names the remedy."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"XDG_CACHE_HOME": str(Path(self.mktemp()).absolute())})
        self.programs = {"apt-get", "unshare", "newuidmap"}
        self.patch(shutil, "which", lambda name: f"/usr/bin/{name}" if name in self.programs else None)
        self.patch(os, "geteuid", lambda: 1000)

    def assert_error_mentions(self, *words: str) -> None:
        error = self.assertRaises(SandboxError, ensure_rootfs, ASTERISK_22, lambda _line: None)
        for word in words:
            self.assertIn(word, error.detail)

    def runner_returning(self, code: int) -> Callable[..., subprocess.CompletedProcess[str]]:
        return lambda command, **_: subprocess.CompletedProcess(command, code, "", "")

    def test_a_host_without_apt(self) -> None:
        self.programs.remove("apt-get")
        self.assert_error_mentions("apt", "VOXREC_ASTERISK=host")

    def test_too_little_free_space(self) -> None:
        usage = shutil.disk_usage("/")
        self.patch(shutil, "disk_usage", lambda _path: usage._replace(free=5_000_000))
        self.assert_error_mentions("5 MB free", "XDG_CACHE_HOME")

    def test_root_without_permission_to_mount(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.patch(subprocess, "run", self.runner_returning(1))
        self.assert_error_mentions("CAP_SYS_ADMIN", "VOXREC_ASTERISK=host")

    def test_no_user_namespaces(self) -> None:
        self.patch(subprocess, "run", self.runner_returning(1))
        self.assert_error_mentions("kernel.unprivileged_userns_clone=1", "build as root")

    def test_no_newuidmap(self) -> None:
        self.patch(subprocess, "run", self.runner_returning(0))
        self.programs.remove("newuidmap")
        self.assert_error_mentions("apt-get install uidmap")

    def test_no_range_of_subordinate_ids(self) -> None:
        self.patch(subprocess, "run", self.runner_returning(0))
        self.patch(os, "getuid", lambda: 987654)
        ranges = [free_subordinate_ids(Path(f"/etc/{name}")) for name in ("subuid", "subgid")]
        self.assert_error_mentions(
            "/etc/subuid", "run as root: usermod --add-subuids {} --add-subgids {} 987654".format(*ranges)
        )

    def test_the_range_that_is_proposed_belongs_to_no_other_user(self) -> None:
        table = Path(self.mktemp())
        self.assertEqual(free_subordinate_ids(table), "100000-165535")
        table.write_text("ann:100000:65536\nbob:231072:10\neve:165536:65536\nnonsense\n")
        self.assertEqual(free_subordinate_ids(table), "231082-296617")


class HostAsteriskTests(SynchronousTestCase):
    """Tests of VOXREC_ASTERISK=host."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"VOXREC_ASTERISK": "host"})
        self.patch(shutil, "which", lambda name: f"/usr/sbin/{name}")

    def set_asterisk_version(self, output: str) -> None:
        self.patch(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, output, ""))

    def test_no_root_file_system_is_needed(self) -> None:
        for output in ("Asterisk 16.28.0~dfsg-0+deb11u4\n", "Asterisk 22.10.1\n", "Asterisk certified/20.7-cert2\n"):
            self.set_asterisk_version(output)
            self.assertIsNone(asterisk_rootfs(lambda _line: None))

    def test_a_version_that_is_too_old(self) -> None:
        self.set_asterisk_version("Asterisk 13.38.3\n")
        with self.assertRaisesRegex(SandboxError, "is 13; 16 is the oldest supported"):
            asterisk_rootfs(lambda _line: None)

    def test_no_asterisk_on_path(self) -> None:
        self.patch(shutil, "which", lambda _name: None)
        with self.assertRaisesRegex(SandboxError, "no asterisk on PATH"):
            asterisk_rootfs(lambda _line: None)

    def test_an_invalid_value_of_the_variable(self) -> None:
        os.environ["VOXREC_ASTERISK"] = "docker"
        with self.assertRaisesRegex(SandboxError, "'docker'; set it to 'host' or to the absolute path"):
            asterisk_rootfs(lambda _line: None)


class OwnRootTests(SynchronousTestCase):
    """Tests of VOXREC_ASTERISK=/path."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        for name in ("usr/sbin", "usr/bin", "dev", "etc", "mnt", "proc", "run", "tmp"):
            (self.root / name).mkdir(parents=True)
        for name in ("usr/sbin/asterisk", "usr/bin/sipp", "etc/hosts", "etc/resolv.conf"):
            (self.root / name).touch()
        self.patch(os, "environ", {"VOXREC_ASTERISK": str(self.root)})

    def test_it_is_used_for_all_recipes(self) -> None:
        for recipe in (ASTERISK_22, ASTERISK_16):
            self.assertEqual(asterisk_rootfs(lambda _line: None, recipe), self.root)

    def test_what_is_missing_is_named(self) -> None:
        (self.root / "usr/bin/sipp").unlink()
        (self.root / "etc/resolv.conf").unlink()
        with self.assertRaisesRegex(SandboxError, r"VOXREC_ASTERISK=.* lacks usr/bin/sipp, etc/resolv.conf$"):
            asterisk_rootfs(lambda _line: None)
