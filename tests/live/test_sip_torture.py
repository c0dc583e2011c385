"""Unusual but valid INVITEs as in RFC 4475: each becomes a call, a Recording, and a well-formed mail."""

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from tests.live.live_test_case import LiveTestCase, rootfs_of, shared_stack
from voxrec.sandbox.sipp import SippAnswerer
from voxrec.sandbox.stack import Stack

# Display name and user of the From header, as bytes on the wire, with the section of RFC 4475 that they come from.
FROM: Final[tuple[tuple[bytes, bytes], ...]] = (
    (rb'"J Rosenberg \\\""', b"jdrosen"),  # 3.1.1.1, quoted pairs
    (b"", b"sips%3Auser%40example.com"),  # 3.1.1.3, an escaped address as a user
    (b"", b"null-%00-null"),  # 3.1.1.4, an escaped NUL
    (b'"%Z%45"', b"resource"),  # 3.1.1.5, text that only looks escaped
    (b"caller  hello   world", b"c"),  # 3.1.1.6, a display name without quotation marks
    ('"I have a \u00fcser name of extremes \u2603\u202e"'.encode(), b"user%20;x=,;"),  # UTF-8, and a direction override
    (b'"\xff\xfe latin \xe9"', b"+4930111"),  # invalid UTF-8
    (rb'"\"; DROP TABLE recordings; -- $(reboot) `id` ../../etc/passwd"', b"-rf"),
    (b'"<script>alert(1)</script> {0} %s %(x)s ${EXTEN} =?utf-8?q?=0d=0aBcc:_x?="', b"1&2"),
    (b'"\x1b[2J\x1b]0;x\x07 \x7f"', b"+4930112"),  # terminal control sequences
    (b'"' + b"x" * 900 + b'"', b"9" * 300),
)
INVALID_DATAGRAMS: Final = (
    b"\0" * 64,
    b"INVITE",
    b"INVITE sip:x SIP/7.0\r\n\r\n",
    b"INVITE  sip:x@y  SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=\r\nContent-Length: -999\r\n\r\n",
    b"SIP/2.0 4294967301 better not break the receiver\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\r\n",
    b"\xff" * 3000,
)


class RawCaller(DatagramProtocol):
    """A user agent that sends each INVITE exactly as given, acknowledges a 200, and can hang up."""

    def __init__(self, stack: Stack) -> None:
        host, _, port = stack.sip_host_port.rpartition(":")
        self._peer = (host, int(port))
        self._responses: dict[bytes, Deferred[tuple[int, bytes]]] = {}

    def startProtocol(self) -> None:
        """Store the local port."""
        assert self.transport is not None
        self._port = self.transport.getHost().port

    def send(self, datagram: bytes) -> None:
        """Send a datagram to Asterisk."""
        assert self.transport is not None
        self.transport.write(datagram, self._peer)

    def datagramReceived(self, datagram: bytes, _addr: Any) -> None:
        """Pass each final response to the Deferred of its INVITE, and answer requests with 200."""
        start, _, rest = datagram.partition(b"\r\n")
        if not start.startswith(b"SIP/2.0 "):
            self.send(_ok_response(datagram))
            return
        status = int(start.split()[1])
        call = _header(rest, b"call-id")
        if status >= 200 and call in self._responses and b"INVITE" in _header(rest, b"cseq"):
            self._responses.pop(call).callback((status, _header(rest, b"to")))

    def invite(self, number: int, target: str, name: bytes, user: bytes) -> Deferred[tuple[int, bytes]]:
        """Send an INVITE; the result is the final status and the To header of the dialog."""
        self._call = b"torture-%d@127.0.0.1" % number
        self._from = b"%s <sip:%s@127.0.0.1>;tag=t%d" % (name, user, number)
        self._target = target.encode()
        sdp = b"\r\n".join(
            [b"v=0", b"o=- 1 1 IN IP4 127.0.0.1", b"s= ", b"c=IN IP4 127.0.0.1", b"t=0 0", b"m=audio 9 RTP/AVP 0", b""]
        )
        response = self._responses[self._call] = Deferred()
        # folded lines, compact header names, unusual case and spaces: RFC 4475, section 3.1.1.1
        self.send(
            b"\r\n".join(
                [
                    b"INVITE sip:%s@127.0.0.1;unknownparam SIP/2.0" % self._target,
                    b"TO :\r\n sip:%s@127.0.0.1" % self._target,
                    b"from   : " + self._from,
                    b"MaX-fOrWaRdS: 0068",
                    b"i: " + self._call,
                    b"cseq: 0009\r\n  INVITE",
                    b"Via  : SIP/2.0/UDP\r\n 127.0.0.1:%d ;rport;branch=z9hG4bKt%d" % (self._port, number),
                    b"s :",
                    b"NewFangledHeader:   newfangled value\r\n continued newfangled value",
                    b"UnknownHeaderWithUnusualValue: ;;,,;;,;",
                    b"User-Agent: \x1b[31m() { :;}; /bin/id %n <b>",
                    b'Diversion: "%s" <sip:a%%0d%%0aX-Evil%%3a1@x>;reason="\\"\\\\"' % (b"d" * 200),
                    b"m:<sip:torture@127.0.0.1:%d> ; newparam =\r\n  newvalue" % self._port,
                    b"c: application/sdp",
                    b"l:%d" % len(sdp),
                    b"",
                    sdp,
                ]
            )
        )
        return response

    def acknowledge(self, to: bytes, number: int) -> None:
        """Send the ACK of a 200."""
        self._in_dialog(b"ACK", 9, to, number)

    def hang_up(self, to: bytes, number: int) -> None:
        """Send a BYE."""
        self._in_dialog(b"BYE", 10, to, number)

    def _in_dialog(self, method: bytes, cseq: int, to: bytes, number: int) -> None:
        self.send(
            b"\r\n".join(
                [
                    b"%s sip:%s@%s:%d SIP/2.0" % (method, self._target, self._peer[0].encode(), self._peer[1]),
                    b"Via: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bK%s%d" % (self._port, method, number),
                    b"From: " + self._from,
                    b"To: " + to,
                    b"Call-ID: " + self._call,
                    b"CSeq: %d %s" % (cseq, method),
                    b"Max-Forwards: 70",
                    b"Content-Length: 0",
                    b"",
                    b"",
                ]
            )
        )


