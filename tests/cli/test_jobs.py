"""``voxrec jobs``, on the daemon's own PostgreSQL."""

from typing import Final
from uuid import UUID, uuid4

from click.testing import Result

from tests.cli.test_token import CommandTestCase
from tests.subtest import subtest

ERROR: Final = "550 [bold]no such user[/bold]; the relay said so at length: " + "and again " * 20


class JobCommands(CommandTestCase):
    group = "jobs"

    def add(self, kind: str = "mail", *, dead: bool = True) -> UUID:
        [(job_id,)] = self.ask(
            f"INSERT INTO jobs (kind, recording_id, dead, attempts, last_error) "  # noqa: S608 - nobody else's values
            f"VALUES ('{kind}', '{uuid4()}', {dead}, 7, '{ERROR.strip()}') RETURNING id::text"
        )
        return UUID(str(job_id))

    def ids(self, *arguments: str) -> list[str]:
        result = self.voxrec("list", *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return [line.split()[0] for line in result.stdout.splitlines()[1:]]

    def refused(self, result: Result, told: str) -> None:
        self.assertNotEqual(result.exit_code, 0)
        self.assertIn(told, result.stderr)

    def state(self, job_id: UUID) -> tuple[object, ...]:
        [row] = self.ask(f"SELECT dead, attempts, due_at <= now() FROM jobs WHERE id = '{job_id}'")  # noqa: S608
        return row

    def test_a_line_for_each_with_all_of_its_reason(self) -> None:
        job_id = self.add()
        lines = self.voxrec("list").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["ID", "STATE", "KIND", "RECORDING", "ATTEMPTS", "DUE", "LAST", "ERROR"])
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[1].split()[:3], [str(job_id), "dead", "mail"])
        self.assertTrue(lines[1].rstrip().endswith(ERROR.strip()))

    def test_filters(self) -> None:
        dead, waiting = str(self.add()), str(self.add("finish", dead=False))
        [(recording_id,)] = self.ask(f"SELECT recording_id::text FROM jobs WHERE id = '{waiting}'")  # noqa: S608
        for arguments, wanted in (
            ((), [waiting, dead]),
            (("--limit", "1"), [waiting]),
            (("--state", "dead"), [dead]),
            (("--state", "dead", "--state", "pending"), [waiting, dead]),
            (("--kind", "finish"), [waiting]),
            (("--recording", str(recording_id)), [waiting]),
            (("--recording", str(recording_id), "--state", "dead"), []),
        ):
            with subtest(arguments):
                self.assertEqual(self.ids(*arguments), wanted)

    def test_one(self) -> None:
        job_id = self.add()
        shown = self.voxrec("show", str(job_id)).stdout
        for told in (str(job_id), "mail", "dead", "7", ERROR.strip()):
            self.assertIn(told, shown)
        self.refused(self.voxrec("show", str(UUID(int=7))), f"There is no job {UUID(int=7)}.")

    def test_some_are_started_again(self) -> None:
        first, second, other = self.add(), self.add("erase"), self.add()
        result = self.voxrec("retry", str(first), str(second))
        self.assertEqual((result.exit_code, result.stdout), (0, "2 jobs are due now\n"))
        for job_id, wanted in ((first, (False, 0, True)), (second, (False, 0, True)), (other, (True, 7, True))):
            self.assertEqual(self.state(job_id), wanted)
        self.assertEqual(
            self.ask("SELECT method, path, kind, target_id::text, outcome FROM audit ORDER BY created_at"),
            [("COMMAND", "voxrec jobs retry", "job", str(one), "done") for one in (first, second)],
        )

    def test_all_that_are_dead(self) -> None:
        dead, waiting = [self.add(), self.add("finish")], self.add(dead=False)
        self.assertEqual(self.voxrec("retry", "--dead").stdout, "2 jobs are due now\n")
        self.assertEqual([self.state(one)[:2] for one in (*dead, waiting)], [(False, 0), (False, 0), (False, 7)])
        self.assertEqual(self.voxrec("retry", "--dead").stdout, "0 jobs are due now\n")

    def test_all_or_none(self) -> None:
        dead = self.add()
        self.refused(self.voxrec("retry", str(dead), str(UUID(int=7))), f"There is no job {UUID(int=7)}.")
        self.assertEqual(self.state(dead)[:2], (True, 7))
        self.assertEqual(self.ask("SELECT count(*) FROM audit"), [(0,)])

    def test_nonsense(self) -> None:
        for arguments, told in (
            (("retry",), "Name jobs, or give --dead."),
            (("retry", "--dead", str(UUID(int=7))), "Name jobs, or give --dead."),
            (("retry", "all"), "[ID]..."),
            (("list", "--state", "done"), "'--state'"),
            (("list", "--kind", "x"), "'--kind'"),
            (("list", "--limit", "0"), "'--limit'"),
        ):
            with subtest(arguments):
                self.refused(self.voxrec(*arguments), told)
