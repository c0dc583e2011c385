"""The pages of Profiles: the list, one Profile, the form, deletion and the test."""

import html
import re
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import CREATED_AT, PROMPT_ID, ClientResponse
from tests.console.console_test_case import SAME_ORIGIN, ConsoleTestCase
from tests.subtest import subtest
from voxrec.config import Config
from voxrec.console.profile_form import DEFAULTS, FIELDS, GROUPS, READ_ONLY, display
from voxrec.console.rendering import LANGUAGES
from voxrec.model import CheckName, CheckState, Profile, ProfileCheck, ProfileCheckResult, RecordPrompt, SettingSource
from voxrec.profile_check.effective import effective_settings

PATH: Final = "/console/profiles"
_CONTROL: Final = re.compile(r'<(?:input|select|textarea)[^>]*\bname="(?P<name>\w+)"[^>]*>')
_EMPTY: Final = Profile(id=UUID(int=4), created_at=CREATED_AT, updated_at=CREATED_AT)


def controls(response: ClientResponse) -> dict[str, str]:
    """Return the tags of the controls of a form, by name."""
    return {match["name"]: match[0] for match in _CONTROL.finditer(response.body.decode())}


def form_values(response: ClientResponse) -> dict[str, str]:
    """Return what a browser would send if the user submitted the form of a page unchanged."""
    body = response.body.decode()
    values = {}
    for name, tag in controls(response).items():
        rest = body[body.index(tag) + len(tag) :]
        if tag.startswith("<textarea"):
            values[name] = html.unescape(rest.partition("</textarea>")[0]).replace("\n", "\r\n")
        elif tag.startswith("<select"):
            options = rest.partition("</select>")[0]
            (values[name],) = re.findall(r'<option value="([^"]*)" selected', options)
        elif "checkbox" not in tag or " checked" in tag:
            values[name] = html.unescape(tag.partition(' value="')[2].partition('"')[0])
    return values


def errors(response: ClientResponse) -> dict[str, str]:
    """Return the messages next to fields."""
    found = re.findall(r'<p class="error" id="(\w+)-error">(.*?)</p>', response.body.decode())
    return {name: html.unescape(text) for name, text in found}


class FormTests(SynchronousTestCase):
    def test_every_field_of_the_model_is_in_the_form(self) -> None:
        model = {field.encode_name for field in msgspec.structs.fields(Profile)} - READ_ONLY
        grouped = [name for names in GROUPS.values() for name in names]
        self.assertEqual({*grouped}, model)
        self.assertEqual(len(grouped), len(model), "a field is in two groups")
        self.assertEqual({*FIELDS}, model)

    def test_every_field_has_texts(self) -> None:
        settings = effective_settings(_EMPTY, Config(), None, trusted=False).settings
        expected = {
            *(f"{prefix}_{name}" for name in FIELDS for prefix in ("field", "help")),
            *(f"field_{setting.name}" for setting in settings),
            *(f"group_{group}" for group in (*GROUPS, "installation")),
            *(
                f"value_{field.name}_{value}"
                for field in FIELDS.values()
                for value in field.options
                if field.name != "recordFormat"
            ),
            *(f"check_{name}" for name in CheckName),
            *(f"check_state_{state}" for state in CheckState),
            *(f"source_{source}" for source in SettingSource),
        }
        for language in LANGUAGES.available.values():
            self.assertEqual(expected - {*language.texts}, set(), language.code)
            for name in FIELDS:
                self.assertRegex(language.text(f"help_{name}"), r"\.$")

    def test_controls_follow_from_the_types(self) -> None:
        for name, control, nullable, attributes in (
            ("name", "text", True, {"maxlength": 255}),
            ("record", "checkbox", False, {}),
            ("recordPrompt", "select", False, {}),
            ("recordPromptCustomId", "select", True, {}),
            ("ringTimeoutSeconds", "number", True, {"min": 1, "max": 600}),
            ("minDurationSeconds", "number", False, {"min": 0, "max": 86400, "required": True}),
            ("numbers", "lines", False, {"placeholder": "+4930123456"}),
            ("metadata", "json", False, {}),
        ):
            with subtest(name):
                field = FIELDS[name]
                self.assertEqual((field.control, field.nullable, field.attributes), (control, nullable, attributes))

    def test_a_default_survives_the_form(self) -> None:
        for field in FIELDS.values():
            with subtest(field.name):
                self.assertEqual(field.to_value(field.to_text(field.default)), field.default)

    def test_values_that_are_entered(self) -> None:
        for name, entered, value in (
            ("numbers", " +49 30 123 \r\n\r\n+4930124, +4930125", ["+4930123", "+4930124", "+4930125"]),
            ("maxCalls", " 3 ", 3),
            ("maxCalls", "-3", -3),
            ("maxCalls", "3.5", "3.5"),
            ("maxCalls", "9" * 5000, "9" * 5000),
            ("maxCalls", "²", "²"),
            ("name", "  ", None),
            ("metadata", '{"a": 1', '{"a": 1'),
            ("metadata", "[" * 100_000, "[" * 100_000),
            ("metadata", '{"a": 1}', msgspec.Raw(b'{"a": 1}')),
        ):
            with subtest((name, entered[:20])):
                self.assertEqual(FIELDS[name].to_value(entered), value)

    def test_values_in_words(self) -> None:
        for code, name, value, words in (
            ("en", "record", True, "yes"),
            ("de", "record", False, "nein"),
            ("en", "maxCalls", None, "\N{EN DASH}"),
            ("en", "maxCalls", 0, "0"),
            ("en", "ringTimeoutSeconds", 60.0, "60"),
            ("de", "ringTimeoutSeconds", 2.5, "2,5"),
            ("de", "recordPrompt", "custom", "eine eigene"),
            (
                "en",
                "numbers",
                [f"+4930{n}" for n in range(12)],
                ", ".join(f"+4930{n}" for n in range(10)) + " and 2 more",
            ),
            ("en", "metadata", {"a": "{b}"}, '{"a":"{b}"}'),
        ):
            with subtest((name, value)):
                self.assertEqual(display(LANGUAGES.available[code], name, value), words)


