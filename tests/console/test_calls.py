"""The page of live calls, and what a supervisor does with them."""

from uuid import UUID, uuid4

from tests.api.calls.test_calls import make_call
from tests.api.rest_test_case import CREATED_AT
from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest
from voxrec.model import CallState, Listening, ListenSide, RecordingState

CALL = UUID("55555555-5555-4555-8555-555555555555")


class CallPageTests(ConsoleTestCase):
    async def test_actions_depend_on_role_and_state(self) -> None:
        supervisor = await self.signed_in("supervise")
        await self.add_user("ben", "read")
        listener = await self.sign_in("ben")
        recording = await self.add_recording(state=RecordingState.RECORDING)
        call = make_call(id=CALL, recording_id=recording.id, recording_state=RecordingState.RECORDING)
        self.call_control.calls = [call]
        table = (await self.open("/console/calls/table", supervisor)).body.decode()
        self.assertIn(f'action="/console/calls/{CALL}/pause"', table)
        self.assertIn(f'href="/console/calls/{CALL}/hang-up"', table)
        self.assertNotIn("<html", table)
        self.assertNotIn("action=", (await self.open("/console/calls/table", listener)).body.decode())
        self.assertEqual((await self.open(f"/console/calls/{CALL}/hang-up", listener)).status, 403)
        self.assertEqual((await self.submit(f"/console/calls/{CALL}/hang-up", listener)).status, 403)
        self.assertEqual(self.call_control.released, [])

    async def test_hanging_up_is_confirmed_on_a_page_that_says_which_call_ends(self) -> None:
        cookie = await self.signed_in("supervise")
        recording = await self.add_recording(state=RecordingState.RECORDING)
        for state, effect in ((RecordingState.RECORDING, "recorded so far is kept"), (None, "has not been recorded")):
            with subtest(state):
                self.call_control.calls = [make_call(id=CALL, recording_id=recording.id, recording_state=state)]
                page = (await self.open(f"/console/calls/{CALL}/hang-up", cookie)).body.decode()
                for text in ("Hang up this call?", "+4930111", "+4930222", "for both parties", effect):
                    self.assertIn(text, page)
                self.assertIn(f'<form class="controls" method="post" action="/console/calls/{CALL}/hang-up">', page)
                self.assertIn('href="/console/calls">Let the call continue', page)
        self.assertEqual(self.call_control.released, [])

    async def test_a_call_that_has_ended_meanwhile(self) -> None:
        cookie = await self.signed_in("supervise")
        for response in (
            await self.open(f"/console/calls/{uuid4()}/hang-up", cookie),
            await self.submit(f"/console/calls/{uuid4()}/hang-up", cookie),
            await self.submit(f"/console/calls/{uuid4()}/pause", cookie),
        ):
            self.assertEqual((response.status, response.headers["location"]), (303, "/console/calls?done=call_over"))

    async def test_who_may_listen(self) -> None:
        supervisor = await self.signed_in("supervise")
        await self.add_user("ben", "read", listenLive=True)
        listener = await self.sign_in("ben")
        for state in CallState:
            self.call_control.calls = [make_call(id=CALL, state=state)]
            with subtest(state):
                table = (await self.open("/console/calls/table", listener)).body.decode()
                self.assertEqual(f'data-listen="{CALL}"' in table, state in (CallState.ANNOUNCING, CallState.TALKING))
                self.assertNotIn("<form", table)
        self.assertIn('id="listening"', (await self.open("/console/calls", listener)).body.decode())
        page = (await self.open("/console/calls", supervisor)).body.decode()
        self.assertNotIn("listen.js", page)
        self.assertNotIn("data-listen", page)

    async def test_supervisors_see_who_listens(self) -> None:
        supervisor = await self.signed_in("supervise")
        await self.add_user("ben", "read")
        reader = await self.sign_in("ben")
        listening = Listening(id=uuid4(), who="<carla>", side=ListenSide.BOTH, started_at=CREATED_AT)
        self.call_control.calls = [make_call(id=CALL, listeners=(listening,))]
        self.assertIn(b"heard by &lt;carla&gt;", (await self.open("/console/calls/table", supervisor)).body)
        self.assertNotIn(b"carla", (await self.open("/console/calls/table", reader)).body)

    async def test_pause_resume_and_hang_up(self) -> None:
        cookie = await self.signed_in("supervise")
        recording = await self.add_recording(state=RecordingState.RECORDING)
        self.call_control.recorded[recording.id] = recording
        self.call_control.calls = [make_call(id=CALL, recording_id=recording.id)]
        for action in ("pause", "resume", "hang-up"):
            with subtest(action):
                response = await self.submit(f"/console/calls/{CALL}/{action}", cookie)
                location = f"/console/calls?done=call_{action}"
                self.assertEqual((response.status, response.headers["location"]), (303, location), response.body)
        self.assertEqual(len(self.call_control.pauses), 1)
        self.assertEqual(self.call_control.released, [CALL])
        self.assertEqual((await self.submit(f"/console/calls/{CALL}/fly", cookie)).status, 404)

    async def test_every_state_is_shown(self) -> None:
        cookie = await self.signed_in("supervise")
        for state in CallState:
            with subtest(state):
                self.call_control.calls = [make_call(id=CALL, state=state)]
                response = await self.open("/console/calls", cookie, **{"Accept-Language": "de"})
                self.assertEqual(response.status, 200, response.body)

    async def test_no_calls(self) -> None:
        cookie = await self.signed_in()
        self.assertIn(b"There are no calls", (await self.open("/console/calls", cookie)).body)
