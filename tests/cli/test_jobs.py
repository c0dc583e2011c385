"""Tests of ``voxrec jobs``."""

from typing import Final
from uuid import UUID, uuid4

from click.testing import Result

from tests.cli.command_test_case import CommandTestCase
from tests.subtest import subtest

ERROR: Final = "550 [bold]no such user[/bold]; a long reply of the relay: " + "and more " * 20


class JobCommandTests(CommandTestCase):
    group = "jobs"

    def add_job(self, kind: str = "mail", *, dead: bool = True) -> UUID:
        [(job_id,)] = self.query(
            f"INSERT INTO jobs (kind, recording_id, dead, attempts, last_error) "  # noqa: S608 - only values of this test
            f"VALUES ('{kind}', '{uuid4()}', {dead}, 7, '{ERROR.strip()}') RETURNING id::text"
        )
        return UUID(str(job_id))

    def list_ids(self, *arguments: str) -> list[str]:
        result = self.voxrec("list", *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return [line.split()[0] for line in result.stdout.splitlines()[1:]]

    def assert_fails(self, result: Result, message: str) -> None:
        self.assertNotEqual(result.exit_code, 0)
        self.assertIn(message, result.stderr)

    def state(self, job_id: UUID) -> tuple[object, ...]:
        [row] = self.query(f"SELECT dead, attempts, due_at <= now() FROM jobs WHERE id = '{job_id}'")  # noqa: S608
        return row

    def test_list_shows_each_job_in_one_line_with_its_whole_error(self) -> None:
        job_id = self.add_job()
        lines = self.voxrec("list").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["ID", "STATE", "KIND", "RECORDING", "ATTEMPTS", "DUE", "LAST", "ERROR"])
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[1].split()[:3], [str(job_id), "dead", "mail"])
        self.assertTrue(lines[1].rstrip().endswith(ERROR.strip()))

    def test_list_filters(self) -> None:
        dead, waiting = str(self.add_job()), str(self.add_job("finish", dead=False))
        [(recording_id,)] = self.query(f"SELECT recording_id::text FROM jobs WHERE id = '{waiting}'")  # noqa: S608
        for arguments, expected in (
            ((), [waiting, dead]),
            (("--limit", "1"), [waiting]),
            (("--state", "dead"), [dead]),
            (("--state", "dead", "--state", "pending"), [waiting, dead]),
            (("--kind", "finish"), [waiting]),
            (("--recording", str(recording_id)), [waiting]),
            (("--recording", str(recording_id), "--state", "dead"), []),
        ):
            with subtest(arguments):
                self.assertEqual(self.list_ids(*arguments), expected)

    def test_show(self) -> None:
        job_id = self.add_job()
        output = self.voxrec("show", str(job_id)).stdout
        for text in (str(job_id), "mail", "dead", "7", ERROR.strip()):
            self.assertIn(text, output)
        self.assert_fails(self.voxrec("show", str(UUID(int=7))), f"There is no job {UUID(int=7)}.")

    def test_retry_restarts_the_given_jobs(self) -> None:
        first, second, other = self.add_job(), self.add_job("erase"), self.add_job()
        result = self.voxrec("retry", str(first), str(second))
        self.assertEqual((result.exit_code, result.stdout), (0, "2 jobs are due now\n"))
        for job_id, expected in ((first, (False, 0, True)), (second, (False, 0, True)), (other, (True, 7, True))):
            self.assertEqual(self.state(job_id), expected)
        self.assertEqual(
            self.audit_entries(),
            [("COMMAND", "voxrec jobs retry", "job", str(job_id), "done") for job_id in (first, second)],
        )

    def test_retry_restarts_all_dead_jobs(self) -> None:
        dead, waiting = [self.add_job(), self.add_job("finish")], self.add_job(dead=False)
        self.assertEqual(self.voxrec("retry", "--dead").stdout, "2 jobs are due now\n")
        self.assertEqual([self.state(job_id)[:2] for job_id in (*dead, waiting)], [(False, 0), (False, 0), (False, 7)])
        self.assertEqual(self.voxrec("retry", "--dead").stdout, "0 jobs are due now\n")

    def test_unconfirmed_jobs_are_confirmed_and_not_retried_with_the_dead_ones(self) -> None:
        unconfirmed, dead = self.add_job(), self.add_job()
        self.query(f"UPDATE jobs SET unconfirmed = TRUE WHERE id = '{unconfirmed}' RETURNING id")  # noqa: S608
        self.assertEqual(self.list_ids("--state", "unconfirmed"), [str(unconfirmed)])
        self.assertEqual(self.voxrec("retry", "--dead").stdout, "1 job is due now\n")
        self.assert_fails(self.voxrec("confirm", str(dead)), "only an unconfirmed job can be set to done")
        result = self.voxrec("confirm", str(unconfirmed))
        self.assertEqual((result.exit_code, result.stdout), (0, "1 job is done\n"))
        self.assertEqual(self.list_ids("--state", "unconfirmed"), [])
        self.assertIn(("COMMAND", "voxrec jobs confirm", "job", str(unconfirmed), "done"), self.audit_entries())

    def test_retry_restarts_nothing_if_a_job_does_not_exist(self) -> None:
        dead = self.add_job()
        self.assert_fails(self.voxrec("retry", str(dead), str(UUID(int=7))), f"There is no job {UUID(int=7)}.")
        self.assertEqual(self.state(dead)[:2], (True, 7))
        self.assertEqual(self.query("SELECT count(*) FROM audit"), [(0,)])

    def test_invalid_arguments(self) -> None:
        for arguments, message in (
            (("retry",), "Pass either job IDs or --dead."),
            (("retry", "--dead", str(UUID(int=7))), "Pass either job IDs or --dead."),
            (("retry", "all"), "[ID]..."),
            (("confirm",), "ID..."),
            (("list", "--state", "done"), "'--state'"),
            (("list", "--kind", "x"), "'--kind'"),
            (("list", "--limit", "0"), "'--limit'"),
        ):
            with subtest(arguments):
                self.assert_fails(self.voxrec(*arguments), message)
