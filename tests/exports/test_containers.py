"""Tests of voxrec.exports.containers, with the programs and modules that read such files."""

import gc
import shutil
import subprocess
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from voxrec.exports import containers
from voxrec.exports.containers import CONTAINERS, Container
from voxrec.model import ExportFormat

TIME = datetime(2026, 11, 23, 19, 31, 12, tzinfo=UTC)
MEMBERS = {"audio/2026-11-23/ä.wav": b"RIFF" * 1000, "empty": b"", f"long/{'x' * 200}": b"1" * 513}


class ContainerTests(SynchronousTestCase):
    def write(self, format_: ExportFormat) -> Path:
        path = Path(self.mktemp())
        container = CONTAINERS[format_](path.open("wb"), ())
        for name, content in MEMBERS.items():
            self.add(container, name, content)
        container.close()
        return path

    def add(self, container: Container, name: str, content: bytes) -> None:
        container.begin(name, len(content), TIME)
        for start in range(0, len(content), 1000):
            container.write(content[start : start + 1000])
        container.end()

    def test_a_file_that_is_continued_after_each_member_is_the_same(self) -> None:
        for format_ in ExportFormat:
            path, index, size = Path(self.mktemp()), list[bytes](), 0
            path.touch()
            for name, content in MEMBERS.items():
                file = path.open("rb+")
                file.truncate(size)
                file.seek(size)
                container = CONTAINERS[format_](file, index)
                self.add(container, name, content)
                index += container.take_index().splitlines(keepends=True)
                file.flush()
                size = file.tell()
                container.begin("interrupted", 10, TIME)
                container.write(b"half")
                container.suspend()
            file = path.open("rb+")
            file.truncate(size)
            file.seek(size)
            CONTAINERS[format_](file, index).close()
            self.assertEqual(path.read_bytes(), self.write(format_).read_bytes(), format_)

    def test_a_suspended_file_is_not_changed_any_more(self) -> None:
        path = Path(self.mktemp())
        container = CONTAINERS[ExportFormat.ZIP](path.open("wb"), ())
        self.add(container, "a", b"1")
        container.suspend()
        size = path.stat().st_size
        del container
        gc.collect()
        self.assertEqual(path.stat().st_size, size)

    def test_zip(self) -> None:
        with zipfile.ZipFile(self.write(ExportFormat.ZIP)) as archive:
            self.assertIsNone(archive.testzip())
            self.assertEqual({name: archive.read(name) for name in archive.namelist()}, MEMBERS)
            self.assertEqual(archive.infolist()[0].date_time, (2026, 11, 23, 19, 31, 12))
            self.assertEqual(archive.infolist()[0].external_attr >> 16, 0o640)

    def test_tar(self) -> None:
        path = self.write(ExportFormat.TAR)
        self.assertEqual(path.stat().st_size % tarfile.RECORDSIZE, 0)
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            contents = {member.name: archive.extractfile(member) for member in members}
            self.assertEqual({name: file.read() for name, file in contents.items() if file}, MEMBERS)
            self.assertEqual((members[0].mtime, members[0].mode), (TIME.timestamp(), 0o640))

    def test_gnu_tar_reads_it(self) -> None:
        command = ["tar", "--list", "--file", str(self.write(ExportFormat.TAR))]
        listed = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - a fixed command
        self.assertEqual((len(listed.stdout.splitlines()), listed.stderr), (3, b""))

    def test_zip64(self) -> None:
        """Larger members need other fields; the limit is lowered, so that these are small."""
        for module in (zipfile, containers):
            self.patch(module, "ZIP64_LIMIT", 1000)
        path = self.write(ExportFormat.ZIP)
        self.assertIn(b"PK\x06\x06", path.read_bytes(), "the ZIP64 end of central directory record")
        with zipfile.ZipFile(path) as archive:
            self.assertEqual({name: archive.read(name) for name in archive.namelist()}, MEMBERS)

    def test_info_zip_reads_it(self) -> None:
        if shutil.which("unzip") is None:
            raise SkipTest("unzip is not installed")
        for limit in (zipfile.ZIP64_LIMIT, 1000):
            for module in (zipfile, containers):
                self.patch(module, "ZIP64_LIMIT", limit)
            command = ["unzip", "-t", str(self.write(ExportFormat.ZIP))]
            tested = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - a fixed command
            self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)
