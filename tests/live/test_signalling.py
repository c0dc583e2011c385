"""What passes between a trunk and a far end, in SIP and in sound, and what a recording keeps of it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from tests.live.gateway import shared_stack
from tests.live.test_rules import RuleTestCase
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.phone import Phone, PhoneEvent
from voxrec.sandbox.rootfs import ASTERISK_16, asterisk_rootfs
from voxrec.sandbox.sipp import Sipp, invite_ok_message, play_step, response_message, send_step
from voxrec.sandbox.stack import Stack

HIGH_HZ, OTHER_HIGH_HZ, THIRD_HZ = 6000.0, 5500.0, 1500.0
WIDE_RATE = 16000
SECRET = secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Talk:
    """A call that is being recorded: the Profile's id, the caller, and who answered."""

    stack: Stack
    profile: str
    caller: Phone
    callee: Phone


class SignallingTestCase(RuleTestCase):
    async def talk(
        self,
        seconds: float,
        *,
        caller: Mapping[str, Any] | None = None,
        callee: Mapping[str, Any] | None = None,
        **profile: Any,
    ) -> Talk:
        """Begin a call between two tones, with these arguments for the phones, and wait until it is answered."""
        stack = await shared_stack(self.recipe)
        tone = tones.write_tone(self.directory / "desk.tone.wav", demo_call.CALLEE_HZ, 1.0)
        answering = Phone.make_callee(self.reactor, self.directory, **{"play": tone, **(callee or {})})
        await self.phone(answering).start()
        given = {"record": True, "recordChannels": "dual", "recordBeepAtStart": False, **profile}
        made = await stack.request_json("PUT", "/profiles", {"remoteSipUri": answering.uri, **given})
        calling = await self.calls(stack, made["id"], seconds=seconds, **(caller or {}))
        await calling.wait_for("confirmed")
        return Talk(stack, made["id"], calling, answering)

    async def calls(self, stack: Stack, dialled: str, **how: Any) -> Phone:
        """A phone that begins to call."""
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{dialled}@{stack.sip_host_port}", **{"play": tone, **how}
        )
        return await self.phone(caller).start()

    async def assert_whole(self, talk: Talk, seconds: float) -> dict[str, Any]:
        """The recording is as long as the call, and the caller's and the far end's tones have no gap."""
        recording, samples, rate = await self.finished(talk.stack, talk.profile, talk.caller)
        self.assertApproximates(len(samples) / rate, seconds, 0.4)
        self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])
        return recording


class BandTests(SignallingTestCase):
    async def test_what_a_wide_band_call_carries_is_in_the_recording(self) -> None:
        high = tones.write_tone(self.directory / "high.wav", HIGH_HZ, 1.0, rate=WIDE_RATE)
        other = tones.write_tone(self.directory / "other.wav", OTHER_HIGH_HZ, 1.0, rate=WIDE_RATE)
        for form in ("wav", "flac"):
            talk = await self.talk(
                2.5,
                caller={"codec": "g722", "play": high},
                callee={"codec": "g722", "play": other},
                recordFormat=form,
            )
            recording, samples, rate = await self.finished(talk.stack, talk.profile, talk.caller)
            self.assertEqual((recording["format"], rate), (form, WIDE_RATE))
            seconds = len(samples) / rate
            self.assertApproximates(seconds, 2.5, 0.3)
            for channel, hz in ((demo_call.LEFT, HIGH_HZ), (demo_call.RIGHT, OTHER_HIGH_HZ)):
                missing = tones.missing_milliseconds(
                    samples[:, channel], rate, hz, demo_call.EDGE_SECONDS, seconds - demo_call.EDGE_SECONDS
                )
                self.assertLess(missing, demo_call.TOLERATED_GAP_MS, f"{form}, {hz} Hz")

    async def test_a_telephone_call_stays_at_8_khz(self) -> None:
        talk = await self.talk(2.0, caller={"codec": "pcma,g722"}, callee={"codec": "pcma"})
        _, samples, rate = await self.finished(talk.stack, talk.profile, talk.caller)
        self.assertEqual(rate, 8000)
        self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])