class ListTests(ConsoleTestCase):
    async def listed(self, cookie: str, search: str) -> list[str]:
        response = await self.open(f"{PATH}?{urlencode({'search': search})}", cookie)
        self.assertEqual(response.status, 200, response.body)
        return re.findall(r'<td class="wide"><a href="[^"]*">([^<]*)</a>', response.body.decode())

    async def test_search(self) -> None:
        cookie = await self.signed_in()
        sales = await self.add_profile(name="Sales 100%", numbers=("+4930111", "+4930112"))
        await self.add_profile(name="Support", numbers=("+4940222",), remote_sip_uri="sip:desk@pbx.example")
        await self.add_profile(numbers=("+4930333",))
        for search, names in (
            ("", ["+4930333", "Sales 100%", "Support"]),
            ("sALES", ["Sales 100%"]),
            ("%", ["Sales 100%"]),
            ("30 11", ["Sales 100%"]),
            ("+4940", ["Support"]),
            (str(sales.id).upper(), ["Sales 100%"]),
            ("nobody", []),
        ):
            with subtest(search):
                self.assertEqual(sorted(await self.listed(cookie, search)), names)

    async def test_pages(self) -> None:
        cookie = await self.signed_in()
        await self.add_profiles(51)
        response = await self.open(PATH, cookie)
        link = html.unescape(response.body.decode().partition('rel="next" href="')[2].partition('"')[0])
        response = await self.open(link, cookie)
        self.assertEqual((response.status, response.body.count(b'<td class="wide"><a')), (200, 1))

    async def test_only_provisioners_of_all_profiles_can_create(self) -> None:
        own, other = await self.add_profile(name="Own"), await self.add_profile(name="Other")
        listener = await self.signed_in()
        await self.add_user("ben", "provision")
        await self.add_user("carol", "provision", profileIds=[str(own.id)])
        for cookie, creates, names in (
            (listener, False, ["Other", "Own"]),
            (await self.sign_in("ben"), True, ["Other", "Own"]),
            (await self.sign_in("carol"), False, ["Own"]),
        ):
            body = (await self.open(PATH, cookie)).body
            self.assertEqual(b"/console/profiles/new" in body, creates)
            self.assertEqual(sorted(await self.listed(cookie, "")), names)
        self.assertEqual((await self.open(f"{PATH}/{other.id}", await self.sign_in("carol"))).status, 404)


