"""Tests of etc/asterisk/build-without-opus-plc, with programs of Debian that do no work; a real build takes minutes."""

import os
import subprocess
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.asterisk import snippets_directory
from voxrec.sandbox.rebuilt_asterisk import rebuilt_asterisk_22

BUILT: Final = "22.10.1+dfsg-1+0noplc1_all.deb"
PROGRAMS: Final = {
    "id": 'echo "${USER_ID:-0}"',
    "apt-get": """
        echo "$*" >> "$LOG"
        case "$*" in
            source*) [ -z "${NO_SOURCES:-}" ] || { echo "E: You must put some 'deb-src' URIs" >&2; exit 100; }
                touch asterisk_22.dsc ;;
        esac""",
    "dpkg-source": """
        mkdir -p asterisk-22/debian/patches
        printf '%s\\n' 2015_other.patch $PATCH 2017_other.patch > asterisk-22/debian/patches/series
        echo "asterisk (1:22.10.1+dfsg-1) unstable; urgency=medium (low)" > asterisk-22/debian/changelog""",
    "dpkg-buildpackage": """
        cp debian/patches/series "$LOG.series"
        version=$(sed -n '1s/.*:\\(.*\\)) unstable.*/\\1/p' debian/changelog)
        for name in asterisk asterisk-config asterisk-modules asterisk-doc; do
            touch "../${name}_${version}_all.deb"
        done
        [ -z "${FAILS:-}" ]""",
}


class BuildTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.packages, self.log = self.root / "my packages", self.root / "log"
        (self.root / "bin").mkdir(parents=True)
        for name, script in PROGRAMS.items():
            program = self.root / "bin" / name
            program.write_text(f"#!/bin/sh\nset -eu\n{script}\n")
            program.chmod(0o755)

    def build(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run the script; return the exit status and the last line that it has written to standard error."""
        done = subprocess.run(  # noqa: S603
            ["/bin/sh", str(snippets_directory() / "build-without-opus-plc"), *arguments],
            cwd=self.root,
            env={
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
                "LOG": str(self.log),
                "PATCH": "2016_opus_plc.patch",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stderr.splitlines() or [""])[-1]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.packages.iterdir())

    def test_packages_without_the_patch(self) -> None:
        (self.packages / "build").mkdir(parents=True)
        (self.packages / "asterisk-modules_22.9.0+dfsg-1+0noplc1_amd64.deb").touch()
        for _ in range(2):
            self.assertEqual(self.build("my packages"), (0, ""))
            self.assertEqual(
                self.names(), [f"asterisk-config_{BUILT}", f"asterisk-modules_{BUILT}", f"asterisk_{BUILT}", "build"]
            )
        series = self.log.with_name("log.series").read_text()
        self.assertEqual(series, "2015_other.patch\n2017_other.patch\n")

    def test_failures(self) -> None:
        for arguments, environment, message in (
            ((), {}, "usage: build-without-opus-plc DIRECTORY"),
            (("a", "b"), {}, "usage: build-without-opus-plc DIRECTORY"),
            (("my packages",), {"USER_ID": "1000"}, "must be run as root"),
            (("my packages",), {"NO_SOURCES": "1"}, "add deb-src to the types"),
            (("my packages",), {"PATCH": ""}, "does not have the patch"),
        ):
            status, error = self.build(*arguments, **environment)
            self.assertEqual(status, 1)
            self.assertIn(message, error)
        self.assertNotIn("build-dep", self.log.read_text())

    def test_a_failed_build_can_be_repeated(self) -> None:
        self.assertEqual(self.build("my packages", FAILS="1")[0], 1)
        self.assertEqual(self.names(), ["asterisk-build"])
        self.assertEqual(self.build("my packages"), (0, ""))
        self.assertNotIn("asterisk-build", self.names())

    def test_recipe_has_the_script(self) -> None:
        self.assertIn("dpkg-buildpackage", rebuilt_asterisk_22().commands)