class BandOn16Tests(BandTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class HeaderTests(SignallingTestCase):
    def headers(self, invite: PhoneEvent, callee: Phone) -> dict[str, list[str]]:
        """Every header of the INVITE that the far end got, by its name in small letters."""
        trace = callee.received_audio.with_name(f"{callee.name}.sip.log").read_text(errors="replace").replace("\r", "")
        message = trace[trace.index(f"INVITE {invite.request_uri}") :].partition("\n\n")[0]
        found: dict[str, list[str]] = {}
        for line in message.splitlines()[1:]:
            name, _, value = line.partition(":")
            found.setdefault(name.lower(), []).append(value.strip())
        return found

    async def test_who_calls_and_for_whom_reaches_the_far_end(self) -> None:
        stack = await shared_stack(self.recipe)
        await self.let_through(stack, "X-Tenant")
        diversion = '"Smith, \\"Jo\\"; x" <sip:+4930123@pbx.example;user=phone>;reason=no-answer;counter=1;privacy=off'
        earlier = "<sip:+4930999@pbx.example>;reason=unconditional"
        history = "<sip:+4930123@pbx.example?Reason=SIP%3Bcause%3D302>;index=1"
        later = "<sip:+4930999@pbx.example>;index=1.1;mp=1, <sip:b@pbx.example>;index=1.2"
        talk = await self.talk(
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
        invite = talk.callee.event("incoming")
        got = self.headers(invite, talk.callee)
        self.assertEqual(got["diversion"], [f"{diversion}, {earlier}"])
        self.assertEqual(got["history-info"], [f"{history}, {later}"])
        self.assertEqual(got["x-tenant"], ["100% ${GLOBAL(x)}, a=b&c|d"])
        self.assertNotIn("x-unlisted", got)
        self.assertEqual((invite.number, invite.name), ("+49308888", "Alice Example"))
        (asserted,) = got["p-asserted-identity"]
        self.assertIn('"Alice Example" <sip:+49308888@', asserted)
        recording, _, _ = await self.finished(talk.stack, talk.profile, talk.caller)
        self.assertEqual((recording["from"], recording["fromName"]), ("+49308888", "Alice Example"))
        for name, value in (("call", "callId"), ("profile", "profileId"), ("dialled", "to")):
            self.assertEqual(got[f"x-voxrec-{name}"], [recording[value]])

    async def let_through(self, stack: Stack, name: str) -> None:
        """List one more header in the dialplan, as its comment messages."""
        dialplan = stack.asterisk.directory / "etc" / "voxrec" / "extensions.conf"
        listed = f"{name}=${{URIENCODE(${{PJSIP_HEADER(read,{name})}})}}"
        before = dialplan.read_text()
        self.addCleanup(dialplan.write_text, before)
        dialplan.write_text(before.replace("Set(VOXREC_HEADERS=", f"Set(VOXREC_HEADERS={listed},", 1))
        await stack.asterisk.run_console_command(self.reactor, "dialplan reload")

    async def test_names_and_values_that_break_nothing(self) -> None:
        for number, name, diversion in (
            ("+49(30)-1.2!*'", '"; <sip:x@y>', "<sip:%0d%0aX-Evil:1@x>;reason=%22"),
            ("anonymous", "${SHELL(id)} \\ %0d", f"<sip:{'9' * 900}@pbx.example>"),
            ("100'(*)'", "Ünïcödé 電話", 'nonsense, "without end'),
        ):
            talk = await self.talk(
                0.5, caller={"number": number, "display_name": name, "headers": [f"Diversion: {diversion}"]}
            )
            got = self.headers(talk.callee.event("incoming"), talk.callee)
            self.assertEqual(got["diversion"], [diversion])
            self.assertNotIn("x-evil", got)
            recording, _, _ = await self.finished(talk.stack, talk.profile, talk.caller)
            self.assertEqual((recording["from"], recording["fromName"]), (number, name))

    async def test_a_number_that_is_withheld_is_the_trunks_to_know(self) -> None:
        talk = await self.talk(
            2.0,
            caller={
                "number": "anonymous",
                "display_name": "Anonymous",
                "headers": ["Privacy: id", 'P-Asserted-Identity: "Alice Example" <sip:+49308888@pbx.example>'],
            },
            email="a@example.test",
        )
        got = self.headers(talk.callee.event("incoming"), talk.callee)
        self.assertIn("sip:anonymous@anonymous.invalid", got["from"][0])
        self.assertEqual(got["privacy"], ["id"])
        self.assertIn("<sip:+49308888@", got["p-asserted-identity"][0])
        (live,) = [call for call in await talk.stack.request_json("GET", "/calls") if call["profileId"] == talk.profile]
        self.assertNotIn("+49308888", str(live))
        recording, _, _ = await self.finished(talk.stack, talk.profile, talk.caller)
        self.assertEqual((recording["from"], recording["fromName"]), (None, None))
        _, mail = await talk.stack.wait_for_mail(recording["id"])
        text = mail.get_body(("plain",))
        assert text is not None
        self.assertIn("withheld", text.get_content())
        self.assertNotIn("49308888", mail.as_string())


class HeaderOn16Tests(HeaderTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class MediaTests(SignallingTestCase):
    async def test_a_caller_without_a_codec_in_common_is_488(self) -> None:
        stack = await shared_stack(self.recipe)
        made = await stack.request_json("PUT", "/profiles", {"remoteSipUri": f"sip:desk@{LOOPBACK}:9", "record": True})
        self.assertEqual((await (await self.calls(stack, made["id"], codec="gsm")).wait_until_ended()).code, 488)

    async def test_a_far_end_without_a_codec_in_common_is_488(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = Phone.make_callee(self.reactor, self.directory, answer_code=488)
        await self.phone(callee).start()
        made = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": True})
        self.assertEqual((await (await self.calls(stack, made["id"])).wait_until_ended()).code, 488)
        self.assertEqual(await stack.request_json("GET", f"/profiles/{made['id']}/recordings"), [])

    async def test_re_invites_of_either_side_keep_the_recording_whole(self) -> None:
        talk = await self.talk(4.0)
        await self.sleep(1)
        await talk.caller.reinvite()
        await self.sleep(1)
        await talk.callee.reinvite()
        await self.assert_whole(talk, 4.0)

    async def test_a_caller_who_sends_nothing_for_a_while_keeps_the_recording_whole(self) -> None:
        talk = await self.talk(9.0)
        await self.sleep(1)
        talk.caller.suspend_process()
        await self.sleep(6)
        talk.caller.continue_process()
        recording, samples, rate = await self.finished(talk.stack, talk.profile, talk.caller)
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

    async def test_a_fax_is_refused_and_the_call_goes_on(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = Sipp(self.reactor, self.directory / "fax", asterisk_rootfs(lambda _: None), "fax", demo_call.CALLEE_HZ)
        self.addCleanup(callee.stop)
        await callee.start_listening(fax_scenario(callee.path_inside("tone.ul")), [])
        made = await stack.request_json(
            "PUT",
            "/profiles",
            {
                "remoteSipUri": f"sip:fax@{LOOPBACK}:{callee.port}",
                "record": True,
                "recordChannels": "dual",
                "recordBeepAtStart": False,
            },
        )
        caller = await self.calls(stack, made["id"], seconds=3.5)
        _, samples, rate = await self.finished(stack, made["id"], caller)
        self.assertEqual(callee.results().split(), ["488"])
        self.assertApproximates(len(samples) / rate, 3.5, 0.3)
        self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])


class MediaOn16Tests(MediaTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class ConsultationTests(SignallingTestCase):
    async def test_who_was_consulted_takes_over(self) -> None:
        played = tones.write_tone(self.directory / "third.tone.wav", THIRD_HZ, 1.0)
        third = Phone.make_callee(self.reactor, self.directory, name="third", play=played)
        await self.phone(third).start()
        talk = await self.talk(6.0)
        await talk.callee.hold()
        await talk.callee.start_consultation(third.uri)
        await self.sleep(0.5)
        await talk.callee.complete_attended_transfer()
        recording, samples, rate = await self.finished(talk.stack, talk.profile, talk.caller)
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
        heard, heard_rate = tones.load_audio(third.received_audio)
        self.assertNotEqual(tones.tone_intervals(heard[:, 0], heard_rate, demo_call.CALLER_HZ), [])


class ConsultationOn16Tests(ConsultationTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class AuthenticatedTrunkTests(SignallingTestCase):
    """A trunk whose calls carry a password, both ways: pjsip.conf knows it, and voxrec nothing of it."""

    async def authenticate(self, stack: Stack) -> None:
        settings = stack.asterisk.directory / "etc" / "pjsip.conf"
        before = settings.read_text()
        known = "\ntype = auth\nauth_type = userpass\nusername = +15550100\n"
        settings.write_text(
            f"{before}[trunk-auth]{known}password = {SECRET}\n"
            "[trunk](+)\nauth = trunk-auth\noutbound_auth = trunk-auth\n"
        )

        async def undo() -> None:
            settings.write_text(before)
            await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")

        self.addCleanup(lambda: Deferred.fromCoroutine(undo()))
        await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")

    async def test_a_recorded_call_with_a_password_both_ways(self) -> None:
        stack = await shared_stack(self.recipe)
        await self.authenticate(stack)
        for status in (401, 407):
            name = f"desk-{status}"
            callee = Sipp(
                self.reactor, self.directory / name, asterisk_rootfs(lambda _: None), name, demo_call.CALLEE_HZ
            )
            self.addCleanup(callee.stop)
            await callee.start_listening(challenging_scenario(callee.path_inside("tone.ul"), status), [])
            made = await stack.request_json(
                "PUT",
                "/profiles",
                {
                    "remoteSipUri": f"sip:desk@{LOOPBACK}:{callee.port}",
                    "record": True,
                    "recordChannels": "dual",
                    "recordBeepAtStart": False,
                },
            )
            caller = await self.calls(stack, made["id"], seconds=2.0, password=SECRET, name=f"caller-{status}")
            _, samples, rate = await self.finished(stack, made["id"], caller)
            self.assertEqual(callee.results().split(), ["trusted"])
            self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, len(samples) / rate - demo_call.EDGE_SECONDS)])
        stranger = await self.calls(stack, made["id"], password="wrong", name="stranger")
        self.assertEqual((await stranger.wait_until_ended()).code, 401)


class AuthenticatedTrunkOn16Tests(AuthenticatedTrunkTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


TO = "[last_To:];tag=[pid]-[call_number]"


def fax_scenario(sound: str) -> str:
    """A SIPp far end that wants T.38 after a second of talk, and logs what it is told."""
    own = "Call-ID: [call_id]\nMax-Forwards: 70\nContact: <sip:fax@[local_ip]:[local_port]>"
    dialog = f"From: [$own];tag=[pid]-[call_number]\nTo: [$peer]\n{own}"
    via = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"
    image = (
        "v=0\no=voxrec 1 2 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=image 4444 udptl t38\n"
        "a=T38FaxVersion:0\na=T38MaxBitRate:14400"
    )
    wish = f"INVITE [next_url] SIP/2.0\n{via}\n{dialog}\nCSeq: 7 INVITE\nContent-Type: application/sdp\n"
    wish += f"Content-Length: [len]\n\n{image}"
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
{play_step(sound)}
<pause milliseconds="1000"/>
{send_step(wish, 'retrans="500"')}
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


def challenging_scenario(sound: str, status: int) -> str:
    """A SIPp far end that answers only who knows the password, and logs that it was so.

    With ``status`` 407 any password will do: SIPp can verify an Authorization only, no Proxy-Authorization.
    """
    challenge, proof = {
        401: ("WWW-Authenticate", f'<verifyauth assign_to="known" username="+15550100" password="{SECRET}"/>'),
        407: (
            "Proxy-Authenticate",
            '<ereg regexp="response=" search_in="hdr" header="Proxy-Authorization:" assign_to="known"/>',
        ),
    }[status]
    asked = f'{challenge}: Digest realm="far.example", nonce="47ebe028cda119c35d4877b383027d28", algorithm=MD5'
    refusal = response_message(status, "Who are you", TO).replace("Content-Length", f"{asked}\nContent-Length")
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="challenging">
<recv request="INVITE"/>
{send_step(refusal)}
<recv request="ACK"/>
<recv request="INVITE"><action>{proof}</action></recv>
<nop next="trusted" test="known"/>
{send_step(response_message(403, "Forbidden", TO))}
<recv request="ACK" next="done"/>
<label id="trusted"/>
{send_step(invite_ok_message(TO, "[rtpstream_audio_port]"), 'retrans="500"')}
<recv request="ACK"/>
{play_step(sound)}
<nop><action><log message="trusted"/></action></nop>
<recv request="BYE"/>
{send_step(response_message(200, "OK", "[last_To:]"))}
<label id="done"/>
</scenario>
"""
