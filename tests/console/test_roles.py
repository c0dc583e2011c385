"""What each role may do: every route of the console and of the REST API requires the role of this table."""

import re
from typing import Final

from tests.api.rest_test_case import ClientResponse
from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest
from voxrec.model import Role
from voxrec.web.route import Route

ROLES: Final = tuple(Role)
UNKNOWN: Final = "00000000-0000-4000-8000-000000000000"
# The lowest role for the routes of the console: prefix of the path, methods, role. The first row that matches applies.
# None: without a session. Forms that are open to every role use REST, which checks the role; see test_forms.
CONSOLE: Final[tuple[tuple[str, tuple[str, ...], Role | None], ...]] = (
    ("/console/sign-in", ("GET", "POST"), None),
    ("/console/signed-out", ("GET",), None),
    ("/console/assets/", ("GET",), None),
    ("/console/problem-text", ("POST",), None),
    ("/console/calls/<id>/hang-up", ("GET",), Role.SUPERVISE),
    ("/console/profiles/new", ("GET", "POST"), Role.PROVISION),
    ("/console/profiles/<id>/", ("GET", "POST"), Role.PROVISION),
    ("/console/certificates/new", ("GET", "POST"), Role.PROVISION),
    ("/console/certificates", ("POST",), Role.PROVISION),
    ("/console/webhooks", ("GET", "POST"), Role.PROVISION),
    ("/console/users", ("GET", "POST"), Role.ADMIN),
    ("/console/tokens", ("GET", "POST"), Role.ADMIN),
    ("/console/audit", ("GET",), Role.ADMIN),
    ("/console/recordings/<id>/accesses", ("GET",), Role.PROVISION),
    ("/console", ("GET", "POST"), Role.READ),
)
# The lowest role for the REST routes that change something, likewise. All others require more than the role read.
REST: Final[tuple[tuple[str, tuple[str, ...], Role | None], ...]] = (
    ("/session/code", ("PUT",), None),
    ("/session/", ("PUT", "POST", "DELETE"), Role.READ),
    ("/sessions/", ("DELETE",), Role.READ),  # the own ones
    ("/sessions", ("DELETE",), Role.ADMIN),
    ("/session", ("PUT",), None),
    ("/session", ("DELETE",), Role.READ),
    ("/l/", ("POST",), None),
    ("/exports", ("POST", "DELETE"), Role.READ),
    ("/bulk-actions", ("POST",), Role.READ),  # each action requires the role of the single request
    ("/calls", ("POST", "DELETE"), Role.SUPERVISE),
    ("/recordings/<id>/notes", ("PUT", "POST", "DELETE"), Role.SUPERVISE),
    ("/recordings/<id>/links", ("POST", "DELETE"), Role.PROVISION),
    ("/users", ("PUT", "POST", "DELETE"), Role.ADMIN),
    ("/tokens", ("PUT", "DELETE"), Role.ADMIN),
    ("/nodes", ("POST",), Role.ADMIN),
    ("/link-keys", ("POST",), Role.ADMIN),
)
ADMINISTRATORS_READ: Final = ("/users", "/tokens", "/audit")
FORMS: Final = (
    ("/console/recordings/{recording}/tags", Role.SUPERVISE),
    ("/console/recordings/{recording}/notes", Role.SUPERVISE),
    ("/console/calls/{unknown}/hang-up", Role.SUPERVISE),
    ("/console/calls/{unknown}/record", Role.SUPERVISE),
    ("/console/recordings/{recording}/hold", Role.PROVISION),
    ("/console/operations/jobs/{unknown}", Role.PROVISION),
    ("/console/operations/nodes/berlin", Role.ADMIN),
    ("/console/recordings/{recording}/delete", Role.PROVISION),
)


def required_role(table: tuple[tuple[str, tuple[str, ...], Role | None], ...], method: str, path: str) -> Role | None:
    """Return the role of the first row of a table that matches. Raises KeyError without one."""
    for prefix, methods, role in table:
        if path.startswith(prefix) and method in methods:
            return role
    raise KeyError(f"{method} {path}")


def path_of(route: Route) -> str:
    """Return a path of a route whose objects do not exist."""
    return re.sub("<[^>]*>", UNKNOWN, route.path)


