"""``make demo``: set up everything, record one real call, and show the stored file and the mail."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TextIO

from rich.table import Table
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.errors import VoxrecError
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.console import console, print_error, print_step
from voxrec.sandbox.directory_lock import lock_directory
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.processor_pressure import ProcessorPressure
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.stack import Stack

CALL_SECONDS = 10.0
KEPT_RUNS = 3
MAIL_ADDRESS = "records@example.test"
MAX_CALLS = 3
"""Calls until one is recorded without gaps: a busy machine sends or records single packets too late."""


class IncompleteRecording(SandboxError):
    """The recording has gaps, as lost packets cause them; ``detail`` says which."""


async def demo(reactor: Any, rootfs: Path | None, directory: Path) -> dict[str, Any]:
    """Run the demo in ``directory`` and return the observed results.

    Raises SandboxError if any result differs from what is expected.
    """
    stack = Stack(reactor, directory, rootfs)
    stack.asterisk.prefer_audio = True
    phones: list[Phone] = []
    try:
        await stack.start(print_step)
        return await _repeat_incomplete(
            lambda number: _record_call(reactor, stack, phones, directory / f"phones-{number}", number)
        )
    finally:
        print_step("stopping all processes")
        for phone in phones:
            phone.kill()
        await stack.stop()


async def _repeat_incomplete(record_call: Callable[[int], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Return the result of ``record_call``, which gets the number of the call, after at most MAX_CALLS calls.

    Each repetition is announced, with its reason and with how busy the processors were meanwhile.
    """
    for number in range(1, MAX_CALLS):
        processors = ProcessorPressure()
        try:
            return await record_call(number)
        except IncompleteRecording as error:
            print_step(f"{error.detail}; {processors.describe()}")
            print_step(f"calling again: call {number + 1} of at most {MAX_CALLS}")
    return await record_call(MAX_CALLS)


async def _record_call(
    reactor: Any, stack: Stack, phones: list[Phone], phone_directory: Path, number: int
) -> dict[str, Any]:
    profile, callee = await demo_call.create_profile_and_callee(
        stack,
        reactor,
        phone_directory,
        name="Demo",
        email=MAIL_ADDRESS,
        record=True,
        recordChannels="dual",
        recordBeepAtStart=True,
        recordPrompt="default",
    )
    phones.append(callee)
    print_step(f"PUT /profiles: created Profile {profile['id']} with far end {profile['remoteSipUri']}")
    print_step(f"a phone calls sip:{profile['id']}@{stack.sip_host_port} for {CALL_SECONDS:g} s")
    call = await demo_call.place_call(stack, reactor, phone_directory, profile, callee, CALL_SECONDS)
    phones.append(call.caller)
    print_step("the caller has hung up; waiting for the recording")
    recording = await stack.wait_for_recording(profile["id"])
    if recording["state"] != "completed":
        raise SandboxError(f"the recording is {recording['state']}: {recording['verdict']}\n{stack.voxrec_log_tail()}")
    audio = await stack.request("GET", f"/recordings/{recording['id']}/audio")
    print_step(f"GET /recordings/{recording['id']}/audio: {audio.status}, {len(audio.body)} bytes")
    print_step("waiting for the mail")
    mail_file, mail = await stack.wait_for_mail(recording["id"])
    (attachment,) = mail.iter_attachments()
    path = _stored_file(stack, recording["id"])
    measurement = demo_call.measure_recording(path)
    differences = _content_differences(path.read_bytes(), recording, audio.body, attachment.get_payload(decode=True))
    _print_call(call, recording)
    _print_audio(path, measurement)
    _print_mail(mail_file, mail)
    if differences:
        raise SandboxError("; ".join(differences))
    if problems := "; ".join(measurement.problems()):
        raise IncompleteRecording(problems) if measurement.explained_by_lost_packets else SandboxError(problems)
    return {
        "profileId": profile["id"],
        "recordingId": recording["id"],
        "state": recording["state"],
        "path": str(path),
        "duration": recording["duration"],
        "channels": recording["channels"],
        "sha256": recording["sha256"],
        "mailedTo": mail["To"],
        "mailBytes": mail_file.stat().st_size,
        "setupSeconds": round(call.caller.setup_seconds, 4),
        "calls": number,
        "console": f"{stack.url}/console/recordings/{recording['id']}",
    }


