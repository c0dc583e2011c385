"""``make demo``: one real call, from an empty machine to a mail with its recording, told to a person."""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.errors import VoxrecError
from voxrec.sandbox import demo_call as scene
from voxrec.sandbox import tones
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.stack import Stack

TALK_SECONDS = 10.0
KEPT_RUNS = 3
MAILBOX = "records@example.test"

console = Console(highlight=False)


def step(text: str) -> None:
    """Tell what is being done, and when it was."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim]  {text}", soft_wrap=True)


async def demo(reactor: Any, rootfs: Path | None, directory: Path) -> dict[str, Any]:
    """Run the demo in ``directory``; give back what was observed. Raises where anything was not."""
    stack = Stack(reactor, directory, rootfs)
    phones: list[Phone] = []
    try:
        await stack.start(step)
        return await _story(reactor, stack, phones, directory)
    finally:
        step("stopping everything")
        for phone in phones:
            phone.kill()
        await stack.stop()
        # a cluster of PostgreSQL is large, and of no use without its daemon
        shutil.rmtree(directory / "data", ignore_errors=True)


async def _story(reactor: Any, stack: Stack, phones: list[Phone], directory: Path) -> dict[str, Any]:
    phone_directory = directory / "phones"
    profile, desk = await scene.set_up(
        stack,
        reactor,
        phone_directory,
        name="Demo",
        email=MAILBOX,
        record=True,
        recordChannels="dual",
        recordBeepAtStart=True,
        recordPrompt="default",
    )
    phones.append(desk)
    step(f"PUT /profiles: {profile['id']} leads to {profile['remoteSipUri']}")
    step(f"a phone calls sip:{profile['id']}@{stack.sip}, and talks for {TALK_SECONDS:g} s")
    call = await scene.converse(stack, reactor, phone_directory, profile, desk, TALK_SECONDS)
    phones.append(call.caller)
    step("the caller has hung up; waiting for the recording")
    recording = await stack.recording_of(profile["id"])
    if recording["state"] != "completed":
        raise SandboxError(f"the recording is {recording['state']}: {recording['verdict']}\n{stack.voxrec_log()}")
    audio = await stack.request("GET", f"/recordings/{recording['id']}/audio")
    step(f"GET /recordings/{recording['id']}/audio: {audio.status}, {len(audio.body)} bytes")
    step("reading the mailbox")
    mail_file, mail = await stack.mail_about(recording["id"])
    (attachment,) = mail.iter_attachments()
    path = _stored(stack, recording["id"])
    heard = scene.listen(path)
    faults = [
        *heard.faults(),
        *_differences(path.read_bytes(), recording, audio.body, attachment.get_payload(decode=True)),
    ]
    _tell(call, recording, path, heard, mail_file, mail)
    if faults:
        raise SandboxError("; ".join(faults))
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
    }


def _stored(stack: Stack, recording_id: str) -> Path:
    found = list(stack.archive_directory.glob(f"[0-9]*/[0-9]*/[0-9]*/{recording_id}.*"))
    if len(found) != 1:
        raise SandboxError(f"{len(found)} files of {recording_id} in {stack.archive_directory}")
    return found[0]


def _differences(stored: bytes, recording: dict[str, Any], fetched: bytes, attached: object) -> list[str]:
    told = []
    if hashlib.sha256(stored).hexdigest() != recording["sha256"]:
        told.append("the stored file's SHA-256 is not the Recording's")
    if fetched != stored:
        told.append("REST gave other audio than is stored")
    if attached != stored:
        told.append("other audio was mailed than is stored")
    return told


def _tell(
    call: scene.Conversation, recording: dict[str, Any], path: Path, heard: scene.Heard, mail_file: Path, mail: Any
) -> None:
    console.rule("what happened")
    invite = call.desk.event("incoming")
    console.print(f'"{invite.name}" <{invite.number}> dialled {recording["to"]}')
    console.print(f"and was put through to {recording['remoteSipUri']} in {call.caller.setup_seconds * 1000:.0f} ms.\n")
    timeline = Table("seconds", "event", "by", box=None, pad_edge=False)
    for entry in recording["timeline"]:
        timeline.add_row(f"{entry['at']:7.3f}", entry["event"], entry.get("by") or "")
    console.print(timeline)
    samples, _ = tones.load(path)
    caller, callee = tones.sparkline(samples, 60).splitlines()
    console.print(f"\ncaller  (left)   {caller}\nfar end (right)  {callee}")
    console.print(
        f"\n{heard.seconds:.2f} s of audio. Missing: {heard.caller_missing:.0f} ms of the caller on the left, "
        f"{heard.callee_missing:.0f} ms of the far end on the right."
    )
    if heard.announcement_at is not None:
        console.print(f"The announcement is heard from {heard.announcement_at:.2f} s on.")
    console.print(f"\nstored: {path}", soft_wrap=True)
    console.print(f"mailed: {mail_file}", soft_wrap=True)
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        console.print(f"        {name}: {mail[name]}", soft_wrap=True, markup=False)
    console.rule()


def _directory() -> Path:
    """A new directory for this run; of earlier ones the newest stay."""
    runs = Path("demo")
    earlier = sorted(runs.glob("[0-9]*")) if runs.is_dir() else []
    for old in earlier[: max(0, len(earlier) - KEPT_RUNS + 1)]:
        shutil.rmtree(old, ignore_errors=True)
    directory = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000:03d}"
    directory.mkdir(parents=True)
    return directory.absolute()


def _fail(error: VoxrecError) -> None:
    console.print(f"[red]failed:[/red] {error.detail}", soft_wrap=True)


def main() -> None:
    """Run the demo; exit status 0 only if all of what its last line says was observed."""
    observed: dict[str, Any] = {}

    async def run(reactor: Any) -> None:
        try:
            observed.update(await demo(reactor, rootfs, _directory()))
        except VoxrecError as error:
            _fail(error)
            raise SystemExit(1) from error

    try:
        step("the root file system with Asterisk in it")
        rootfs = asterisk_rootfs(step)
    except VoxrecError as error:
        _fail(error)
        sys.exit(1)
    try:
        react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    print(json.dumps(observed))


if __name__ == "__main__":
    main()
