"""SIPp scenarios of a caller and of a callee, and the steps and SIP messages of which they consist."""

from dataclasses import dataclass
from html import escape

OK = 200
# A SIPp scenario must list every response that it accepts: these are the final responses of RFC 3261, section 21, and
# 422 to 494 of its extensions. A response that is not listed counts as a failed call without a code.
FINAL_CODES = (
    300, 301, 302, 305, 380,
    400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 413, 414, 415, 416, 420, 421, 422, 423, 433,
    480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493, 494,
    500, 501, 502, 503, 504, 505, 513, 580, 600, 603, 604, 606,
)  # fmt: skip
OTHER_RESPONSES = "\n".join(
    [
        *(f'<recv response="{code}" optional="true"/>' for code in (100, 180, 181, 183)),
        *(
            f'<recv response="{code}" optional="true" next="rejected"><action><assignstr assign_to="code" '
            f'value="{code}"/></action></recv>'
            for code in FINAL_CODES
        ),
    ]
)
"""Steps for responses other than 200: a rejection stores its code in ``code`` and jumps to the label ``rejected``."""


@dataclass(frozen=True)
class CallerMessages:
    """The SIP messages that a caller sends."""

    invite: str
    ack: str
    bye: str
    rejection_ack: str

    @classmethod
    def of(cls, number: str, display_name: str, audio_port: str) -> "CallerMessages":
        """Return the messages of a caller with audio at ``audio_port``; number and port may be SIPp keywords."""
        sender = f'"{display_name}" <sip:{number}@[local_ip]:[local_port]>;tag=[pid]-[call_number]'
        invite = f"""\
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: {sender}
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:{number}@[local_ip]:[local_port]>
Allow: INVITE, ACK, CANCEL, BYE
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

{session_description(audio_port)}"""
        within_dialog = f"""\
%s [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: {sender}
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: %s
Max-Forwards: 70
Content-Length: 0
"""
        # The ACK of a rejection belongs to the transaction of the INVITE (RFC 3261, section 17.1.1.3): same branch.
        rejection_ack = f"""\
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
From: {sender}
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0
"""
        return cls(invite, within_dialog % ("ACK", "1 ACK"), within_dialog % ("BYE", "2 BYE"), rejection_ack)


def caller_scenario(number: str, display_name: str, talk_seconds: float, media_file: str | None) -> str:
    """Return the SIPp scenario of a caller, which logs one line per call (see `parse_results`)."""
    messages = CallerMessages.of(number, display_name, "[rtpstream_audio_port]" if media_file else "[media_port]")
    play = play_step(media_file) if media_file else ""
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec caller">
<nop><action><gettimeofday assign_to="s0,u0"/></action></nop>
{send_step(messages.invite, 'retrans="500"')}
{OTHER_RESPONSES}
<recv response="200" rrs="true"><action><gettimeofday assign_to="s1,u1"/></action></recv>
{send_step(messages.ack)}
{play}
<recv request="BYE" timeout="{round(talk_seconds * 1000)}" ontimeout="hangup"/>
{send_step(response_message(200, "OK", "[last_To:]"), 'next="answered"')}
<label id="hangup"/>
{send_step(messages.bye, 'retrans="500"')}
<recv response="200"/>
<label id="answered"/>
<nop next="done"><action><log message="200 [$s0] [$u0] [$s1] [$u1]"/></action></nop>
<label id="rejected"/>
{send_step(messages.rejection_ack)}
<nop><action><log message="[$code]"/></action></nop>
<label id="done"/>
</scenario>
"""


def answerer_scenario(ring_seconds: float | None, code: int) -> str:
    """Return the SIPp scenario of a callee."""
    to = "[last_To:];tag=[pid]-[call_number]"
    # After a CANCEL, the INVITE is answered with 487 and its own CSeq (RFC 3261, section 9.2).
    cancelled = response_message(487, "Request Terminated", to).replace("[last_CSeq:]", "CSeq:[$cseq]")
    ring_timeout = "" if ring_seconds is None else f'timeout="{round(ring_seconds * 1000)}" ontimeout="decide"'
    ring = f"""\
{send_step(response_message(180, "Ringing", to))}
<recv request="CANCEL" {ring_timeout}/>
{send_step(response_message(200, "OK", to))}
{send_step(cancelled, 'retrans="500"')}
<recv request="ACK" next="done"/>
"""
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="voxrec answerer">
<recv request="INVITE"><action>
<ereg regexp=".*" search_in="hdr" header="CSeq:" assign_to="cseq"/>
</action></recv>
<Reference variables="cseq"/>
{"" if ring_seconds == 0 else ring}
<label id="decide"/>
{send_step(invite_ok_message(to) if code == OK else response_message(code, "Rejected", to), 'retrans="500"')}
<recv request="ACK"{' next="done"' if code != OK else ""}/>
<recv request="BYE"/>
{send_step(response_message(200, "OK", "[last_To:]"))}
<label id="done"/>
</scenario>
"""


def play_step(media_file: str) -> str:
    """Return the step that streams a raw G.711 file in a loop until the call ends."""
    return f'<nop><action><exec rtp_stream="{escape(media_file)},-1,0,PCMU/8000"/></action></nop>'


def send_step(message: str, attributes: str = "") -> str:
    """Return the step that sends a message."""
    return f"<send {attributes}><![CDATA[\n\n{message}\n]]></send>"


def response_message(code: int, reason: str, to: str) -> str:
    """Return a response to the last request; ``to`` is the To header, with a tag if the response creates a dialog."""
    return f"""\
SIP/2.0 {code} {reason}
[last_Via:]
[last_From:]
{to}
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:desk@[local_ip]:[local_port]>
Content-Length: 0
"""


def invite_ok_message(to: str, audio_port: str = "[media_port]") -> str:
    """Return the 200 response to an INVITE, with audio at ``audio_port``."""
    head = response_message(200, "OK", to).replace(
        "Content-Length: 0", "[last_Record-Route:]\nContent-Type: application/sdp"
    )
    return f"{head}Content-Length: [len]\n\n{session_description(audio_port)}"


def session_description(port: str) -> str:
    """Return the session description (SDP) of one G.711 stream."""
    return f"""\
v=0
o=voxrec 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio {port} RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=ptime:20"""
