"""Tests of voxrec.store.jobs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from msgspec.structs import replace
from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase, reactor, until
from tests.store.samples import recording
from voxrec.errors import Conflict, NotFound
from voxrec.model import Job, JobKind, JobState, RecordingState
from voxrec.postgres.listener import JOBS_CHANNEL, Listener
from voxrec.postgres.pool import Pool
from voxrec.store.deliveries import Deliveries, DeliveryState
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.store.recordings import Recordings

MINUTE = timedelta(minutes=1)
EXPIRED = timedelta(seconds=-1)  # the time of a lease that has expired already
BOTH = (JobKind.FINISH, JobKind.MAIL)


class JobsTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.jobs = Jobs(self.pool)

    async def enqueue_kinds(self, *kinds: JobKind, of: UUID | None = None) -> UUID:
        recording_id = of or uuid4()
        await self.enqueue(*((kind, recording_id) for kind in kinds))
        return recording_id

    async def claim(self, kinds: Sequence[JobKind] = BOTH, lease: timedelta = MINUTE) -> Job:
        ((job,), _) = await self.jobs.claim(kinds, lease)
        return job

    async def next_due(self, kinds: Sequence[JobKind] = BOTH) -> datetime | None:
        """Claim nothing, and return when the next job is due."""
        jobs, due = await self.jobs.claim(kinds, MINUTE)
        self.assertEqual(jobs, [])
        return due

    async def test_claim_and_mark_done(self) -> None:
        recording_id = await self.enqueue_kinds(JobKind.FINISH)
        job = await self.claim()
        self.assertEqual((job.kind, job.recording_id, job.attempts), (JobKind.FINISH, recording_id, 1))
        self.assertIsNotNone(await self.next_due())
        self.assertTrue(await self.jobs.extend_lease(job, MINUTE))
        self.assertTrue(await self.jobs.mark_done(job))
        self.assertFalse(await self.jobs.mark_done(job))
        self.assertEqual(await self.jobs.page(), [])
        self.assertIsNone(await self.next_due())

    async def test_done_job_is_not_enqueued_again(self) -> None:
        recording_id = await self.enqueue_kinds(JobKind.FINISH)
        await self.jobs.mark_done(await self.claim())
        await self.enqueue(*((kind, recording_id) for kind in BOTH))
        self.assertEqual((await self.claim()).kind, JobKind.MAIL)
        self.assertEqual((await self.jobs.claim(BOTH, MINUTE)).jobs, [])

    async def test_only_requested_kinds_are_claimed(self) -> None:
        await self.enqueue_kinds(JobKind.FINISH)
        self.assertIsNone(await self.next_due([JobKind.MAIL]))
        self.assertEqual((await self.claim([JobKind.FINISH])).kind, JobKind.FINISH)

    async def test_two_daemons_claim_different_jobs(self) -> None:
        for _ in range(20):
            await self.enqueue_kinds(JobKind.FINISH)
        other_pool = Pool(reactor, self.dsn, size=4)
        other_pool.startService()
        others = Jobs(other_pool)
        claims = [
            Deferred.fromCoroutine(queue.claim(BOTH, MINUTE, limit))
            for limit in (1, 2, 3, 7)
            for queue in (self.jobs, others)
        ]
        claimed = [job for jobs, _ in await gatherResults(claims) for job in jobs]
        self.assertEqual(len({job.id for job in claimed}), len(claimed))
        self.assertEqual(len(claimed), 20)
        await other_pool.stopService()

    async def test_oldest_jobs_first_up_to_the_limit(self) -> None:
        recording_ids = [await self.enqueue_kinds(JobKind.FINISH) for _ in range(4)]
        jobs, due = await self.jobs.claim(BOTH, MINUTE, 3)
        self.assertEqual(([job.recording_id for job in jobs], due), (recording_ids[:3], None))
        jobs, due = await self.jobs.claim(BOTH, MINUTE, 3)
        self.assertEqual([job.recording_id for job in jobs], recording_ids[3:])
        assert due is not None  # when a lease ends
        self.assertTrue(50 < (due - datetime.now(UTC)).total_seconds() <= 60)

    async def test_locked_jobs_are_skipped(self) -> None:
        await self.enqueue_kinds(JobKind.FINISH)
        second = await self.enqueue_kinds(JobKind.FINISH)
        end: Deferred[None] = Deferred()

        async def work(transaction: object) -> None:
            await transaction.query("SELECT id FROM jobs ORDER BY due_at LIMIT 1 FOR UPDATE")  # type: ignore[attr-defined]
            await end

        slow = Deferred.fromCoroutine(self.pool.transaction(work))
        self.assertEqual((await self.claim()).recording_id, second)
        end.callback(None)
        await slow

    async def test_expired_lease(self) -> None:
        await self.enqueue_kinds(JobKind.FINISH)
        earlier = await self.claim(lease=EXPIRED)
        job = await self.claim()
        self.assertEqual((job.id, job.attempts), (earlier.id, 2))
        self.assertFalse(await self.jobs.extend_lease(earlier, MINUTE))
        self.assertFalse(await self.jobs.mark_done(earlier))
        self.assertFalse(await self.jobs.retry(earlier, "late", datetime.now(UTC)))
        self.assertFalse(await self.jobs.dead_letter(earlier, "late"))
        self.assertTrue(await self.jobs.mark_done(job))

    async def test_leases_of_a_process_that_has_ended(self) -> None:
        """Its successor does not wait until they expire; those of other processes remain."""
        await self.enqueue_kinds(*BOTH)
        owner, other = Jobs(self.pool), Jobs(self.pool)
        owner.instance, other.instance = uuid4(), uuid4()
        ((job,), _) = await owner.claim((JobKind.FINISH,), MINUTE)
        ((remaining,), _) = await other.claim((JobKind.MAIL,), MINUTE)
        self.assertEqual(await self.jobs.release_leases(uuid4()), 0)
        self.assertEqual(await self.jobs.release_leases(owner.instance), 1)
        self.assertEqual((await self.claim()).id, job.id)
        self.assertFalse(await owner.mark_done(job), "the job has been claimed again")
        self.assertTrue(await other.mark_done(remaining))

    async def test_lease_of_a_job_that_was_claimed_with_the_end_of_the_call(self) -> None:
        recordings = Recordings(self.pool)
        recordings.instance = uuid4()
        ended = recording(state=RecordingState.PROCESSING)
        (job,) = await recordings.record(ended, claim_limit=1, lease=MINUTE)
        self.assertEqual(await self.jobs.release_leases(recordings.instance), 1)
        self.assertEqual((await self.claim()).id, job.id)

    async def test_expired_lease_of_a_job_that_was_not_claimed_again(self) -> None:
        await self.enqueue_kinds(JobKind.FINISH)
        self.assertTrue(await self.jobs.mark_done(await self.claim(lease=EXPIRED)))
        self.assertIsNone(await self.next_due())

    async def test_retry(self) -> None:
        await self.enqueue_kinds(JobKind.FINISH)
        due = datetime.now(UTC) + MINUTE
        self.assertTrue(await self.jobs.retry(await self.claim(), "disk full", due))
        self.assertEqual(await self.next_due(), due)
        (job,) = await self.jobs.page()
        self.assertEqual((job.last_error, job.due_at, job.state), ("disk full", due, JobState.PENDING))

    async def test_next_due_is_the_end_of_the_lease(self) -> None:
        await self.enqueue_kinds(JobKind.FINISH)
        await self.claim()
        due = await self.next_due()
        assert due is not None
        self.assertTrue(55 < (due - datetime.now(UTC)).total_seconds() <= 60)

    async def test_dead_letter_and_restart(self) -> None:
        await self.enqueue_kinds(JobKind.MAIL)
        job = await self.claim()
        self.assertTrue(await self.jobs.dead_letter(job, "no such mailbox"))
        self.assertIsNone(await self.next_due())
        (dead,) = await self.jobs.page(JobFilter(states=[JobState.DEAD], kinds=[JobKind.MAIL]))
        self.assertEqual((dead.id, dead.last_error), (job.id, "no such mailbox"))
        restarted = await self.jobs.restart(job.id)
        self.assertEqual((restarted.attempts, restarted.state), (0, JobState.PENDING))
        self.assertEqual((await self.claim()).id, job.id)
        with self.assertRaises(Conflict):
            await self.jobs.restart(job.id)
        with self.assertRaises(NotFound):
            await self.jobs.restart(uuid4())

    async def test_restart_of_a_pending_job(self) -> None:
        await self.enqueue_kinds(JobKind.FINISH)
        job = await self.claim()
        await self.jobs.retry(job, "disk full", datetime.now(UTC) + MINUTE)
        restarted = await self.jobs.restart(job.id)
        self.assertEqual(
            (restarted.state, restarted.attempts, restarted.last_error), (JobState.PENDING, 0, "disk full")
        )
        self.assertEqual((await self.claim()).attempts, 1)

    async def test_restart_does_not_revive_an_earlier_claim(self) -> None:
        """The attempts start again at 1, but an earlier claim with that number of attempts is not valid."""
        await self.enqueue_kinds(JobKind.FINISH)
        earlier = await self.claim(lease=EXPIRED)
        await self.jobs.restart(earlier.id)
        job = await self.claim()
        self.assertEqual((job.attempts, earlier.attempts), (1, 1))
        self.assertFalse(await self.jobs.mark_done(earlier))
        self.assertFalse(await self.jobs.dead_letter(earlier, "late"))
        self.assertTrue(await self.jobs.mark_done(job))

    async def test_restart_of_mail_reopens_refused_deliveries(self) -> None:
        stored = await Recordings(self.pool).create(recording(state=RecordingState.COMPLETED))
        deliveries = Deliveries(self.pool)
        await deliveries.record_reply(stored.id, "ann@example.org", DeliveryState.ACCEPTED, "250 queued")
        await deliveries.record_reply(stored.id, "eve@example.org", DeliveryState.REFUSED, "550 never")
        await self.enqueue_kinds(JobKind.MAIL, of=stored.id)
        job = await self.claim()
        await self.jobs.dead_letter(job, "550 never")
        await self.jobs.restart(job.id)
        self.assertEqual(
            await deliveries.pending_recipients(stored.id, ["ann@example.org", "eve@example.org"]), ["eve@example.org"]
        )

    async def test_check_that_raises_prevents_the_change(self) -> None:
        await self.enqueue_kinds(JobKind.MAIL)
        job = await self.claim()
        await self.jobs.dead_letter(job, "no such mailbox")

        def refuse(_: Job) -> None:
            raise Conflict("changed meanwhile")

        for change in (self.jobs.restart, self.jobs.delete):
            with self.assertRaises(Conflict):
                await change(job.id, refuse)
        self.assertIs((await self.jobs.get(job.id)).state, JobState.DEAD)

    async def test_delete(self) -> None:
        recording_id = await self.enqueue_kinds(*BOTH)
        for _ in BOTH:
            await self.jobs.dead_letter(await self.claim(), "no")
        dead = {job.kind: job.id for job in await self.jobs.page()}
        await self.jobs.delete(dead[JobKind.MAIL])
        with self.assertRaises(NotFound):
            await self.jobs.get(dead[JobKind.MAIL])
        with self.assertRaisesRegex(Conflict, str(recording_id)):
            await self.jobs.delete(dead[JobKind.FINISH])
        await self.jobs.restart(dead[JobKind.FINISH])
        with self.assertRaisesRegex(Conflict, "only a dead or unconfirmed job can be deleted"):
            await self.jobs.delete(dead[JobKind.FINISH])

    async def test_states(self) -> None:
        for _ in range(4):
            await self.enqueue_kinds(JobKind.FINISH)
        finished, _, dead = [await self.claim() for _ in range(3)]
        await self.jobs.mark_done(finished)
        await self.jobs.dead_letter(dead, "no")
        states = [job.state for job in await self.jobs.page()]
        self.assertEqual(sorted(states), [JobState.DEAD, JobState.PENDING, JobState.RUNNING])
        for state in states:
            with self.subTest(state):
                self.assertEqual([job.state for job in await self.jobs.page(JobFilter(states=[state]))], [state])
        self.assertIs((await self.jobs.get(finished.id)).state, JobState.DONE)
        (waiting,) = await self.jobs.page(JobFilter(states=[JobState.PENDING]))
        self.assertEqual((await self.claim(lease=EXPIRED)).id, waiting.id)
        self.assertIs((await self.jobs.get(waiting.id)).state, JobState.PENDING, "its lease has expired")

    async def test_scoped_to_profiles(self) -> None:
        our_recording, other_recording = recording(), recording()
        for stored in (our_recording, other_recording):
            await Recordings(self.pool).create(stored)
            await self.enqueue_kinds(JobKind.MAIL, of=stored.id)
        await self.enqueue_kinds(JobKind.ERASE)
        limited = self.jobs.scoped_to(frozenset({our_recording.profile_id}))
        (job,) = await limited.page()
        self.assertEqual(job.recording_id, our_recording.id)
        self.assertEqual((await limited.get(job.id)).id, job.id)
        self.assertEqual((await limited.restart(job.id)).id, job.id)
        (other,) = await self.jobs.page(JobFilter(recording_id=other_recording.id))
        for attempt in (limited.get, limited.restart, limited.delete):
            with self.assertRaises(NotFound):
                await attempt(other.id)
        self.assertIs(self.jobs.scoped_to(None), self.jobs)

    async def test_deleting_a_recording_closes_its_other_jobs(self) -> None:
        recordings = Recordings(self.pool)
        stored = await recordings.create(recording(state=RecordingState.FAILED))
        await self.enqueue_kinds(*BOTH, of=stored.id)
        await self.jobs.dead_letter(await self.claim([JobKind.MAIL]), "no such mailbox")
        held = await self.claim([JobKind.FINISH])
        await recordings.delete(stored.id)
        self.assertEqual([job.kind for job in await self.jobs.page()], [JobKind.ERASE])
        self.assertFalse(await self.jobs.retry(held, "there is no recording", datetime.now(UTC)))

    async def test_erase_job_of_a_reused_id_starts_again(self) -> None:
        recordings = Recordings(self.pool)
        stored = await recordings.create(recording(state=RecordingState.FAILED))
        await recordings.delete(stored.id)
        await self.jobs.dead_letter(await self.claim([JobKind.ERASE]), "the archive is away")
        await recordings.create(stored)
        await recordings.delete(stored.id)
        self.assertEqual((await self.claim([JobKind.ERASE])).attempts, 1)

    async def test_errors_of_jobs_are_deleted_with_their_recording(self) -> None:
        recordings = Recordings(self.pool)
        deleted, other = [await recordings.create(recording(state=RecordingState.FAILED)) for _ in range(2)]
        for stored in (deleted, other):
            await self.enqueue_kinds(JobKind.MAIL, of=stored.id)
            await self.jobs.dead_letter(await self.claim([JobKind.MAIL]), "550 ann@example.org")
        await recordings.delete(deleted.id)
        errors = await self.pool.query("SELECT recording_id FROM jobs WHERE last_error IS NOT NULL")
        self.assertEqual(errors, [(other.id,)])
        self.assertEqual(await self.jobs.deleted_recordings([deleted.id, other.id, uuid4()]), {deleted.id})

    async def test_pages(self) -> None:
        for _ in range(5):
            await self.enqueue_kinds(JobKind.FINISH)
        everything = [job.id for job in await self.jobs.page()]
        pages = [[job.id for job in page] async for page in self.jobs.pages(size=2)]
        self.assertEqual([len(page) for page in pages], [2, 2, 1])
        self.assertEqual([one for page in pages for one in page], everything)

    async def test_purge_erased(self) -> None:
        recordings = Recordings(self.pool)
        existing, deleted = [await recordings.create(recording(state=RecordingState.FAILED)) for _ in range(2)]
        for stored in (existing, deleted):
            await self.enqueue_kinds(JobKind.FINISH, of=stored.id)
            await self.jobs.mark_done(await self.claim())
        await recordings.delete(deleted.id)
        self.assertEqual(await self.jobs.purge_erased(EXPIRED), 0, "its files have not been erased")
        await self.jobs.mark_done(await self.claim([JobKind.ERASE]))
        self.assertEqual(await self.jobs.purge_erased(MINUTE), 0)
        self.assertEqual(await self.jobs.purge_erased(EXPIRED), 2)
        self.assertEqual(await self.pool.query("SELECT recording_id FROM jobs"), [(existing.id,)])

    async def test_notifications(self) -> None:
        kinds: list[str] = []
        listening: list[bool] = []
        listener = Listener(reactor, self.dsn, {JOBS_CHANNEL: kinds.append}, lambda: listening.append(True))
        listener.startService()
        await until(lambda: listening)
        await self.enqueue_kinds(JobKind.FINISH)
        await until(lambda: kinds == ["finish"])
        job = await self.claim()
        await self.jobs.retry(job, "x", datetime.now(UTC))
        await until(lambda: kinds == ["finish", "finish"])
        await self.jobs.mark_done(await self.claim())
        await Recordings(self.pool).record(recording(state=RecordingState.PROCESSING), claim_limit=1)
        await self.enqueue_kinds(JobKind.MAIL)
        await until(lambda: kinds[2:] == ["mail"])  # not of the job that was claimed when it was enqueued
        await listener.stopService()


class NodeTests(DatabaseTestCase):
    """Only the node that has the files can claim a job that needs them."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.berlin, self.munich, self.no_node = Jobs(self.pool), Jobs(self.pool), Jobs(self.pool)
        self.berlin.node, self.munich.node = "berlin", "munich"
        self.recordings = Recordings(self.pool)
        await self.pool.execute("INSERT INTO nodes (name) VALUES ('berlin'), ('munich')")

    async def end_call(self, node: str | None) -> UUID:
        ended = recording(id=uuid4(), state=RecordingState.PROCESSING, node=node)
        self.assertEqual(await self.recordings.record(ended), [])
        return ended.id

    async def claimed(self, jobs: Jobs, *kinds: JobKind) -> list[UUID]:
        return [job.recording_id for job in (await jobs.claim(kinds or BOTH, MINUTE, 9)).jobs]

    async def test_finish_jobs_are_claimed_by_the_node_that_recorded(self) -> None:
        of_berlin, of_munich = await self.end_call("berlin"), await self.end_call("munich")
        self.assertEqual(await self.claimed(self.no_node), [])
        self.assertEqual(await self.claimed(self.munich), [of_munich])
        self.assertEqual(await self.claimed(self.munich), [])
        self.assertEqual(await self.claimed(self.berlin), [of_berlin])

    async def test_jobs_of_another_node_do_not_determine_the_next_claim(self) -> None:
        await self.end_call("berlin")
        self.assertEqual(await self.munich.claim(BOTH, MINUTE, 9), ([], None))

    async def test_any_node_claims_a_job_of_an_earlier_version(self) -> None:
        recording_id = await self.end_call(None)
        self.assertEqual(await self.claimed(self.munich), [recording_id])

    async def test_a_claim_with_the_end_of_the_call_has_the_node(self) -> None:
        ended = recording(id=uuid4(), state=RecordingState.PROCESSING, node="berlin")
        (job,) = await self.recordings.record(ended, claim_limit=1)
        self.assertEqual(job.node, "berlin")

    async def test_the_node_of_a_recording_does_not_change(self) -> None:
        """Lines of the journal of a lost node are applied after another node adopted the Recording."""
        live = recording(id=uuid4(), state=RecordingState.RECORDING, node="berlin")
        await self.recordings.record(live)
        await self.recordings.record(replace(live, state=RecordingState.PROCESSING, node="munich"))
        self.assertEqual((await self.recordings.get(live.id)).node, "berlin")
        self.assertEqual(await self.claimed(self.berlin), [live.id])

    async def test_a_call_that_an_earlier_version_began_gets_the_node_that_ends_it(self) -> None:
        live = recording(id=uuid4(), state=RecordingState.RECORDING, node=None)
        await self.recordings.record(live)
        await self.recordings.record(replace(live, state=RecordingState.PROCESSING, node="berlin"))
        self.assertEqual((await self.recordings.get(live.id)).node, "berlin")

    async def test_files_in_the_archive_are_erased_by_any_node_and_legs_by_their_node(self) -> None:
        recording_id = await self.end_call("berlin")
        await self.recordings.delete(recording_id)
        erase = (JobKind.ERASE, JobKind.ERASE_LEGS)
        self.assertEqual([job.kind for job in (await self.munich.claim(erase, MINUTE, 9)).jobs], [JobKind.ERASE])
        self.assertEqual([job.kind for job in (await self.berlin.claim(erase, MINUTE, 9)).jobs], [JobKind.ERASE_LEGS])

    async def test_legs_of_a_node_that_is_lost_or_not_known_any_more_are_not_waited_for(self) -> None:
        await self.pool.execute("UPDATE nodes SET lost_at = now() WHERE name = 'munich'")
        for node in ("munich", "hamburg"):
            recording_id = await self.end_call(node)
            await self.recordings.delete(recording_id)
            kinds = await self.pool.query(
                "SELECT kind FROM jobs WHERE recording_id = %s AND done_at IS NULL", (recording_id,)
            )
            self.assertEqual(kinds, [("erase",)], node)

    async def test_imported_audio_has_no_legs_to_erase(self) -> None:
        imported = await self.recordings.create(recording(id=uuid4(), node=None))
        await self.recordings.delete(imported.id)
        self.assertEqual([job.kind for job in await self.berlin.page()], [JobKind.ERASE])

    async def test_legs_that_wait_for_their_node_are_no_orphans(self) -> None:
        recording_id = await self.end_call("berlin")
        await self.recordings.delete(recording_id)
        (job,) = (await self.munich.claim([JobKind.ERASE], MINUTE)).jobs
        await self.munich.mark_done(job)
        self.assertEqual(await self.recordings.missing_ids([recording_id]), set())

    async def test_done_jobs_of_erased_recordings_are_purged(self) -> None:
        recording_id = await self.end_call("berlin")
        await self.recordings.delete(recording_id)
        ((archive_job,), _) = await self.munich.claim([JobKind.ERASE], MINUTE)
        await self.munich.mark_done(archive_job)
        await self.munich.purge_erased(timedelta(0))
        self.assertEqual([job.kind for job in await self.berlin.page()], [JobKind.ERASE_LEGS])
        ((legs_job,), _) = await self.berlin.claim([JobKind.ERASE_LEGS], MINUTE)
        await self.berlin.mark_done(legs_job)
        await self.munich.purge_erased(timedelta(0))
        self.assertEqual(await self.pool.query("SELECT FROM jobs"), [])