class AnnouncementTests(ConsoleTestCase):
    async def test_only_users_who_may_add_prompts_can_record_them(self) -> None:
        profile = await self.add_profile(name="Own")
        await self.add_user("ben", "provision")
        await self.add_user("carol", "provision", profileIds=[str(profile.id)])
        for name, may_add in (("ben", True), ("carol", False)):
            response = await self.open(f"{PATH}/{profile.id}/edit", await self.sign_in(name))
            self.assertEqual(response.status, 200)
            self.assertEqual(b'id="prompt-new"' in response.body, may_add)
            self.assertEqual(b"announcement.js" in response.body, may_add)

    async def test_only_the_form_may_use_the_microphone(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile()
        for path, microphone, media in (
            (PATH, "microphone=()", "media-src 'self';"),
            (f"{PATH}/{profile.id}", "microphone=()", "media-src 'self';"),
            (f"{PATH}/{profile.id}/edit", "microphone=(self)", "media-src 'self' blob:;"),
            (f"{PATH}/new", "microphone=(self)", "media-src 'self' blob:;"),
            ("/docs", "microphone=()", "media-src blob:;"),
            ("/profiles", "microphone=()", "default-src 'none'"),
        ):
            headers = (await self.open(path, cookie)).headers
            self.assertIn(microphone, headers["permissions-policy"], path)
            self.assertIn(media, headers["content-security-policy"], path)


class EditTests(ConsoleTestCase):
    async def test_create(self) -> None:
        cookie = await self.signed_in("provision")
        page = await self.open(f"{PATH}/new", cookie)
        self.assertEqual(page.status, 200, page.body)
        self.assertEqual({*controls(page)}, {*FIELDS, "version"})
        values = {
            **form_values(page),
            "name": "Sales",
            "numbers": "+4930111\r\n+4930112",
            "record": "true",
            "maxCalls": "3",
            "recordPrompt": "custom",
            "recordPromptCustomId": str(PROMPT_ID),
            "metadata": '{"customer": "42"}',
        }
        del values["recordBeepAtStart"]
        response = await self.submit(f"{PATH}/new", cookie, **values)
        self.assertEqual(response.status, 303, response.body)
        profile = (
            await self.request("GET", response.headers["location"].removeprefix("/console").partition("?")[0])
        ).json
        expected = {
            **DEFAULTS,
            "name": "Sales",
            "numbers": ["+4930111", "+4930112"],
            "record": True,
            "recordBeepAtStart": False,
            "maxCalls": 3,
            "recordPrompt": "custom",
            "recordPromptCustomId": str(PROMPT_ID),
            "metadata": {"customer": "42"},
        }
        self.assertEqual({name: value for name, value in profile.items() if name not in READ_ONLY}, expected)
        entry = (await self.request("GET", "/audit?limit=1")).json[0]
        self.assertEqual((entry["who"], entry["method"], entry["path"]), ("anna", "PUT", "/profiles"))

    async def test_errors_are_next_to_their_fields_and_entries_are_kept(self) -> None:
        cookie = await self.signed_in("provision")
        await self.add_profile(numbers=("+4930999",))
        entered: dict[str, str] = {
            **form_values(await self.open(f"{PATH}/new", cookie)),
            "name": '"><b>x</b>',
            "numbers": "030 123",
            "email": "nobody",
            "maxCalls": "many",
            "remoteSipUri": "sip:desk@evil.test",
            "recordPrompt": "custom",
            "recordPromptCustomId": "",
            "recordResumeCode": "*2",
            "metadata": '{"a": 1',
            "record": "true",
            "minDurationSeconds": "",
        }
        response = await self.submit(f"{PATH}/new", cookie, **entered)
        self.assertEqual(response.status, 422)
        messages = errors(response)
        named = {"numbers", "maxCalls", "remoteSipUri", "metadata", "minDurationSeconds"}
        self.assertLessEqual(named, {*messages})
        self.assertIn("do not permit calls to this host", messages["remoteSipUri"])
        self.assertEqual(messages["metadata"], 'Not a JSON object, such as {"customer": "42"}.')
        for name, tag in controls(response).items():
            self.assertEqual('aria-invalid="true"' in tag, name in messages, tag)
            if name in messages:
                self.assertIn(f'aria-describedby="{name}-help {name}-error"', tag)
        again = form_values(response)
        self.assertEqual({name: again.get(name) for name in entered}, entered)
        self.assertNotIn(b"<b>x", response.body)
        duplicate = await self.submit(f"{PATH}/new", cookie, numbers="+4930999", recordBeepAtStart="true")
        self.assertEqual((duplicate.status, [*errors(duplicate)]), (409, ["numbers"]))

    async def test_an_unchanged_form_changes_nothing(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(
            name=" Sales \n",
            numbers=("+4930111",),
            remote_sip_uri="sip:desk@no-longer-allowed.test",
            record_format="wav49",
            metadata={"ü": [1, {"b": None}]},
            webhook_url="ftp://earlier.example",
        )
        path = f"{PATH}/{profile.id}/edit"
        response = await self.submit(path, cookie, **form_values(await self.open(path, cookie)))
        self.assertEqual(
            (response.status, response.headers.get("location")), (303, f"{PATH}/{profile.id}?done=profile_saved")
        )
        self.assertEqual(await self.profiles.get(profile.id), profile)

    async def test_change(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(name="Sales", record_beep_at_start=True, max_calls=3)
        path = f"{PATH}/{profile.id}/edit"
        values = {**form_values(await self.open(path, cookie)), "name": "Support", "maxCalls": ""}
        del values["recordBeepAtStart"]
        response = await self.submit(path, cookie, **values)
        self.assertEqual(response.status, 303, response.body)
        changed = await self.profiles.get(profile.id)
        self.assertEqual((changed.name, changed.record_beep_at_start, changed.max_calls), ("Support", False, None))
        entry = (await self.request("GET", "/audit?limit=1")).json[0]
        self.assertEqual(sorted(entry["fields"]), ["maxCalls", "name", "recordBeepAtStart"])

    async def test_two_editors_do_not_overwrite_each_other(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(name="Sales")
        path = f"{PATH}/{profile.id}/edit"
        values = form_values(await self.open(path, cookie))
        await self.request("POST", f"/profiles/{profile.id}", json={"name": "Support", "maxCalls": 2})
        response = await self.submit(path, cookie, **{**values, "name": "Marketing"})
        self.assertEqual(response.status, 412)
        body = response.body.decode()
        self.assertIn("Another user has changed this Profile since you opened it. Nothing was saved.", body)
        self.assertIn('<a href="#name">Name</a>: Support is stored', body)
        self.assertIn('<a href="#maxCalls">Maximum number of calls</a>: 2 is stored', body)
        self.assertEqual((await self.profiles.get(profile.id)).name, "Support")
        for version in ("", '"made up"'):
            refused = await self.submit(path, cookie, **{**values, "version": version})
            self.assertEqual(refused.status, 412)
        shown = form_values(response)
        self.assertEqual(shown["name"], "Marketing")
        saved = await self.submit(path, cookie, **{**shown, "maxCalls": "2"})
        self.assertEqual(saved.status, 303, saved.body)
        changed = await self.profiles.get(profile.id)
        self.assertEqual((changed.name, changed.max_calls), ("Marketing", 2))

    async def test_entries_for_a_profile_that_was_deleted_meanwhile_are_kept(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(name="Sales")
        path = f"{PATH}/{profile.id}/edit"
        values = form_values(await self.open(path, cookie))
        await self.request("DELETE", f"/profiles/{profile.id}")
        response = await self.submit(path, cookie, **{**values, "name": "Marketing", "maxCalls": "3"})
        self.assertEqual(response.status, 404)
        body = response.body.decode()
        self.assertIn("This Profile was deleted since you opened it. Nothing was saved.", body)
        self.assertIn(f'action="{PATH}/new"', body)
        created = await self.submit(f"{PATH}/new", cookie, **form_values(response))
        self.assertEqual(created.status, 303, created.body)
        [stored] = (await self.request("GET", "/profiles")).json
        self.assertEqual((stored["name"], stored["maxCalls"]), ("Marketing", 3))

    async def test_a_provisioner_of_one_profile_edits_it(self) -> None:
        profile = await self.add_profile(
            name="Sales", record_prompt=RecordPrompt.CUSTOM, record_prompt_custom_id=PROMPT_ID
        )
        cookie = await self.signed_in("provision", profileIds=[str(profile.id)])
        path = f"{PATH}/{profile.id}/edit"
        page = await self.open(path, cookie)
        self.assertEqual(page.status, 200, page.body)
        values = form_values(page)
        self.assertEqual(values["recordPromptCustomId"], str(PROMPT_ID))
        self.assertEqual((await self.submit(path, cookie, **{**values, "name": "Support"})).status, 303)
        changed = await self.profiles.get(profile.id)
        self.assertEqual((changed.name, changed.record_prompt_custom_id), ("Support", PROMPT_ID))
        self.assertEqual((await self.open(f"{PATH}/new", cookie)).status, 403)

    async def test_delete(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(name="Sales")
        page = (await self.open(f"{PATH}/{profile.id}", cookie)).body.decode()
        version = html.unescape(page.partition('name="version" value="')[2].partition('"')[0])
        await self.request("POST", f"/profiles/{profile.id}", json={"name": "Support"})
        stale = await self.submit(f"{PATH}/{profile.id}/delete", cookie, version=version)
        self.assertEqual(stale.status, 412)
        self.assertIn(b"It was not deleted", stale.body)
        page = (await self.open(f"{PATH}/{profile.id}", cookie)).body.decode()
        version = html.unescape(page.partition('name="version" value="')[2].partition('"')[0])
        response = await self.submit(f"{PATH}/{profile.id}/delete", cookie, version=version)
        self.assertEqual((response.status, response.headers.get("location")), (303, f"{PATH}?done=profile_deleted"))
        self.assertEqual((await self.open(f"{PATH}/{profile.id}", cookie)).status, 404)

    async def test_others_only_read(self) -> None:
        cookie = await self.signed_in("supervise")
        profile = await self.add_profile(name="Sales")
        path = f"{PATH}/{profile.id}"
        body = (await self.open(path, cookie)).body
        for text in (b"/edit", b"/test", b"/delete"):
            self.assertNotIn(text, body)
        for each in (f"{path}/edit", f"{PATH}/new"):
            response = await self.open(each, cookie)
            self.assertEqual(response.status, 403)
            self.assertIn(b"This page requires the role provisioner.", response.body)
        for each in (f"{path}/edit", f"{path}/delete", f"{path}/test", f"{PATH}/new"):
            with subtest(each):
                self.assertEqual((await self.submit(each, cookie, name="x")).status, 403)
        self.assertEqual(await self.profiles.get(profile.id), profile)

    async def test_pages_of_other_sites_cannot_change_profiles(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile()
        other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        for action in (f"{profile.id}/edit", f"{profile.id}/delete", f"{profile.id}/test", "new"):
            response = await self.submit(f"{PATH}/{action}", cookie, headers=other)
            self.assertEqual(response.status, 403, action)
        self.assertEqual(await self.profiles.get(profile.id), profile)


class ProfilePageTests(ConsoleTestCase):
    detail = "found {name}"

    async def check_profile(self, profile: Profile) -> ProfileCheckResult:
        checks = tuple(
            ProfileCheck(
                name=name,
                target="<b>",
                state=state,
                detail=self.detail.format(name=name),
                advice=f"fix {name}",
                seconds=1.25,
            )
            for name, state in zip(CheckName, [*CheckState, *CheckState], strict=False)
        )
        return ProfileCheckResult(
            profile_id=profile.id, node="pbx-1", checked_at=CREATED_AT, state=CheckState.FAILED, checks=checks
        )

    async def test_result_of_the_test(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(name="Sales")
        response = await self.submit(f"{PATH}/{profile.id}/test", cookie)
        self.assertEqual(response.status, 200, response.body)
        body = response.body.decode()
        self.assertIn('Result of the test: <span class="state check-failed">does not work</span>', body)
        table = body.partition('id="checks"')[2].partition("</table>")[0]
        for text in (
            "Far end",
            "works",
            "needs attention",
            "not checked",
            "found mailbox",
            "fix webhook",
            "1.2 s",
            "pbx-1",
        ):
            self.assertIn(text, table if text != "pbx-1" else body)
        self.assertNotIn("<b>", body)
        self.detail = "the Profile has no webhook of its own"
        german = await self.submit(f"{PATH}/{profile.id}/test", cookie, {**SAME_ORIGIN, "Accept-Language": "de"})
        self.assertEqual(german.status, 200)
        for text in ("das Profil hat keinen eigenen Webhook", ">1,2 s<"):
            self.assertIn(text, german.body.decode())

    async def test_too_many_tests(self) -> None:
        cookie = await self.signed_in("provision")
        path = f"{PATH}/{(await self.add_profile(name='Sales')).id}/test"
        responses = [await self.submit(path, cookie) for _ in range(21)]
        self.assertEqual([response.status for response in responses], [200] * 20 + [429])
        self.assertIn(b"Sales", responses[-1].body)
        self.assertRegex(responses[-1].body, rb'role="alert">[^<]*possible 20 times in 60 s')

    async def test_effective_settings(self) -> None:
        cookie = await self.signed_in()
        profile = await self.add_profile(name="Sales", record=True, language="de")
        rows: dict[str, Any] = {}
        body = (await self.open(f"{PATH}/{profile.id}", cookie)).body.decode()
        for label, value, source in re.findall(
            r'<th scope="row">(.*?)</th>\s*<td class="wide">(.*?)</td>\s*<td data-label="Source">(.*?)</td>', body
        ):
            rows[label] = (value, source)
        self.assertEqual(rows["Record calls"], ("yes", "this Profile"))
        self.assertEqual(rows["Ringing time (seconds)"], ("60", "default <code>calls.ring_timeout</code>"))
        self.assertEqual(rows["Language of the announcement"], ("de", "this Profile"))
        settings = (await self.request("GET", f"/profiles/{profile.id}/effective")).json["settings"]
        self.assertEqual(len(rows), len(settings))
