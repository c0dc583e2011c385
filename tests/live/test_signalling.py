"""SIP signalling and audio between trunk and far end: bandwidth, headers, media changes, transfers, authentication."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from tests.live.live_test_case import RecordedCallTestCase, rootfs_of, shared_stack
from voxrec.deferreds import gather
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.phone import Phone, PhoneEvent
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import OK, SipMessage, SipResponse, SipUserAgent
from voxrec.sandbox.sipp import Sipp
from voxrec.sandbox.sipp_scenario import invite_ok_message, play_step, response_message, send_step
from voxrec.sandbox.stack import Stack

HIGH_HZ, OTHER_HIGH_HZ, THIRD_HZ = 6000.0, 5500.0, 1500.0
WIDE_RATE = 16000
SECRET = secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call that is being recorded: the stack, the Profile's id, the caller and the callee."""

    stack: Stack
    profile_id: str
    caller: Phone
    callee: Phone


class SignallingTestCase(RecordedCallTestCase):
    async def start_recorded_call(
        self,
        seconds: float,
        *,
        caller: Mapping[str, Any] | None = None,
        callee: Mapping[str, Any] | None = None,
        **profile: Any,
    ) -> RecordedCall:
        """Start a call between two tones, with further arguments for the phones, and wait for the answer."""
        stack = await shared_stack(self.recipe)
        tone = tones.write_tone(self.directory / "desk.tone.wav", demo_call.CALLEE_HZ, 1.0)
        callee_phone = Phone.make_callee(self.reactor, self.directory, **{"play": tone, **(callee or {})})
        await self.kill_at_end(callee_phone).start()
        fields = {"record": True, "recordChannels": "dual", "recordBeepAtStart": False, **profile}
        created = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee_phone.uri, **fields})
        caller_phone = await self.start_caller(stack, created["id"], seconds=seconds, **(caller or {}))
        await caller_phone.wait_for("confirmed")
        return RecordedCall(stack, created["id"], caller_phone, callee_phone)

    async def start_caller(self, stack: Stack, dialled: str, **options: Any) -> Phone:
        """Start a phone that calls ``dialled``, and return it."""
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{dialled}@{stack.sip_host_port}", **{"play": tone, **options}
        )
        return await self.kill_at_end(caller).start()

    async def assert_complete(self, call: RecordedCall, seconds: float) -> dict[str, Any]:
        """Assert that the recording has ``seconds`` and both tones without a gap, and return the Recording."""
        recording, samples, rate = await self.finished_recording(call.stack, call.profile_id, call.caller)
        self.assertApproximates(len(samples) / rate, seconds, 0.4)
        self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])
        return recording


class BandwidthTests(SignallingTestCase):
    async def test_a_wideband_call_is_recorded_at_16_khz(self) -> None:
        high = tones.write_tone(self.directory / "high.wav", HIGH_HZ, 1.0, rate=WIDE_RATE)
        other = tones.write_tone(self.directory / "other.wav", OTHER_HIGH_HZ, 1.0, rate=WIDE_RATE)
        for form in ("wav", "flac"):
            call = await self.start_recorded_call(
                2.5,
                caller={"codec": "g722", "play": high},
                callee={"codec": "g722", "play": other},
                recordFormat=form,
            )
            recording, samples, rate = await self.finished_recording(call.stack, call.profile_id, call.caller)
            self.assertEqual((recording["format"], rate), (form, WIDE_RATE))
            seconds = len(samples) / rate
            self.assertApproximates(seconds, 2.5, 0.3)
            for channel, hz in ((demo_call.LEFT, HIGH_HZ), (demo_call.RIGHT, OTHER_HIGH_HZ)):
                missing = tones.missing_milliseconds(
                    samples[:, channel], rate, hz, demo_call.EDGE_SECONDS, seconds - demo_call.EDGE_SECONDS
                )
                self.assertLess(missing, demo_call.TOLERATED_GAP_MS, f"{form}, {hz} Hz")

    async def test_a_narrowband_call_is_recorded_at_8_khz(self) -> None:
        call = await self.start_recorded_call(2.0, caller={"codec": "pcma,g722"}, callee={"codec": "pcma"})
        _, samples, rate = await self.finished_recording(call.stack, call.profile_id, call.caller)
        self.assertEqual(rate, 8000)
        self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])