class ConsoleRoleTests(ConsoleTestCase):
    timeout = 300

    def console_routes(self) -> list[Route]:
        """Return the routes of the console."""
        return [route for route in self.app.all_routes if route.path.startswith("/console")]

    async def test_every_page_and_form_requires_its_role(self) -> None:
        cookies = {}
        for role in ROLES:
            await self.add_user(f"user-{role}", role)
            cookies[role] = await self.sign_in(f"user-{role}")
        self.assertGreater(len(self.console_routes()), 50)
        for route in self.console_routes():
            if route.path in ("/console", "/console/sign-out"):
                continue  # a redirection; the end of the session
            required = required_role(CONSOLE, route.method, route.path)
            path = path_of(route)
            if required is not None:
                with subtest(f"{route.method} {route.path} without a session"):
                    response = await self.send(route.method, path, "")
                    self.assertEqual(response.status, 303, response.body)
                    self.assertTrue(response.headers["location"].startswith("/console/sign-in"))
            for role in ROLES:
                with subtest(f"{route.method} {route.path} as {role}"):
                    permitted = required is None or role.includes(required)
                    if permitted and (route.method != "GET" or role is not required):
                        continue  # what it does is tested elsewhere
                    response = await self.send(route.method, path, cookies[role])
                    self.assertEqual(response.status == 403, not permitted, response.status)
                    self.assertNotEqual(response.status, 500)

    async def send(self, method: str, path: str, cookie: str) -> ClientResponse:
        return await (self.open(path, cookie) if method == "GET" else self.submit(path, cookie))

    async def test_forms_that_rest_refuses(self) -> None:
        recording = await self.add_recording()
        for role in ROLES:
            await self.add_user(f"user-{role}", role)
            cookie = await self.sign_in(f"user-{role}")
            for form, required in FORMS:
                path = form.format(recording=recording.id, unknown=UNKNOWN)
                with subtest((path, role)):
                    response = await self.submit(path, cookie, text="a", tags="a", hold="true", action="retry")
                    self.assertEqual(response.status == 403, not role.includes(required), response.status)
                if role.includes(Role.PROVISION):
                    break  # it is permitted, and tested elsewhere

    async def test_a_listener_limited_to_a_profile(self) -> None:
        own, other = await self.add_profile(name="Own"), await self.add_profile(name="Other")
        recordings = [await self.add_recording(profile_id=profile.id) for profile in (own, other)]
        cookie = await self.signed_in(profileIds=[str(own.id)])
        for path, statuses in (
            ("/console/recordings/{}", [200, 404]),
            ("/recordings/{}", [200, 404]),
            ("/recordings/{}/audio", [404, 404]),
            ("/recordings/{}/notes", [200, 404]),
        ):
            with subtest(path):
                found = [(await self.open(path.format(recording.id), cookie)).status for recording in recordings]
                self.assertEqual(found, statuses)
        for path in ("/console/recordings", "/console/profiles", "/console/calls", "/console/operations"):
            with subtest(path):
                response = await self.open(path, cookie)
                self.assertEqual(response.status, 200)
                self.assertNotIn(b"Other", response.body)
        for profile, status in ((own, 200), (other, 404)):
            self.assertEqual((await self.open(f"/console/profiles/{profile.id}", cookie)).status, status)


class RestRoleTests(ConsoleTestCase):
    async def test_every_route_requires_its_role(self) -> None:
        routes = [route for route in self.app.routes if route.method != "HEAD"]
        self.assertGreater(len(routes), 70)
        for route in routes:
            with subtest(f"{route.method} {route.path}"):
                if route.method == "GET":
                    administrators = route.path.startswith(ADMINISTRATORS_READ)
                    self.assertEqual(route.role is Role.ADMIN, administrators)
                    continue
                try:
                    required = required_role(REST, route.method, route.path)
                except KeyError:
                    self.assertIn(route.role, (Role.SUPERVISE, Role.PROVISION, Role.ADMIN))
                    continue
                self.assertIs(route.role, required)

    async def test_sessions_are_refused_as_tokens_are(self) -> None:
        for role in ROLES:
            await self.add_user(f"user-{role}", role)
            cookie = await self.sign_in(f"user-{role}")
            for route in self.app.routes:
                if route.role is None or role.includes(route.role):
                    continue
                path = path_of(route)
                with subtest(f"{route.method} {route.path} as {role}"):
                    response = await self.with_cookie(route.method, path, cookie, json={})
                    self.assertEqual(response.status, 403, response.body)
