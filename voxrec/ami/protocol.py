"""One AMI connection: sends one action after the other and matches the responses to them by ActionID."""

import secrets
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import NamedTuple, cast

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime, ITCPTransport, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from voxrec.ami.messages import BANNER, LINE_LIMIT, AmiProtocolError, MessageDecoder, encode_action
from voxrec.deadline import Deadline
from voxrec.errors import AsteriskUnavailable, CommandNotSent, VoxrecError


class AmiResponseError(VoxrecError):
    """Asterisk answered an action with an error. ``message`` is its text."""

    status = 502
    code = "asterisk-refused"

    def __init__(self, action: str, message: str) -> None:
        super().__init__(f"Asterisk refused the AMI action {action}: {message}")
        self.message = message

    @property
    def channel_gone(self) -> bool:
        """Whether the channel of the action has ended meanwhile: an ordinary race with a party that hangs up."""
        return self.message == "No such channel"


class AmiResponse(msgspec.Struct, frozen=True):
    """The response to an action. ``fields`` are all its fields."""

    fields: Mapping[str, str]


class _Action(NamedTuple):
    """An action that has no response yet. ``limit``: seconds from when it is sent; ``deadline``: for sending it."""

    id: str
    name: str
    data: bytes
    limit: float
    deadline: float
    result: Deferred[AmiResponse]


class AmiProtocol(LineOnlyReceiver):
    """One connection. ``timeout`` is the time limit of an action in seconds.

    An action is sent when Asterisk has responded to the one before, since Asterisk executes one after the other: if it
    does not respond to one, the others have certainly no effect. If an action has no response within the limit, the
    connection is closed: Asterisk may execute the action later, and until then nothing else on this connection.

    ``greeted`` fires with the major version of AMI when the peer has sent Asterisk's banner, ``closed`` when the
    connection has closed; ``close_reason`` is the reason. Events are ignored: voxrec receives those of calls from ARI,
    and the login asks for none.
    """

    MAX_LENGTH = LINE_LIMIT

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self.greeted: Deferred[int] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.close_reason = ""
        self._clock = clock
        self._timeout = timeout
        self._decoder = MessageDecoder()
        self._queue: deque[_Action] = deque()
        self._sent: _Action | None = None
        self._limit = Deadline(clock)
        # The value of a channel variable can contain line feeds, and so what looks like a response: nobody who sets
        # one can guess an ActionID.
        self._id_prefix = secrets.token_hex(8)
        self._numbers = count(1)
        self._is_open = False

    @property
    def is_idle(self) -> bool:
        """Whether all actions have responses."""
        return self._sent is None

    def action(self, action: str, fields: Mapping[str, str], *, limit: float | None = None) -> Deferred[AmiResponse]:
        """Send an action when all earlier ones have responses, and return a Deferred of the response.

        The Deferred fails with `AmiResponseError` if Asterisk refuses the action, with `CommandNotSent` if the
        connection closes before it is sent or the earlier ones take more than ``timeout``, with another
        `AsteriskUnavailable` if no response arrives, within ``limit`` seconds in place of ``timeout``, and with
        `InvalidInput` for a value that AMI cannot carry. If no response arrives, the action may have been executed.
        """
        action_id = f"{self._id_prefix}-{next(self._numbers)}"
        try:
            data = encode_action(action, action_id, fields)
        except VoxrecError:
            return fail(Failure())
        if not self._is_open:
            return fail(_not_sent(action))

        def cancel(result: Deferred[AmiResponse]) -> None:
            result.errback(AsteriskUnavailable(f"{action} was cancelled before Asterisk responded"))

        result: Deferred[AmiResponse] = Deferred(cancel)
        deadline = self._clock.seconds() + self._timeout
        self._queue.append(_Action(action_id, action, data, limit or self._timeout, deadline, result))
        self._send_next()
        return result

    def _send_next(self) -> None:
        """Send the next action, unless another one has no response yet."""
        while self._queue and self._sent is None:
            action = self._queue.popleft()
            if action.result.called:
                continue  # it was cancelled
            if not self._is_open:
                action.result.errback(_not_sent(action.name))
            elif action.deadline <= self._clock.seconds():
                detail = f"Asterisk takes more than {self._timeout:g} s for the AMI actions before {action.name}"
                action.result.errback(CommandNotSent(detail))
            else:
                self._sent = action
                self._limit.start(action.limit, self._timed_out)
                _open(self.transport).write(action.data)

    def _take_sent(self) -> _Action | None:
        """Return the action that has no response, and wait for none any more."""
        action, self._sent = self._sent, None
        self._limit.cancel()
        return action

    def close(self, reason: str) -> None:
        """Close the connection without waiting for data that is still to be sent."""
        if self._is_open:
            self._is_open = False
            self.close_reason = reason
            _open(self.transport).abortConnection()

    def connectionMade(self) -> None:
        """Wait for the banner."""
        self._is_open = True
        if ITCPTransport.providedBy(self.transport):  # not with TLS over a transport of another kind
            self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Handle a line without its end."""
        if not self._is_open:
            return  # it arrived with the one for which the connection was closed
        if not self.greeted.called:
            banner = BANNER.fullmatch(line)
            if banner is not None:
                self.greeted.callback(int(banner[1]))
            else:
                self.close("the peer did not send the banner of AMI")
            return
        try:
            message = self._decoder.line_received(line)
        except AmiProtocolError as error:
            self.close(str(error))
            return
        if message is not None and "Response" in message:
            self._response_received(message)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        """Close the connection."""
        self.close(f"the peer sent a line of more than {self.MAX_LENGTH} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the actions without a response."""
        self._is_open = False
        self.close_reason = self.close_reason or reason.getErrorMessage()
        self._fail_sent(f"before the AMI connection closed: {self.close_reason}")
        self._send_next()  # fails them
        if not self.greeted.called:
            self.greeted.errback(AsteriskUnavailable(self.close_reason))
        self.closed.callback(None)

    def _timed_out(self) -> None:
        assert self._sent is not None, "the timer runs only then"
        limit = f"within {self._sent.limit:g} s"
        self.close(f"no response to {self._sent.name} {limit}")
        self._fail_sent(limit)

    def _fail_sent(self, circumstance: str) -> None:
        action = self._take_sent()
        if action is not None and not action.result.called:
            action.result.errback(AsteriskUnavailable(f"no response from Asterisk to {action.name} {circumstance}"))

    def _response_received(self, fields: Mapping[str, str]) -> None:
        if self._sent is None or fields.get("ActionID", "") != self._sent.id:
            return
        action = self._take_sent()
        self._send_next()
        if action is None or action.result.called:
            return  # it was cancelled
        if fields["Response"] == "Error":
            action.result.errback(AmiResponseError(action.name, fields.get("Message", "no reason given")))
        else:
            action.result.callback(AmiResponse(fields))


def _not_sent(action: str) -> CommandNotSent:
    return CommandNotSent(f"the AMI connection closed before {action} was sent")


def _open(transport: ITransport | None) -> ITCPTransport:
    return cast("ITCPTransport", transport)  # with TLS too
