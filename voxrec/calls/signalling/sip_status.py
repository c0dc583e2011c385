"""Which SIP status a caller gets if its call is not answered."""

from collections.abc import Mapping
from typing import Final

from voxrec.calls.signalling.causes import Cause

NO_RESPONSE: Final = 408
"""For a far end that neither rings nor answers (RFC 3261 section 21.4.9)."""
UNAVAILABLE: Final = 480
"""For a far end that rings but does not answer, and for a redirection that is not followed."""
FORBIDDEN: Final = 403
LOOP_DETECTED: Final = 482
FIRST_FINAL_FAILURE: Final = 300
_LAST: Final = 699
_FIRST_CLIENT_ERROR: Final = 400
# A challenge is for voxrec, which has no matching password; the caller cannot answer it without its header fields
# (RFC 3261 section 22.2).
_CHALLENGES: Final = frozenset({401, 407})
_ROUTING_ERRORS: Final = frozenset({482, 483})

# The causes with the nearest meaning among those for which every version of Asterisk has a SIP status of its own; the
# comments say which. A trunk tries another route after 5xx and 408, and none after 486 and 6xx.
_NEAREST_CAUSES: Final[Mapping[int, int]] = {
    **dict.fromkeys((401, 402, 403, 407, 428, 429, 433, 436, 437, 438, 482, 483), 21),  # 403
    **dict.fromkeys((404, 485, 604), 1),  # 404
    408: 18,  # 408
    410: 22,  # 410
    **dict.fromkeys((430, 440, 469, 480, 487, 491), 19),  # 480
    484: 28,  # 484
    **dict.fromkeys((486, 600), 17),  # 486
    **dict.fromkeys((406, 415, 488, 606), 58),  # 488
    **dict.fromkeys((405, 501), 29),  # 501
    502: 27,  # 502
    **dict.fromkeys((503, 504), Cause.FAR_END_CONGESTION),  # 503
}
_NEAREST_CAUSES_OF_CLASSES: Final[Mapping[int, int]] = {
    3: 19,  # 480
    4: 38,  # 500
    5: Cause.FAR_END_CONGESTION,  # 503
    6: 16,  # 603
}
_SERVER_FAILURES: Final = frozenset({500, 505, 513})  # 500


def status_for_caller(status: int) -> int:
    """Return the status for the caller of a far end that answers with ``status``; 0 if that is no final failure.

    It is the same status. Exceptions are a redirection that was not followed, which would lead the caller past voxrec,
    and a request for a password.
    """
    if not FIRST_FINAL_FAILURE <= status <= _LAST:
        return 0
    if status < _FIRST_CLIENT_ERROR:
        return UNAVAILABLE
    return FORBIDDEN if status in _CHALLENGES else status


def nearest_cause(status: int) -> int:
    """Return the Q.850 cause by which a version of Asterisk that cannot send ``status`` sends a similar status."""
    if status in _SERVER_FAILURES:
        return 38
    return _NEAREST_CAUSES.get(status, _NEAREST_CAUSES_OF_CLASSES.get(status // 100, Cause.CONGESTION))


def refusal_cause(status: int, cause: int) -> int:
    """Return the Q.850 cause of a leg that was refused with ``status``, for which Asterisk reports ``cause``.

    Asterisk reports 482 and 483 as causes of other statuses; RFC 3398 section 8.2.6.1 maps them to 25. Cause 34 is left
    to calls that a node does not accept: a SIP proxy in front of several nodes calls another node then, which must not
    call the far end again.
    """
    if status in _ROUTING_ERRORS:
        return Cause.ROUTING_ERROR
    return Cause.FAR_END_CONGESTION if cause == Cause.CONGESTION else cause


def status_of_cause(cause: int) -> int:
    """Return the status for the caller of a leg without a SIP response; 0: that to which Asterisk maps ``cause``.

    ARI of Asterisk 16 has no name for FAR_END_CONGESTION, and would send 603 instead of 503.
    """
    return 503 if cause == Cause.FAR_END_CONGESTION else 0
