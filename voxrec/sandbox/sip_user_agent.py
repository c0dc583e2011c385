"""A SIP user agent over UDP that sends each request exactly as a test composes it.

It has no media and no state machine: it is for requests that a well-behaved phone (`voxrec.sandbox.phone`) or SIPp
would not send. Requests that it receives within a dialog are answered with 200.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.protocol import DatagramProtocol

from voxrec.sandbox.asterisk import LOOPBACK

_COMPACT_NAMES = {"call-id": "i", "to": "t", "from": "f", "via": "v", "contact": "m"}


@dataclass(frozen=True)
class SipMessage:
    """A received request or response: its start line and its headers, in order, with lower-case names."""

    start_line: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, datagram: bytes) -> Self:
        """Parse a datagram; a malformed header line has an empty value."""
        head = datagram.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        start_line, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(start_line, tuple((name.strip().lower(), value.strip()) for name, _, value in pairs))

    @property
    def status(self) -> int | None:
        """The status code of a response; None for a request."""
        return int(self.start_line.split()[1]) if self.start_line.startswith("SIP/2.0 ") else None

    def header(self, name: str) -> str:
        """Return the first value of a header, also if its name is in compact form; empty if there is none."""
        names = {name.lower(), _COMPACT_NAMES.get(name.lower(), name.lower())}
        return next((value for key, value in self.headers if key in names), "")


class SipUserAgent(DatagramProtocol):
    """A user agent at a loopback ``address`` that sends its requests to ``peer`` (host, UDP port)."""

    def __init__(self, peer: tuple[str, int], address: str = LOOPBACK) -> None:
        self._peer = peer
        self._address = address
        self._port: IListeningPort | None = None
        self._final_responses: dict[str, Deferred[SipMessage]] = {}
        self.received: list[SipMessage] = []
        """Everything that was received, in order."""

    def listen(self, reactor: Any) -> None:
        """Bind a free UDP port."""
        self._port = reactor.listenUDP(0, self, interface=self._address)

    async def stop(self) -> None:
        """Close the port."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)

    @property
    def host_port(self) -> str:
        """The address and port of this user agent."""
        assert self._port is not None, "listen() comes first"
        return f"{self._address}:{self._port.getHost().port}"  # type: ignore[attr-defined] # IPv4Address

    def send(self, datagram: bytes) -> None:
        """Send a datagram as it is."""
        assert self.transport is not None, "listen() comes first"
        self.transport.write(datagram, self._peer)

    async def request(
        self,
        clock: IReactorTime,
        method: str,
        user: str,
        *,
        from_: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        timeout: float = 5.0,
    ) -> SipMessage:
        """Send a request to ``sip:user@peer`` outside a dialog and return its final response.

        ``from_`` is the value of the From header without its tag. ``headers`` are added to, or replace, the usual ones.
        ``body`` defaults to an SDP offer of G.711 for INVITE. A final response to INVITE is acknowledged. Raises
        `twisted.internet.defer.TimeoutError` after ``timeout`` seconds without a final response.
        """
        call_id = f"{secrets.token_hex(8)}@{self._address}"
        uri = f"sip:{user}@{self._peer[0]}:{self._peer[1]}"
        if body is None:
            body = self.sdp_offer() if method == "INVITE" else ""
        fields = {
            "Via": f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(6)}",
            "From": f"{from_ or f'<sip:tester@{self._address}>'};tag={secrets.token_hex(4)}",
            "To": f"<{uri}>",
            "Call-ID": call_id,
            "CSeq": f"1 {method}",
            "Contact": f"<sip:tester@{self.host_port}>",
            "Max-Forwards": "70",
            **({"Content-Type": "application/sdp" if method == "INVITE" else "text/plain"} if body else {}),
            **(headers or {}),
            "Content-Length": str(len(body.encode())),
        }
        final = self._final_responses[call_id] = Deferred()
        self._send_message(f"{method} {uri} SIP/2.0", fields, body)
        response = await final.addTimeout(timeout, clock)
        if method == "INVITE":
            in_dialog = {**fields, "To": response.header("to"), "Content-Length": "0"}
            in_dialog.pop("Content-Type", None)
            self._send_message(f"ACK {uri} SIP/2.0", {**in_dialog, "CSeq": "1 ACK"})
            self._dialog = (uri, in_dialog)
        return response

    def hang_up(self) -> None:
        """Send BYE in the dialog of the last INVITE."""
        uri, fields = self._dialog
        branch = f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(6)}"
        self._send_message(f"BYE {uri} SIP/2.0", {**fields, "Via": branch, "CSeq": "2 BYE"})

    def sdp_offer(self) -> str:
        """Return an SDP offer of G.711 at a port to which nobody listens."""
        lines = ["v=0", f"o=- 1 1 IN IP4 {self._address}", "s=-", f"c=IN IP4 {self._address}", "t=0 0"]
        return "\r\n".join([*lines, "m=audio 9 RTP/AVP 0 8", ""])

    def datagramReceived(self, datagram: bytes, _addr: Any) -> None:
        """Pass a final response to its request, and answer requests with 200."""
        message = SipMessage.parse(datagram)
        self.received.append(message)
        if message.status is None:
            self._answer(message)
        elif message.status >= 200 and (final := self._final_responses.pop(message.header("call-id"), None)):
            final.callback(message)

    def _answer(self, request: SipMessage) -> None:
        if request.start_line.startswith("ACK "):
            return
        copied = {"via", "v", "from", "f", "to", "t", "call-id", "i", "cseq"}
        lines = [f"{name}: {value}" for name, value in request.headers if name in copied]
        self.send("\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]).encode())

    def _send_message(self, start_line: str, fields: Mapping[str, str], body: str = "") -> None:
        lines = [start_line, *(f"{name}: {value}" for name, value in fields.items()), "", body]
        self.send("\r\n".join(lines).encode())
