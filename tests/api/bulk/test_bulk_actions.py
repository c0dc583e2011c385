"""/bulk-actions: previews, roles, confirmation, and their execution by the worker."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.task import deferLater

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase
from tests.database import reactor
from tests.recordings.crashing_bulk_actions import make_worker
from tests.subtest import subtest
from voxrec.model import Recording, RecordingState
from voxrec.store import bulk_actions
from voxrec.store.recording_pages import RecordingPages


class BulkActionTestCase(RestTestCase):
    async def preview(self, action: str, token: str = "provision", status: int = 201, **fields: Any) -> Any:
        response = await self.request("POST", "/bulk-actions", token=token, json={"action": action, **fields})
        self.assertEqual(response.status, status, response.body)
        return response.json

    async def confirm(self, action: Any, token: str = "provision", state: str = "pending") -> ClientResponse:
        return await self.request("POST", f"/bulk-actions/{action['id']}", token=token, json={"state": state})

    async def results(self, action: Any, query: str = "") -> list[tuple[str, str, str | None]]:
        response = await self.request("GET", f"/bulk-actions/{action['id']}/recordings{query}")
        self.assertEqual(response.status, 200, response.body)
        return [(item["recordingId"], item["state"], item["detail"]) for item in response.json]

    async def run_worker(self, action: Any) -> Any:
        """Run the worker until the bulk action has ended, and return it."""
        worker = make_worker(self.pool, timedelta(minutes=1))
        worker.startService()
        try:
            while True:
                current = (await self.request("GET", f"/bulk-actions/{action['id']}")).json
                if current["finishedAt"] is not None:
                    return current
                await deferLater(reactor, 0.02)
        finally:
            await worker.stopService()

    async def execute(self, action: Any) -> Any:
        self.assertEqual((await self.confirm(action)).status, 200)
        return await self.run_worker(action)


class PreviewTests(BulkActionTestCase):
    async def test_a_filter_without_an_index_reads_the_table_once(self) -> None:
        await self.pool.execute(
            """
            SET session_replication_role = replica;
            INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, duration, legal_hold,
                                    created_at, updated_at)
            SELECT gen_random_uuid(), gen_random_uuid(), 'completed', 'wav', 1, '[]', '{}', number %% 6, FALSE,
                   %s - number * interval '1 s', now()
            FROM generate_series(1, %s) AS number;
            SET session_replication_role = origin
            """,
            (CREATED_AT, 12_000),
        )
        calls: list[str] = []

        def count_calls(name: str) -> None:
            method = getattr(RecordingPages, name)

            async def counting(pages: RecordingPages, *args: Any) -> Any:
                calls.append(name)
                return await method(pages, *args)

            self.patch(RecordingPages, name, counting)

        count_calls("_walk")
        count_calls("_gather")
        self.patch(bulk_actions, "_INSERTED", 700)
        action = await self.preview("hold", minDuration=5)
        self.assertEqual((action["total"], calls), (2000, ["_walk"]))
        listed = await self.pool.query("SELECT id FROM recordings WHERE duration = 5 ORDER BY created_at DESC")
        items = await self.pool.query("SELECT position, recording_id FROM bulk_action_items ORDER BY position")
        self.assertEqual(items, [(number, *row) for number, row in enumerate(listed, 1)])

    async def test_what_is_skipped_and_why(self) -> None:
        plain = await self.add_recording()
        held = await self.add_recording(legal_hold=True)
        live = await self.add_recording(state=RecordingState.RECORDING)
        for action, skipped in (
            ("delete", {held.id: "legal-hold", live.id: "call-in-progress"}),
            ("hold", {held.id: "already-held"}),
            ("release", {plain.id: "not-held", live.id: "not-held"}),
            ("redeliver", dict.fromkeys((plain.id, held.id, live.id), "no-deliveries")),
            ("export", {}),
        ):
            with subtest(action):
                created = await self.preview(action)
                counts = {"total": 3, "skipped": len(skipped), "done": 0, "failed": 0, "state": "preview"}
                self.assertEqual({key: created[key] for key in counts}, counts)
                expected = {
                    (str(each.id), "skipped" if each.id in skipped else "pending", skipped.get(each.id))
                    for each in (plain, held, live)
                }
                self.assertEqual({*await self.results(created)}, expected)
        self.assertEqual(len(await self.recordings.page()), 3)

    async def test_filters_and_ids(self) -> None:
        first = await self.add_recording(from_name="Alice", tags=("a",))
        second = await self.add_recording(from_name="Bob", created_at=CREATED_AT - timedelta(days=1))
        for fields, expected in (
            ({"search": "ali"}, [first]),
            ({"tag": ["a"]}, [first]),
            ({"until": "2026-01-31T00:00:00Z"}, [second]),
            ({"recordingIds": [str(second.id), str(uuid4())]}, [second]),
            ({"recordingIds": [str(second.id)], "search": "ali"}, []),
        ):
            with subtest(fields):
                found = await self.results(await self.preview("delete", **fields))
                self.assertEqual([id_ for id_, _, _ in found], [str(each.id) for each in expected])

    async def test_errors_name_the_fields(self) -> None:
        for fields, names in (
            ({}, ["action"]),
            ({"action": "destroy"}, ["action"]),
            ({"action": "delete", "recordingIds": []}, ["recordingIds"]),
            ({"action": "delete", "search": "-"}, ["search"]),
            ({"action": "delete", "profileId": str(uuid4())}, ["profileId"]),
        ):
            with subtest(fields):
                response = await self.request("POST", "/bulk-actions", json=fields)
                self.assertEqual((response.status, response.error_fields), (422, names), response.body)

    async def test_pages_of_results(self) -> None:
        stored = [await self.add_recording(created_at=CREATED_AT - timedelta(seconds=number)) for number in range(5)]
        action = await self.preview("delete")
        seen, path = [], f"/bulk-actions/{action['id']}/recordings?limit=2&state=pending"
        while path:
            response = await self.request("GET", path)
            seen += [item["recordingId"] for item in response.json]
            path = response.headers.get("link", "").partition("<")[2].partition(">")[0].removeprefix(PUBLIC_URL)
        self.assertEqual(seen, [str(each.id) for each in stored])


class RoleTests(BulkActionTestCase):
    async def test_each_action_requires_its_role(self) -> None:
        await self.add_recording()
        for action, allowed in (("export", "read"), ("delete", "provision"), ("hold", "provision")):
            with subtest(action):
                await self.preview(action, token=allowed)
        for action in ("delete", "hold", "release", "redeliver"):
            with subtest(action):
                await self.preview(action, token="supervise", status=403)

    async def test_only_the_creator_confirms(self) -> None:
        await self.add_recording()
        action = await self.preview("delete")
        self.assertEqual((await self.confirm(action, token="admin")).status, 403)
        self.assertEqual((await self.confirm(action, token="read", state="canceled")).status, 403)
        self.assertEqual((await self.confirm(action, token="admin", state="canceled")).status, 200)
        self.assertEqual((await self.confirm(action)).status, 409)

    async def test_a_client_of_some_profiles_reaches_no_others(self) -> None:
        own, other = await self.add_profile(), await self.add_profile()
        mine = await self.add_recording(profile_id=own.id)
        foreign = await self.add_recording(profile_id=other.id)
        secret = await self.scoped_token(own.id)
        action = await self.preview("delete", token=secret, recordingIds=[str(mine.id), str(foreign.id)])
        self.assertEqual([id_ for id_, _, _ in await self.results(action)], [str(mine.id)])
        hidden = await self.preview("delete")
        for path in ("", "/recordings"):
            response = await self.request("GET", f"/bulk-actions/{hidden['id']}{path}", token=secret)
            self.assertEqual(response.status, 404)
        self.assertEqual((await self.confirm(hidden, token=secret)).status, 404)
        visible = (await self.request("GET", "/bulk-actions", token=secret)).json
        self.assertEqual([each["id"] for each in visible], [action["id"]])


class ExecutionTests(BulkActionTestCase):
    async def test_delete_exactly_what_the_preview_had(self) -> None:
        stored = [await self.add_recording() for _ in range(3)]
        action = await self.preview("delete", reason="end of the project")
        self.assertEqual(len(await self.recordings.page()), 3, "nothing is changed before the confirmation")
        later = await self.add_recording()
        held = stored[0]
        await self.request("POST", f"/recordings/{held.id}", json={"legalHold": True})
        await self.recordings.delete(stored[1].id)
        ended = await self.execute(action)
        self.assertEqual({each.id for each in await self.recordings.page()}, {held.id, later.id})
        self.assertEqual([ended[key] for key in ("state", "done", "skipped", "failed")], ["completed", 1, 2, 0])
        expected = [
            (str(held.id), "skipped", "legal-hold"),
            (str(stored[1].id), "skipped", "deleted"),
            (str(stored[2].id), "done", None),
        ]
        self.assertEqual({*await self.results(action)}, {*expected})
        (entry,) = (await self.request("GET", f"/audit?targetId={stored[2].id}")).json
        self.assertEqual(
            [entry[key] for key in ("who", "method", "path", "reason", "outcome")],
            ["the provision token", "DELETE", f"/bulk-actions/{action['id']}", "end of the project", "done"],
        )

    async def test_hold_and_release(self) -> None:
        stored = [await self.add_recording() for _ in range(2)]
        await self.execute(await self.preview("hold"))
        self.assertTrue(all(each.legal_hold for each in await self.recordings.page()))
        await self.execute(await self.preview("release", recordingIds=[str(stored[0].id)]))
        self.assertEqual(
            [(await self.recordings.get(each.id)).legal_hold for each in stored],
            [False, True],
        )

    async def test_redelivery(self) -> None:
        recording, unsent = await self.add_audio(b"RIFF"), await self.add_audio(b"RIFF")
        await self.pool.execute(
            "INSERT INTO deliveries (recording_id, recipient, state, attempts, last_reply) "
            "VALUES (%s, 'desk@example.org', 'accepted', 1, '250 ok')",
            (recording.id,),
        )
        action = await self.preview("redeliver")
        self.assertEqual(action["skipped"], 1)
        await self.execute(action)
        rows = await self.pool.query("SELECT recording_id FROM jobs WHERE kind = 'mail' AND done_at IS NULL")
        self.assertEqual(rows, [(recording.id,)])
        self.assertIn((str(unsent.id), "skipped", "no-deliveries"), await self.results(action))

    async def test_export(self) -> None:
        stored = await self.add_audio(b"RIFF")
        action = await self.preview("export", token="read", reason="for the court")
        await self.add_audio(b"RIFF")
        self.assertEqual((await self.confirm(action, token="read")).status, 200)
        ended = await self.run_worker(action)
        export = await self.exports.get(UUID(ended["exportId"]))
        self.assertEqual((str(export.bulk_action_id), export.description), (action["id"], "for the court"))
        pages: list[list[Recording]] = [page async for page in self.recordings.of_bulk_action(UUID(action["id"]), 50)]
        self.assertEqual([[each.id for each in page] for page in pages], [[stored.id]])

    async def test_confirming_again_has_no_effect(self) -> None:
        await self.add_recording()
        action = await self.preview("hold")
        ended = await self.execute(action)
        again = await self.confirm(action)
        self.assertEqual((again.status, again.json), (200, ended))
        self.assertEqual((await self.confirm(action, state="canceled")).status, 409)
        await self.pool.execute("UPDATE recordings SET legal_hold = FALSE")
        await self.run_worker(action)
        self.assertFalse((await self.recordings.page())[0].legal_hold)

    async def test_an_expired_preview_cannot_be_confirmed(self) -> None:
        action = await self.preview("delete")
        await self.pool.execute("UPDATE bulk_actions SET expires_at = now()")
        response = await self.confirm(action)
        self.assertEqual(response.status, 409)
        self.assertIn("expired", response.json["detail"])
        await self.bulk_actions.delete_expired(timedelta(days=30))
        self.assertEqual((await self.request("GET", f"/bulk-actions/{action['id']}")).status, 404)


class NeighborTests(RestTestCase):
    async def test_neighbors_in_a_list(self) -> None:
        profile = await self.add_profile()
        stored = [
            await self.add_recording(created_at=CREATED_AT - timedelta(seconds=number), profile_id=profile.id)
            for number in range(3)
        ]
        other = await self.add_recording(created_at=CREATED_AT + timedelta(seconds=1), from_name="Bob")
        ids = [str(each.id) for each in stored]
        for path, expected in (
            (f"/recordings/{ids[0]}/neighbors", (str(other.id), ids[1])),
            (f"/recordings/{ids[0]}/neighbors?sort=oldest", (ids[1], str(other.id))),
            (f"/recordings/{ids[2]}/neighbors", (ids[1], None)),
            (f"/recordings/{ids[1]}/neighbors?search=bob", (str(other.id), None)),
            (f"/profiles/{profile.id}/recordings/{ids[0]}/neighbors", (None, ids[1])),
        ):
            with subtest(path):
                response = await self.request("GET", path)
                self.assertEqual(response.status, 200, response.body)
                self.assertEqual((response.json["previous"], response.json["next"]), expected)
        response = await self.request("GET", f"/profiles/{profile.id}/recordings/{other.id}/neighbors")
        self.assertEqual(response.status, 404)