def _header(rest: bytes, name: bytes) -> bytes:
    short = {b"call-id": b"i", b"to": b"t"}.get(name, name)
    for line in rest.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() in (name, short):
            return value.strip()
    return b""


def _ok_response(request: bytes) -> bytes:
    """Return the 200 response to a request of Asterisk within a dialog."""
    headers = [
        line
        for line in request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        if line.partition(b":")[0].strip().lower() in (b"via", b"from", b"to", b"call-id", b"cseq")
    ]
    return b"\r\n".join([b"SIP/2.0 200 OK", *headers, b"Content-Length: 0", b"", b""])


class SipTortureTests(LiveTestCase):
    async def test_calls_with_unusual_headers_are_recorded_and_mailed(self) -> None:
        stack = await shared_stack()
        callee = SippAnswerer(self.reactor, self.directory / "desk", rootfs_of())
        await callee.start()
        self.addCleanup(callee.stop)
        # The phones send no audio: the recording contains the announcement only.
        profile = await stack.request_json(
            "PUT",
            "/profiles",
            {"remoteSipUri": callee.uri, "record": True, "recordPrompt": "default", "email": "a@example.test"},
        )
        before = stack.log_file.stat().st_size
        caller = RawCaller(stack)
        port = self.reactor.listenUDP(0, caller, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        # The response is 404 until the new Profile is in the cache.
        first = 0
        while (await self.place_call(caller, first, profile["id"], b"", b"first")) == 404:
            first += 1
        for datagram in INVALID_DATAGRAMS:
            caller.send(datagram)
        for number, (name, user) in enumerate(FROM, first + 1):
            status = await self.place_call(caller, number, profile["id"], name, user)
            self.assertEqual(status, 200, f"{name!r}: {stack.voxrec_log_tail(6)}")
        recordings: list[dict[str, Any]] = []

        async def all_completed() -> bool:
            recordings[:] = await stack.request_json("GET", f"/profiles/{profile['id']}/recordings")
            return len(recordings) == len(FROM) + 1 and all(each["state"] == "completed" for each in recordings)

        if not await stack.wait_until(all_completed, 40):
            self.fail(f"{len(recordings)} of {len(FROM) + 1}: {[each['state'] for each in recordings]}")
        for recording in recordings:
            _, mail = await stack.wait_for_mail(recording["id"])
            self.assert_mail_is_clean(mail)
        self.assert_log_is_clean(stack, before)
        await self.assert_asterisk_is_idle(stack)

    async def place_call(self, caller: RawCaller, number: int, target: str, name: bytes, user: bytes) -> int:
        """Place a call of one second, and return its final status."""
        status, to = await caller.invite(number, target, name, user).addTimeout(5, self.reactor)
        if status == 200:
            caller.acknowledge(to, number)
            await self.sleep(1)
            caller.hang_up(to, number)
        return status

    def assert_mail_is_clean(self, mail: Any) -> None:
        """Assert that the mail has voxrec's headers only, and no control characters in its text."""
        self.assertEqual(mail.defects, [])
        self.assertEqual(mail["To"], "a@example.test")
        self.assertEqual((mail["Bcc"], mail["X-Evil"]), (None, None))
        self.assertTrue(str(mail["Subject"]).isprintable(), mail["Subject"])
        text = mail.get_body(("plain",)).get_content()
        self.assertTrue(all(line.isprintable() for line in text.splitlines()), text)
        self.assertNotIn("<script>", mail.get_body(("html",)).get_content())

    def assert_log_is_clean(self, stack: Stack, before: int) -> None:
        with stack.log_file.open("rb") as file:
            file.seek(before)
            lines = file.read().decode().splitlines()
        self.assertEqual([line for line in lines if "Traceback" in line or not line.isprintable()], [])
