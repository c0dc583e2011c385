"""Tests of ``voxrec nodes``, with a real PostgreSQL, a real journal, and real files."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import soundfile
import yaml
from click.testing import Result

from tests.audio.fixtures import tone
from tests.cli.command_test_case import CommandTestCase
from tests.store.samples import later, recording
from voxrec.config import parse
from voxrec.doctor.nodes import check_nodes
from voxrec.journal.segments import Segments
from voxrec.model import Recording, RecordingState, Side, leg_name
from voxrec.nodes.spool_id import read_or_create_spool_id
from voxrec.postgres.blocking_database import blocking_transaction, run_to_completion
from voxrec.store.recordings import Recordings


class NodesTestCase(CommandTestCase):
    group = "nodes"

    def setUp(self) -> None:
        super().setUp()
        self.spool, self.journal = self.data_directory / "berlin-spool", self.data_directory / "berlin-journal"
        self.archive = self.data_directory / "archive"
        for directory in (self.spool, self.journal, self.archive):
            directory.mkdir()
        self.add_node("berlin", read_or_create_spool_id(self.spool))

    def add_node(self, name: str, spool_id: UUID | None, *, alive: bool = False) -> None:
        age = "0 s" if alive else "7 s"
        self.query(
            f"INSERT INTO nodes (name, instance, spool_id, heartbeat_at) VALUES "  # noqa: S608 - values of this test
            f"('{name}', '{uuid4()}', '{spool_id}', now() - interval '{age}') RETURNING 1"
        )

    def store(self, **fields: Any) -> Recording:
        stored = recording(**{"id": uuid4(), "node": "berlin", "state": RecordingState.RECORDING, **fields})
        with blocking_transaction(self.dsn) as database:
            run_to_completion(Recordings(database).record(stored))
        return stored

    def write_legs(self, recording_id: UUID, directory: Path | None = None) -> None:
        for side, hertz in ((Side.CALLER, 440), (Side.CALLEE, 880)):
            path = (directory or self.spool) / f"{leg_name(recording_id, side)}.wav"
            soundfile.write(path, tone(hertz, 3), 8000, subtype="PCM_16")

    def write_journal(self, *snapshots: Recording) -> None:
        segments = Segments(self.journal)
        segments.open()
        segments.append(b"".join(msgspec.json.encode(snapshot) + b"\n" for snapshot in snapshots))
        segments.close()

    def state(self, recording_id: UUID) -> tuple[str, Mapping[str, Any] | None]:
        [(state, verdict)] = self.query(f"SELECT state, verdict FROM recordings WHERE id = '{recording_id}'")  # noqa: S608
        return str(state), verdict  # type: ignore[return-value]

    def open_jobs(self) -> list[Any]:
        return [kind for (kind,) in self.query("SELECT kind FROM jobs WHERE done_at IS NULL AND kind <> 'mail'")]

    def adopt(self, spool: Path | None = None) -> Result:
        return self.voxrec("adopt", "berlin", "--spool", str(spool or self.spool), "--journal", str(self.journal))

    def assert_fails(self, result: Result, message: str) -> None:
        self.assertNotEqual(result.exit_code, 0)
        self.assertIn(message, result.output)


class NodesCommandTests(NodesTestCase):
    def test_list(self) -> None:
        self.store(state=RecordingState.PROCESSING)
        lines = self.voxrec("list").output.splitlines()
        self.assertEqual(lines[1].split()[:4], ["berlin", "unreachable", "0", "1"])

    def test_adopt_finishes_the_recordings_of_the_node(self) -> None:
        live, ended = self.store(), self.store(state=RecordingState.PROCESSING, ended_at=later(3))
        in_journal = recording(
            id=uuid4(), state=RecordingState.PROCESSING, started_at=later(0), ended_at=later(3), node=None
        )
        self.write_journal(in_journal)
        for each in (live, ended, in_journal):
            self.write_legs(each.id)
        result = self.adopt()
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("3 jobs of berlin are done", result.output)
        for each in (live, ended, in_journal):
            self.assertEqual(self.state(each.id)[0], "completed")
        self.assertEqual(self.open_jobs(), [])
        self.assertEqual([path.name for path in self.spool.glob("voxrec-*")], [])
        self.assertEqual(len(list(self.archive.rglob("*.wav"))), 3)
        self.assertEqual(self.query("SELECT name FROM nodes"), [])
        self.assert_fails(self.adopt(), "There is no node berlin")

    def test_an_adoption_with_failures_is_repeated(self) -> None:
        ended = self.store(state=RecordingState.PROCESSING, ended_at=later(3))
        self.write_legs(ended.id)
        self.archive.rename(self.data_directory / "away")
        self.archive.mkdir()
        self.archive.chmod(0o500)
        if os.geteuid() == 0:  # root may write everywhere: let the work directory be a file
            (self.archive / ".work").touch()
        self.assert_fails(self.adopt(), "1 jobs failed")
        self.assertEqual(self.state(ended.id)[0], "processing")
        self.assertEqual(self.query("SELECT name FROM nodes"), [("berlin",)])
        shutil.rmtree(self.archive)
        self.archive.mkdir()
        self.assertEqual(self.adopt().exit_code, 0)
        self.assertEqual(self.state(ended.id)[0], "completed")

    def test_adopt_erases_what_was_deleted(self) -> None:
        deleted = self.store(state=RecordingState.PROCESSING)
        self.write_legs(deleted.id)
        with blocking_transaction(self.dsn) as database:
            run_to_completion(Recordings(database).delete(deleted.id))
        self.assertEqual(self.adopt().exit_code, 0)
        self.assertEqual([path.name for path in self.spool.glob("voxrec-*")], [])

    def test_adopt_requires_the_disk_of_the_node(self) -> None:
        live = self.store()
        other = self.data_directory / "other"
        other.mkdir()
        self.assert_fails(self.adopt(other), "is not the recording directory of node berlin")
        self.assertEqual(self.state(live.id)[0], "recording")

    def test_a_running_node_is_not_changed(self) -> None:
        live = self.store()
        self.query("UPDATE nodes SET heartbeat_at = now() RETURNING 1")
        for result in (
            self.adopt(),
            self.voxrec("mark-lost", "berlin", "--yes"),
            self.voxrec("rename", "berlin", "munich"),
        ):
            self.assert_fails(result, "Node berlin is running")
        self.assertEqual(self.state(live.id)[0], "recording")

    def test_adopt_while_the_journal_is_in_use(self) -> None:
        segments = Segments(self.journal)
        segments.open()
        self.addCleanup(segments.close)
        self.assert_fails(self.adopt(), "is in use by another voxrec process")

    def test_a_lost_node_fails_its_open_recordings_and_no_others(self) -> None:
        live, ended = self.store(), self.store(state=RecordingState.PROCESSING)
        of_other = self.store(node="munich")
        result = self.voxrec("mark-lost", "berlin", "--yes")
        self.assertIn("2 recordings have failed (node-lost)", result.output)
        for each in (live, ended):
            state, verdict = self.state(each.id)
            assert verdict is not None
            self.assertEqual((state, verdict["reasons"]), ("failed", ["node-lost"]))
        self.assertEqual(self.state(of_other.id)[0], "recording")
        self.assertEqual(self.open_jobs(), [])
        events = self.query("SELECT type FROM events WHERE type = 'recording.failed'")
        self.assertEqual(len(events), 2)
        self.assertIn(" lost ", self.voxrec("list").output)

    def test_mark_lost_asks(self) -> None:
        live = self.store()
        self.assertNotEqual(self.voxrec("mark-lost", "berlin").exit_code, 0)
        self.assertEqual(self.state(live.id)[0], "recording")

    def test_a_disk_that_is_found_after_all(self) -> None:
        found, gone = self.store(), self.store()
        self.voxrec("mark-lost", "berlin", "--yes")
        self.write_legs(found.id)
        result = self.adopt()
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(self.state(found.id)[0], "completed")
        self.assertEqual(self.state(gone.id)[0], "failed")

    def start_with_new_disk(self) -> None:
        self.query(f"UPDATE nodes SET new_spool_since = '{later(30)}' RETURNING 1")  # noqa: S608

    def test_what_was_recorded_on_a_new_disk_is_not_lost(self) -> None:
        """The node was started with another disk, which it does not use before the former one is given up."""
        old = [self.store(), self.store(state=RecordingState.PROCESSING, ended_at=later(3))]
        self.start_with_new_disk()
        live = self.store(created_at=later(60))
        ended = self.store(state=RecordingState.PROCESSING, created_at=later(60), ended_at=later(63))
        self.assertEqual(self.voxrec("mark-lost", "berlin", "--yes").exit_code, 0)
        self.assertEqual([self.state(each.id)[0] for each in old], ["failed", "failed"])
        self.assertEqual([self.state(each.id)[0] for each in (live, ended)], ["recording", "processing"])
        self.assertEqual(self.query("SELECT recording_id FROM jobs WHERE done_at IS NULL"), [(ended.id,)])
        self.assertEqual(self.query("SELECT spool_id, new_spool_since FROM nodes"), [(None, None)])

    def test_the_former_disk_of_a_node_with_a_new_one_is_adopted(self) -> None:
        """What is on the new disk waits for the node, which continues with that disk."""
        old = self.store(state=RecordingState.PROCESSING, ended_at=later(3))
        self.write_legs(old.id)
        self.start_with_new_disk()
        live = self.store(created_at=later(60))
        ended = self.store(state=RecordingState.PROCESSING, created_at=later(60), ended_at=later(63))
        self.assert_fails(self.adopt(), "it was recorded on the disk that node berlin has had since")
        self.assertEqual(self.state(old.id)[0], "completed")
        self.assertEqual([self.state(each.id)[0] for each in (live, ended)], ["recording", "processing"])
        self.assertEqual(self.query("SELECT spool_id, new_spool_since FROM nodes"), [(None, None)])

    def test_rename(self) -> None:
        ended = self.store(state=RecordingState.PROCESSING)
        result = self.voxrec("rename", "berlin", "pbx-1.example")
        self.assertEqual(result.exit_code, 0, result.output)
        nodes = self.query(f"SELECT node FROM recordings WHERE id = '{ended.id}' UNION SELECT node FROM jobs")  # noqa: S608
        self.assertEqual(nodes, [("pbx-1.example",)])
        self.assertEqual(self.query("SELECT name FROM nodes"), [("pbx-1.example",)])

    def test_rename_to_a_node_that_runs_already(self) -> None:
        self.store(state=RecordingState.PROCESSING)
        self.add_node("munich", read_or_create_spool_id(self.spool), alive=True)
        self.assertEqual(self.voxrec("rename", "berlin", "munich").exit_code, 0)
        self.assertEqual(self.query("SELECT name FROM nodes"), [("munich",)])
        self.add_node("hamburg", uuid4())
        self.assert_fails(self.voxrec("rename", "hamburg", "munich"), "has another recording directory")

    def test_invalid_names(self) -> None:
        self.assert_fails(self.voxrec("rename", "berlin", "a b"), "expected 1 to 64 letters")
        for command in (("rename", "nowhere", "b"), ("mark-lost", "nowhere", "--yes")):
            self.assert_fails(self.voxrec(*command), "There is no node nowhere")


class DoctorTests(NodesTestCase):
    def findings(self, name: str = "berlin", spool: Path | None = None) -> list[tuple[str, str]]:
        settings = {
            "data_directory": str(self.data_directory),
            "node": {"name": name},
            "asterisk": {"recordings": str(spool or self.spool)},
        }
        config = parse(yaml.safe_dump(settings))
        return [(finding.status.value, finding.detail) for finding in check_nodes(config)]

    def test_a_stopped_node(self) -> None:
        self.assertEqual(self.findings(), [("ok", "berlin is unreachable; nodes that use this database: 1")])

    def test_a_renamed_node_and_work_that_waits(self) -> None:
        self.store(state=RecordingState.PROCESSING)
        self.assertEqual(
            self.findings("munich"),
            [
                ("failed", "munich was berlin before, and its work waits under that name"),
                ("warning", "is unreachable, and 1 jobs wait for it"),
            ],
        )

    def test_a_problem_that_the_node_reports(self) -> None:
        self.query("""UPDATE nodes SET heartbeat_at = now(), status = '{"problem": "has another disk"}' RETURNING 1""")
        self.assertEqual(self.findings(), [("failed", "berlin has another disk")])
