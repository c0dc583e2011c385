"""The command line of `voxrec.sandbox.softphone`."""

import argparse

from voxrec.sandbox.phone import CODECS


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--port", type=int, required=True, help="loopback port to listen on")
    shared.add_argument("--transport", choices=("udp", "tcp", "tls"), default="udp", help="transport of SIP")
    shared.add_argument("--certificate", default="", help="PEM file with certificate and private key, for TLS")
    shared.add_argument("--srtp", action="store_true", help="offer and accept encrypted audio only (SDES)")
    shared.add_argument("--number", default="phone", help="user part of the phone's own address")
    shared.add_argument("--name", default="", help="display name of the phone")
    shared.add_argument("--codec", default="pcmu", help=f"comma-separated, by preference: {', '.join(sorted(CODECS))}")
    shared.add_argument("--play", default="", help="WAV file to play")
    shared.add_argument("--play-once", action="store_true", help="play the file once instead of in a loop")
    shared.add_argument("--record", default="", help="WAV file for the received audio")
    shared.add_argument("--log", default="", help="file for the SIP trace")
    shared.add_argument("--seconds", type=float, default=float("inf"), help="seconds from the answer to the hang-up")
    top = argparse.ArgumentParser(prog="python -m voxrec.sandbox.softphone", description=description)
    roles = top.add_subparsers(dest="role", required=True)
    call = roles.add_parser("call", parents=[shared], help="place a call")
    call.add_argument("--to", required=True, help="SIP URI to call")
    call.add_argument("--cancel-after", type=float, help="cancel the call this many seconds after the INVITE")
    call.add_argument("--header", action="append", default=[], help="'Name: value' to add to the INVITE")
    call.add_argument("--password", default="", help="password for authentication challenges")
    answer = roles.add_parser("answer", parents=[shared], help="wait for a call")
    answer.add_argument("--ring-seconds", type=float, default=0.0)
    answer.add_argument("--early-media", action="store_true", help="ring with audio (183) instead of 180")
    answer.add_argument("--answer-code", type=int, default=200, help="200, or the code with which to reject the call")
    return top