def _stored_file(stack: Stack, recording_id: str) -> Path:
    files = list(stack.archive_directory.glob(f"[0-9]*/[0-9]*/[0-9]*/{recording_id}.*"))
    if len(files) != 1:
        raise SandboxError(
            f"expected one file of recording {recording_id} in {stack.archive_directory}, found {len(files)}"
        )
    return files[0]


def _content_differences(stored: bytes, recording: dict[str, Any], fetched: bytes, attached: object) -> list[str]:
    differences = []
    if hashlib.sha256(stored).hexdigest() != recording["sha256"]:
        differences.append("the SHA-256 of the stored file differs from the Recording's sha256")
    if fetched != stored:
        differences.append("the audio from the REST API differs from the stored file")
    if attached != stored:
        differences.append("the mail's attachment differs from the stored file")
    return differences


def _print_call(call: demo_call.CompletedCall, recording: dict[str, Any]) -> None:
    console.rule("result")
    invite = call.callee.event("incoming")
    console.print(f'"{invite.name}" <{invite.number}> dialled {recording["to"]}')
    console.print(f"and was connected to {recording['remoteSipUri']} in {call.caller.setup_seconds * 1000:.0f} ms.\n")
    timeline = Table("seconds", "event", "by", box=None, pad_edge=False)
    for entry in recording["timeline"]:
        timeline.add_row(f"{entry['at']:7.3f}", entry["event"], entry.get("by") or "")
    console.print(timeline)


def _print_audio(path: Path, measurement: demo_call.RecordingMeasurement) -> None:
    samples, _ = tones.load_audio(path)
    caller, callee = tones.sparkline(samples, 60).splitlines()
    console.print(f"\ncaller  (left)   {caller}\nfar end (right)  {callee}")
    console.print(
        f"\n{measurement.seconds:.2f} s of audio. Missing: {measurement.caller_missing:.0f} ms of the caller (left), "
        f"{measurement.callee_missing:.0f} ms of the far end (right).",
        soft_wrap=True,
    )
    if measurement.announcement_at is not None:
        console.print(f"The announcement starts at {measurement.announcement_at:.2f} s.")
    console.print(f"\nstored: {path}", soft_wrap=True)


def _print_mail(mail_file: Path, mail: EmailMessage) -> None:
    console.print(f"mailed: {mail_file}", soft_wrap=True)
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        console.print(f"        {name}: {mail[name]}", soft_wrap=True, markup=False)
    console.rule()


def _print_console(directory: Path, url: str) -> None:
    """Print how to see and hear the recording: voxrec has to run, on the data of this run, at the same address."""
    console.print("To see and hear this recording in the console, run", markup=False)
    console.print(f"  make run DATA={_relative(directory)}", soft_wrap=True, markup=False)
    console.print(f"and open {url}", soft_wrap=True, markup=False)


def _relative(directory: Path) -> Path:
    return directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory


def _new_run_directory(runs: Path = Path("demo")) -> tuple[Path, TextIO]:
    """Create a directory for this run, and return it with its lock.

    Delete all but the newest earlier ones, and of these the databases.
    """
    for number, old in enumerate(sorted(runs.glob("[0-9]*"), reverse=True), 1):
        try:
            with lock_directory(old):
                shutil.rmtree(old if number >= KEPT_RUNS else old / "data", ignore_errors=True)
        except SandboxError:  # the run is in progress, or 'make run' shows it
            continue
    directory = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000:03d}"
    directory.mkdir(parents=True)
    return directory.absolute(), lock_directory(directory)


def main() -> None:
    """Run the demo and print the results as JSON; exit status 1 if any expected result was not observed."""
    observed: dict[str, Any] = {}

    async def run(reactor: Any) -> None:
        directory, lock = _new_run_directory()
        try:
            observed.update(await demo(reactor, rootfs, directory))
            _print_console(directory, observed["console"])
        except VoxrecError as error:
            print_error(error.detail)
            raise SystemExit(1) from error
        finally:
            lock.close()

    try:
        print_step("preparing the root file system with Asterisk")
        rootfs = asterisk_rootfs(print_step)
    except VoxrecError as error:
        print_error(error.detail)
        sys.exit(1)
    try:
        react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    print(json.dumps(observed))


if __name__ == "__main__":
    main()