class BandwidthOnAsterisk16Tests(BandwidthTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class HeaderTests(SignallingTestCase):
    def received_headers(self, invite: PhoneEvent, callee: Phone) -> dict[str, list[str]]:
        """Return the values of each header of an INVITE that the callee received, by lower-case name."""
        trace = callee.received_audio.with_name(f"{callee.name}.sip.log").read_text(errors="replace").replace("\r", "")
        message = trace[trace.index(f"INVITE {invite.request_uri}") :].partition("\n\n")[0]
        headers: dict[str, list[str]] = {}
        for line in message.splitlines()[1:]:
            name, _, value = line.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
        return headers

    async def test_caller_and_diversion_headers_reach_the_far_end(self) -> None:
        stack = await shared_stack(self.recipe)
        await self.pass_header(stack, "X-Tenant")
        diversion = '"Smith, \\"Jo\\"; x" <sip:+4930123@pbx.example;user=phone>;reason=no-answer;counter=1;privacy=off'
        earlier = "<sip:+4930999@pbx.example>;reason=unconditional"
        history = "<sip:+4930123@pbx.example?Reason=SIP%3Bcause%3D302>;index=1"
        later = "<sip:+4930999@pbx.example>;index=1.1;mp=1, <sip:b@pbx.example>;index=1.2"
        call = await self.start_recorded_call(
            2.0,
            caller={
                "number": "+4930901820",
                "display_name": 'Ålice, "A" <x>',
                "headers": [
                    f"Diversion: {diversion}",
                    f"Diversion: {earlier}",
                    f"History-Info: {history}",
                    f"History-Info: {later}",
                    'P-Asserted-Identity: "Alice Example" <sip:+49308888@pbx.example>',
                    "X-Tenant: 100% ${GLOBAL(x)}, a=b&c|d",
                    "X-Unlisted: secret",
                    "X-Voxrec-Call: forged",
                ],
            },
        )
        invite = call.callee.event("incoming")
        headers = self.received_headers(invite, call.callee)
        self.assertEqual(headers["diversion"], [f"{diversion}, {earlier}"])
        self.assertEqual(headers["history-info"], [f"{history}, {later}"])
        self.assertEqual(headers["x-tenant"], ["100% ${GLOBAL(x)}, a=b&c|d"])
        self.assertNotIn("x-unlisted", headers)
        self.assertEqual((invite.number, invite.name), ("+49308888", "Alice Example"))
        (asserted,) = headers["p-asserted-identity"]
        self.assertIn('"Alice Example" <sip:+49308888@', asserted)
        recording, _, _ = await self.finished_recording(call.stack, call.profile_id, call.caller)
        self.assertEqual((recording["from"], recording["fromName"]), ("+49308888", "Alice Example"))
        for name, value in (("call", "callId"), ("profile", "profileId"), ("dialled", "to")):
            self.assertEqual(headers[f"x-voxrec-{name}"], [recording[value]])

    async def pass_header(self, stack: Stack, name: str) -> None:
        """List one more header in the dialplan, as its comment messages."""
        dialplan = stack.asterisk.directory / "etc" / "voxrec" / "extensions.conf"
        entry = f"{name}=${{URIENCODE(${{PJSIP_HEADER(read,{name})}})}}"
        before = dialplan.read_text()
        self.addCleanup(dialplan.write_text, before)
        dialplan.write_text(before.replace("Set(VOXREC_HEADERS=", f"Set(VOXREC_HEADERS={entry},", 1))
        await stack.asterisk.run_console_command(self.reactor, "dialplan reload")

    async def test_unusual_names_and_header_values_are_passed_unchanged(self) -> None:
        for number, name, diversion in (
            ("+49(30)-1.2!*'", '"; <sip:x@y>', "<sip:%0d%0aX-Evil:1@x>;reason=%22"),
            ("anonymous", "${SHELL(id)} \\ %0d", f"<sip:{'9' * 900}@pbx.example>"),
            ("100'(*)'", "Ünïcödé 電話", 'nonsense, "without end'),
        ):
            call = await self.start_recorded_call(
                0.5, caller={"number": number, "display_name": name, "headers": [f"Diversion: {diversion}"]}
            )
            headers = self.received_headers(call.callee.event("incoming"), call.callee)
            self.assertEqual(headers["diversion"], [diversion])
            self.assertNotIn("x-evil", headers)
            recording, _, _ = await self.finished_recording(call.stack, call.profile_id, call.caller)
            self.assertEqual((recording["from"], recording["fromName"]), (number, name))

    async def test_a_withheld_number_is_passed_to_a_trusted_trunk_only(self) -> None:
        call = await self.start_recorded_call(
            2.0,
            caller={
                "number": "anonymous",
                "display_name": "Anonymous",
                "headers": ["Privacy: id", 'P-Asserted-Identity: "Alice Example" <sip:+49308888@pbx.example>'],
            },
            email="a@example.test",
        )
        headers = self.received_headers(call.callee.event("incoming"), call.callee)
        self.assertIn("sip:anonymous@anonymous.invalid", headers["from"][0])
        self.assertEqual(headers["privacy"], ["id"])
        self.assertIn("<sip:+49308888@", headers["p-asserted-identity"][0])
        (live,) = [
            each for each in await call.stack.request_json("GET", "/calls") if each["profileId"] == call.profile_id
        ]
        self.assertNotIn("+49308888", str(live))
        recording, _, _ = await self.finished_recording(call.stack, call.profile_id, call.caller)
        self.assertEqual((recording["from"], recording["fromName"]), (None, None))
        _, mail = await call.stack.wait_for_mail(recording["id"])
        text = mail.get_body(("plain",))
        assert text is not None
        self.assertIn("withheld", text.get_content())
        self.assertNotIn("49308888", mail.as_string())


class HeaderOnAsterisk16Tests(HeaderTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class MergedInviteTests(SignallingTestCase):
    """A trunk that forks sends an INVITE by two ways (RFC 3261 section 8.2.2.2)."""

    status = 482

    async def test_the_far_end_is_called_once_and_the_trunk_can_try_again_after_a_refusal(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, *ways = agents = [SipUserAgent(stack.asterisk.sip_address) for _ in range(4)]
        for agent in agents:
            agent.listen(self.reactor)
            self.addCleanup(agent.stop)
        fields = {"remoteSipUri": f"sip:desk@{far_end.host_port}", "record": False}
        profile = await stack.request_json("PUT", "/profiles", fields)
        same = {"Call-ID": f"{profile['id']}@trunk", "From": "<sip:+4930111@127.0.0.1>;tag=a1"}

        def invite(way: SipUserAgent) -> Deferred[SipMessage]:
            return Deferred.fromCoroutine(way.request(self.reactor, "INVITE", profile["id"], headers=same))

        async def merged() -> bool:
            return any(response.status == self.status for way in ways for response in way.received)

        async def called() -> bool:
            return bool(far_end.requests("INVITE"))

        far_end.invite_responses = (SipResponse(180),)
        calls = [invite(way) for way in ways[:2]]
        self.assertTrue(await stack.wait_until(merged, 10))
        self.assertTrue(await stack.wait_until(called, 10))
        (received,) = far_end.requests("INVITE")
        far_end.respond(received, 503)
        self.assertEqual({response.status for response in await gather(*calls)}, {self.status, 503})
        far_end.invite_responses = (OK,)
        self.assertEqual((await invite(ways[2])).status, 200)
        ways[2].hang_up()


class MergedInviteOnAsterisk16Tests(MergedInviteTests):
    """Asterisk 16 sends 403 instead of 482 (docs/calls.md)."""

    recipe = ASTERISK_16
    status = 403


class MediaTests(SignallingTestCase):
    async def test_a_caller_without_a_codec_in_common_is_488(self) -> None:
        stack = await shared_stack(self.recipe)
        fields = {"remoteSipUri": f"sip:desk@{LOOPBACK}:9", "record": True}
        created = await stack.request_json("PUT", "/profiles", fields)
        caller = await self.start_caller(stack, created["id"], codec="gsm")
        self.assertEqual((await caller.wait_until_ended()).code, 488)

    async def test_a_far_end_without_a_codec_in_common_is_488(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = Phone.make_callee(self.reactor, self.directory, answer_code=488)
        await self.kill_at_end(callee).start()
        created = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": True})
        caller = await self.start_caller(stack, created["id"])
        self.assertEqual((await caller.wait_until_ended()).code, 488)
        self.assertEqual(await stack.request_json("GET", f"/profiles/{created['id']}/recordings"), [])

    async def test_the_recording_continues_after_re_invites_of_either_side(self) -> None:
        call = await self.start_recorded_call(4.0)
        await self.sleep(1)
        await call.caller.reinvite()
        await self.sleep(1)
        await call.callee.reinvite()
        await self.assert_complete(call, 4.0)

    async def test_the_recording_continues_while_the_caller_sends_nothing(self) -> None:
        call = await self.start_recorded_call(9.0)
        await self.sleep(1)
        call.caller.suspend_process()
        await self.sleep(6)
        call.caller.continue_process()
        recording, samples, rate = await self.finished_recording(call.stack, call.profile_id, call.caller)
        seconds = len(samples) / rate
        self.assertApproximates(seconds, 9.0, 0.4)
        self.assertEqual(recording["timeline"][-1]["by"], "caller")
        missing = tones.missing_milliseconds(
            samples[:, demo_call.RIGHT],
            rate,
            demo_call.CALLEE_HZ,
            demo_call.EDGE_SECONDS,
            seconds - demo_call.EDGE_SECONDS,
        )
        self.assertLess(missing, demo_call.TOLERATED_GAP_MS)
        for start, end in ((demo_call.EDGE_SECONDS, 0.9), (7.5, seconds - demo_call.EDGE_SECONDS)):
            missing = tones.missing_milliseconds(samples[:, demo_call.LEFT], rate, demo_call.CALLER_HZ, start, end)
            self.assertLess(missing, demo_call.TOLERATED_GAP_MS, f"the caller from {start} to {end}")

    async def test_a_fax_is_rejected_and_the_call_continues(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = Sipp(self.reactor, self.directory / "fax", rootfs_of(), "fax", demo_call.CALLEE_HZ)
        self.addCleanup(callee.stop)
        await callee.start_listening(fax_scenario(callee.path_inside("tone.ul")), [])
        created = await stack.request_json(
            "PUT",
            "/profiles",
            {
                "remoteSipUri": f"sip:fax@{LOOPBACK}:{callee.port}",
                "record": True,
                "recordChannels": "dual",
                "recordBeepAtStart": False,
            },
        )
        caller = await self.start_caller(stack, created["id"], seconds=3.5)
        _, samples, rate = await self.finished_recording(stack, created["id"], caller)
        self.assertEqual(callee.results().split(), ["488"])
        self.assertApproximates(len(samples) / rate, 3.5, 0.3)
        self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])


class MediaOnAsterisk16Tests(MediaTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class AttendedTransferTests(SignallingTestCase):
    async def test_the_consulted_phone_replaces_the_callee(self) -> None:
        third_tone = tones.write_tone(self.directory / "third.tone.wav", THIRD_HZ, 1.0)
        third = Phone.make_callee(self.reactor, self.directory, name="third", play=third_tone)
        await self.kill_at_end(third).start()
        call = await self.start_recorded_call(6.0)
        await call.callee.hold()
        await call.callee.start_consultation(third.uri)
        await self.sleep(0.5)
        await call.callee.complete_attended_transfer()
        recording, samples, rate = await self.finished_recording(call.stack, call.profile_id, call.caller)
        entry = next(entry for entry in recording["timeline"] if entry["event"] == "transferred")
        self.assertEqual((entry["by"], entry["detail"]), ("callee", third.uri))
        seconds = len(samples) / rate
        self.assertApproximates(seconds, 6.0, 0.4)
        missing = tones.missing_milliseconds(
            samples[:, demo_call.LEFT],
            rate,
            demo_call.CALLER_HZ,
            demo_call.EDGE_SECONDS,
            seconds - demo_call.EDGE_SECONDS,
        )
        self.assertLess(missing, 2 * demo_call.TOLERATED_GAP_MS)  # re-INVITEs
        self.assertEqual(recording["timeline"][-1]["by"], "caller")
        missing = tones.missing_milliseconds(
            samples[:, demo_call.RIGHT], rate, THIRD_HZ, entry["at"] + 1.0, seconds - demo_call.EDGE_SECONDS
        )
        self.assertLess(missing, demo_call.TOLERATED_GAP_MS)
        received, received_rate = tones.load_audio(third.received_audio)
        self.assertNotEqual(tones.tone_intervals(received[:, 0], received_rate, demo_call.CALLER_HZ), [])


class AttendedTransferOnAsterisk16Tests(AttendedTransferTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class AuthenticatedTrunkTests(SignallingTestCase):
    """Calls over a trunk with authentication in both directions, which only pjsip.conf configures."""

    async def authenticate(self, stack: Stack) -> None:
        settings = stack.asterisk.directory / "etc" / "pjsip.conf"
        before = settings.read_text()
        auth = "\ntype = auth\nauth_type = userpass\nusername = +15550100\n"
        settings.write_text(
            f"{before}[trunk-auth]{auth}password = {SECRET}\n"
            "[trunk](+)\nauth = trunk-auth\noutbound_auth = trunk-auth\n"
            "[trusted](+)\noutbound_auth = trunk-auth\n"
        )

        async def restore() -> None:
            settings.write_text(before)
            await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")

        self.addCleanup(lambda: Deferred.fromCoroutine(restore()))
        await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")

    async def test_a_recorded_call_with_authentication_in_both_directions(self) -> None:
        stack = await shared_stack(self.recipe)
        await self.authenticate(stack)
        for status in (401, 407):
            name = f"desk-{status}"
            callee = Sipp(self.reactor, self.directory / name, rootfs_of(), name, demo_call.CALLEE_HZ)
            self.addCleanup(callee.stop)
            await callee.start_listening(challenging_scenario(callee.path_inside("tone.ul"), status), [])
            created = await stack.request_json(
                "PUT",
                "/profiles",
                {
                    "remoteSipUri": f"sip:desk@{LOOPBACK}:{callee.port}",
                    "record": True,
                    "recordChannels": "dual",
                    "recordBeepAtStart": False,
                },
            )
            options = {"seconds": 2.0, "password": SECRET, "name": f"caller-{status}"}
            caller = await self.start_caller(stack, created["id"], **options)
            _, samples, rate = await self.finished_recording(stack, created["id"], caller)
            self.assertEqual(callee.results().split(), ["authenticated"])
            self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])
        impostor = await self.start_caller(stack, created["id"], password="wrong", name="impostor")
        self.assertEqual((await impostor.wait_until_ended()).code, 401)


class AuthenticatedTrunkOnAsterisk16Tests(AuthenticatedTrunkTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


TO = "[last_To:];tag=[pid]-[call_number]"


def fax_scenario(media_file: str) -> str:
    """Return the scenario of a far end that requests T.38 after a second, and logs the status of the response."""
    own = "Call-ID: [call_id]\nMax-Forwards: 70\nContact: <sip:fax@[local_ip]:[local_port]>"
    dialog = f"From: [$own];tag=[pid]-[call_number]\nTo: [$peer]\n{own}"
    via = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"
    image = (
        "v=0\no=voxrec 1 2 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=image 4444 udptl t38\n"
        "a=T38FaxVersion:0\na=T38MaxBitRate:14400"
    )
    reinvite = f"INVITE [next_url] SIP/2.0\n{via}\n{dialog}\nCSeq: 7 INVITE\nContent-Type: application/sdp\n"
    reinvite += f"Content-Length: [len]\n\n{image}"
    acknowledgement = f"ACK [next_url] SIP/2.0\n[last_Via:]\n{dialog}\nCSeq: 7 ACK\nContent-Length: 0\n"
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="fax">
<recv request="INVITE" rrs="true"><action>
<ereg regexp="[^ ].*" search_in="hdr" header="From:" assign_to="peer"/>
<ereg regexp="[^ ].*" search_in="hdr" header="To:" assign_to="own"/>
</action></recv>
{send_step(invite_ok_message(TO, "[rtpstream_audio_port]"), 'retrans="500"')}
<recv request="ACK"/>
{play_step(media_file)}
<pause milliseconds="1000"/>
{send_step(reinvite, 'retrans="500"')}
<recv response="100" optional="true"/>
<recv response="200" optional="true" next="fax"/>
<recv response="488"/>
{send_step(acknowledgement)}
<nop><action><log message="488"/></action></nop>
<recv request="BYE"/>
{send_step(response_message(200, "OK", "[last_To:]"), 'next="done"')}
<label id="fax"/>
<nop><action><log message="200"/></action></nop>
<label id="done"/>
</scenario>
"""


def challenging_scenario(media_file: str, status: int) -> str:
    """Return the scenario of a far end that answers only an authenticated caller, and logs "authenticated".

    With ``status`` 407 it accepts any password: SIPp can verify an Authorization header, but no Proxy-Authorization.
    """
    challenge, verification = {
        401: ("WWW-Authenticate", f'<verifyauth assign_to="valid" username="+15550100" password="{SECRET}"/>'),
        407: (
            "Proxy-Authenticate",
            '<ereg regexp="response=" search_in="hdr" header="Proxy-Authorization:" assign_to="valid"/>',
        ),
    }[status]
    header = f'{challenge}: Digest realm="far.example", nonce="47ebe028cda119c35d4877b383027d28", algorithm=MD5'
    rejection = response_message(status, "Unauthorized", TO).replace("Content-Length", f"{header}\nContent-Length")
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="challenging">
<recv request="INVITE"/>
{send_step(rejection)}
<recv request="ACK"/>
<recv request="INVITE"><action>{verification}</action></recv>
<nop next="authenticated" test="valid"/>
{send_step(response_message(403, "Forbidden", TO))}
<recv request="ACK" next="done"/>
<label id="authenticated"/>
{send_step(invite_ok_message(TO, "[rtpstream_audio_port]"), 'retrans="500"')}
<recv request="ACK"/>
{play_step(media_file)}
<nop><action><log message="authenticated"/></action></nop>
<recv request="BYE"/>
{send_step(response_message(200, "OK", "[last_To:]"))}
<label id="done"/>
</scenario>
"""
