"""The queue: one of several daemons gets a job, and none is forgotten."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

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
OVER = timedelta(seconds=-1)  # a lease that has run out already
BOTH = (JobKind.FINISH, JobKind.MAIL)


class Queue(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.jobs = Jobs(self.pool)

    async def put(self, *kinds: JobKind, of: UUID | None = None) -> UUID:
        recording_id = of or uuid4()
        await self.owe(*((kind, recording_id) for kind in kinds))
        return recording_id

    async def claim(self, kinds: Sequence[JobKind] = BOTH, lease: timedelta = MINUTE) -> Job:
        ((job,), _) = await self.jobs.claim(kinds, lease)
        return job

    async def next_due(self, kinds: Sequence[JobKind] = BOTH) -> datetime | None:
        """Where there is nothing to be claimed now."""
        jobs, due = await self.jobs.claim(kinds, MINUTE)
        self.assertEqual(jobs, [])
        return due

    async def test_from_claim_to_done(self) -> None:
        recording_id = await self.put(JobKind.FINISH)
        job = await self.claim()
        self.assertEqual((job.kind, job.recording_id, job.attempts), (JobKind.FINISH, recording_id, 1))
        self.assertIsNotNone(await self.next_due())
        self.assertTrue(await self.jobs.extend_lease(job, MINUTE))
        self.assertTrue(await self.jobs.mark_done(job))
        self.assertFalse(await self.jobs.mark_done(job))
        self.assertEqual(await self.jobs.page(), [])
        self.assertIsNone(await self.next_due())

    async def test_what_was_done_is_not_owed_again(self) -> None:
        recording_id = await self.put(JobKind.FINISH)
        await self.jobs.mark_done(await self.claim())
        await self.owe(*((kind, recording_id) for kind in BOTH))
        self.assertEqual((await self.claim()).kind, JobKind.MAIL)
        self.assertEqual((await self.jobs.claim(BOTH, MINUTE)).jobs, [])

    async def test_only_the_kinds_asked_for(self) -> None:
        await self.put(JobKind.FINISH)
        self.assertIsNone(await self.next_due([JobKind.MAIL]))
        self.assertEqual((await self.claim([JobKind.FINISH])).kind, JobKind.FINISH)

    async def test_two_daemons_get_different_ones(self) -> None:
        for _ in range(20):
            await self.put(JobKind.FINISH)
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

    async def test_the_oldest_first_and_no_more_than_wanted(self) -> None:
        owed = [await self.put(JobKind.FINISH) for _ in range(4)]
        jobs, due = await self.jobs.claim(BOTH, MINUTE, 3)
        self.assertEqual(([job.recording_id for job in jobs], due), (owed[:3], None))
        jobs, due = await self.jobs.claim(BOTH, MINUTE, 3)
        self.assertEqual([job.recording_id for job in jobs], owed[3:])
        assert due is not None  # the end of a lease
        self.assertTrue(50 < (due - datetime.now(UTC)).total_seconds() <= 60)

    async def test_one_that_is_being_claimed_is_not_waited_for(self) -> None:
        await self.put(JobKind.FINISH)
        second = await self.put(JobKind.FINISH)
        in_the_middle: Deferred[None] = Deferred()

        async def work(transaction: object) -> None:
            await transaction.query("SELECT id FROM jobs ORDER BY due_at LIMIT 1 FOR UPDATE")  # type: ignore[attr-defined]
            await in_the_middle

        slow = Deferred.fromCoroutine(self.pool.transaction(work))
        self.assertEqual((await self.claim()).recording_id, second)
        in_the_middle.callback(None)
        await slow

    async def test_a_lease_that_ran_out(self) -> None:
        await self.put(JobKind.FINISH)
        lost = await self.claim(lease=OVER)
        job = await self.claim()
        self.assertEqual((job.id, job.attempts), (lost.id, 2))
        self.assertFalse(await self.jobs.extend_lease(lost, MINUTE))
        self.assertFalse(await self.jobs.mark_done(lost))
        self.assertFalse(await self.jobs.retry(lost, "late", datetime.now(UTC)))
        self.assertFalse(await self.jobs.dead_letter(lost, "late"))
        self.assertTrue(await self.jobs.mark_done(job))

    async def test_a_lease_that_ran_out_but_nobody_noticed(self) -> None:
        await self.put(JobKind.FINISH)
        self.assertTrue(await self.jobs.mark_done(await self.claim(lease=OVER)))
        self.assertIsNone(await self.next_due())

    async def test_again_later(self) -> None:
        await self.put(JobKind.FINISH)
        due = datetime.now(UTC) + MINUTE
        self.assertTrue(await self.jobs.retry(await self.claim(), "disk full", due))
        self.assertEqual(await self.next_due(), due)
        (job,) = await self.jobs.page()
        self.assertEqual((job.last_error, job.due_at, job.state), ("disk full", due, JobState.PENDING))

    async def test_next_due_is_the_end_of_the_lease(self) -> None:
        await self.put(JobKind.FINISH)
        await self.claim()
        due = await self.next_due()
        assert due is not None
        self.assertTrue(55 < (due - datetime.now(UTC)).total_seconds() <= 60)

    async def test_dead_and_alive_again(self) -> None:
        await self.put(JobKind.MAIL)
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

    async def test_what_waits_need_not_wait(self) -> None:
        await self.put(JobKind.FINISH)
        job = await self.claim()
        await self.jobs.retry(job, "disk full", datetime.now(UTC) + MINUTE)
        restarted = await self.jobs.restart(job.id)
        self.assertEqual(
            (restarted.state, restarted.attempts, restarted.last_error), (JobState.PENDING, 0, "disk full")
        )
        self.assertEqual((await self.claim()).attempts, 1)

    async def test_a_restart_gives_nobody_back_what_he_lost(self) -> None:
        """Though the attempts are counted anew, he who had the first one before has not the first one now."""
        await self.put(JobKind.FINISH)
        lost = await self.claim(lease=OVER)
        await self.jobs.restart(lost.id)
        job = await self.claim()
        self.assertEqual((job.attempts, lost.attempts), (1, 1))
        self.assertFalse(await self.jobs.mark_done(lost))
        self.assertFalse(await self.jobs.dead_letter(lost, "late"))
        self.assertTrue(await self.jobs.mark_done(job))

    async def test_who_refused_a_mail_is_asked_again(self) -> None:
        made = await Recordings(self.pool).create(recording(state=RecordingState.COMPLETED))
        deliveries = Deliveries(self.pool)
        await deliveries.record_reply(made.id, "ann@example.org", DeliveryState.ACCEPTED, "250 queued")
        await deliveries.record_reply(made.id, "eve@example.org", DeliveryState.REFUSED, "550 never")
        await self.put(JobKind.MAIL, of=made.id)
        job = await self.claim()
        await self.jobs.dead_letter(job, "550 never")
        await self.jobs.restart(job.id)
        self.assertEqual(
            await deliveries.pending_recipients(made.id, ["ann@example.org", "eve@example.org"]), ["eve@example.org"]
        )

    async def test_a_refused_restart_changes_nothing(self) -> None:
        await self.put(JobKind.MAIL)
        job = await self.claim()
        await self.jobs.dead_letter(job, "no such mailbox")

        def refuse(_: Job) -> None:
            raise Conflict("changed meanwhile")

        for change in (self.jobs.restart, self.jobs.delete):
            with self.assertRaises(Conflict):
                await change(job.id, refuse)
        self.assertIs((await self.jobs.get(job.id)).state, JobState.DEAD)

    async def test_given_up(self) -> None:
        recording_id = await self.put(*BOTH)
        for _ in BOTH:
            await self.jobs.dead_letter(await self.claim(), "no")
        dead = {job.kind: job.id for job in await self.jobs.page()}
        await self.jobs.delete(dead[JobKind.MAIL])
        with self.assertRaises(NotFound):
            await self.jobs.get(dead[JobKind.MAIL])
        with self.assertRaisesRegex(Conflict, str(recording_id)):
            await self.jobs.delete(dead[JobKind.FINISH])
        await self.jobs.restart(dead[JobKind.FINISH])
        with self.assertRaisesRegex(Conflict, "only a dead job can be deleted"):
            await self.jobs.delete(dead[JobKind.FINISH])

    async def test_states(self) -> None:
        for _ in range(4):
            await self.put(JobKind.FINISH)
        finished, _, buried = [await self.claim() for _ in range(3)]
        await self.jobs.mark_done(finished)
        await self.jobs.dead_letter(buried, "no")
        states = [job.state for job in await self.jobs.page()]
        self.assertEqual(sorted(states), [JobState.DEAD, JobState.PENDING, JobState.RUNNING])
        for state in states:
            with self.subTest(state):
                self.assertEqual([job.state for job in await self.jobs.page(JobFilter(states=[state]))], [state])
        self.assertIs((await self.jobs.get(finished.id)).state, JobState.DONE)
        (waiting,) = await self.jobs.page(JobFilter(states=[JobState.PENDING]))
        self.assertEqual((await self.claim(lease=OVER)).id, waiting.id)
        self.assertIs((await self.jobs.get(waiting.id)).state, JobState.PENDING, "whose lease ran out has it no more")

    async def test_of_some_profiles(self) -> None:
        ours, theirs = recording(), recording()
        for made in (ours, theirs):
            await Recordings(self.pool).create(made)
            await self.put(JobKind.MAIL, of=made.id)
        await self.put(JobKind.ERASE)
        limited = self.jobs.scoped_to(frozenset({ours.profile_id}))
        (job,) = await limited.page()
        self.assertEqual(job.recording_id, ours.id)
        self.assertEqual((await limited.get(job.id)).id, job.id)
        self.assertEqual((await limited.restart(job.id)).id, job.id)
        (other,) = await self.jobs.page(JobFilter(recording_id=theirs.id))
        for attempt in (limited.get, limited.restart, limited.delete):
            with self.assertRaises(NotFound):
                await attempt(other.id)
        self.assertIs(self.jobs.scoped_to(None), self.jobs)

    async def test_a_deletion_excuses_from_all_else(self) -> None:
        recordings = Recordings(self.pool)
        made = await recordings.create(recording(state=RecordingState.FAILED))
        await self.put(*BOTH, of=made.id)
        await self.jobs.dead_letter(await self.claim([JobKind.MAIL]), "no such mailbox")
        held = await self.claim([JobKind.FINISH])
        await recordings.delete(made.id)
        self.assertEqual([job.kind for job in await self.jobs.page()], [JobKind.ERASE])
        self.assertFalse(await self.jobs.retry(held, "there is no recording", datetime.now(UTC)))

    async def test_a_second_deletion_has_all_its_attempts(self) -> None:
        recordings = Recordings(self.pool)
        made = await recordings.create(recording(state=RecordingState.FAILED))
        await recordings.delete(made.id)
        await self.jobs.dead_letter(await self.claim([JobKind.ERASE]), "the archive is away")
        await recordings.create(made)
        await recordings.delete(made.id)
        self.assertEqual((await self.claim([JobKind.ERASE])).attempts, 1)

    async def test_pages(self) -> None:
        for _ in range(5):
            await self.put(JobKind.FINISH)
        everything = [job.id for job in await self.jobs.page()]
        pages = [[job.id for job in page] async for page in self.jobs.pages(size=2)]
        self.assertEqual([len(page) for page in pages], [2, 2, 1])
        self.assertEqual([one for page in pages for one in page], everything)

    async def test_forgetting(self) -> None:
        recordings = Recordings(self.pool)
        kept, gone = [await recordings.create(recording(state=RecordingState.FAILED)) for _ in range(2)]
        for made in (kept, gone):
            await self.put(JobKind.FINISH, of=made.id)
            await self.jobs.mark_done(await self.claim())
        await recordings.delete(gone.id)
        self.assertEqual(await self.jobs.purge_erased(OVER), 0, "its files are still to be erased")
        await self.jobs.mark_done(await self.claim([JobKind.ERASE]))
        self.assertEqual(await self.jobs.purge_erased(MINUTE), 0)
        self.assertEqual(await self.jobs.purge_erased(OVER), 2)
        self.assertEqual(await self.pool.query("SELECT recording_id FROM jobs"), [(kept.id,)])

    async def test_the_daemons_are_told(self) -> None:
        told: list[str] = []
        listening: list[bool] = []
        listener = Listener(reactor, self.dsn, {JOBS_CHANNEL: told.append}, lambda: listening.append(True))
        listener.startService()
        await until(lambda: listening)
        await self.put(JobKind.FINISH)
        await until(lambda: told == ["finish"])
        job = await self.claim()
        await self.jobs.retry(job, "x", datetime.now(UTC))
        await until(lambda: told == ["finish", "finish"])
        await self.jobs.mark_done(await self.claim())
        await Recordings(self.pool).record(recording(state=RecordingState.PROCESSING), claim_limit=1)
        await self.put(JobKind.MAIL)
        await until(lambda: told[2:] == ["mail"])  # and not of what was claimed as it came
        await listener.stopService()
