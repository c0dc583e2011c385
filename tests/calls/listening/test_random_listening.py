"""Listeners that come and leave at any moment, while Asterisk is slow, refuses, or ends channels: nothing is left."""

from random import Random

from twisted.internet.defer import Deferred

from tests.calls.listening.test_live_listening import SOURCE_PORT, ListeningTestCase
from voxrec.ari import events
from voxrec.calls.listening.listener import Listener
from voxrec.errors import VoxrecError
from voxrec.model import ListenSide

SEEDS = range(60)
STEPS = 60
SLOW = ("snoop", "externalMedia", "addChannel", "variable")


class RandomListeningTests(ListeningTestCase):
    def test_nothing_is_left(self) -> None:
        begun = interruptions = 0
        for seed in SEEDS:
            self.setUp()
            self.run_steps(Random(seed))  # noqa: S311 - reproducible
            self.end(seed)
            begun += len(self.published) // 2
            interruptions += any("-2-caller-snoop" in request for request in self.asterisk.requests)
        self.assertGreater(begun, len(SEEDS))
        self.assertGreater(interruptions, len(SEEDS) // 10)

    def run_steps(self, random: Random) -> None:
        self.process.client._drops_late_audio = True
        self.waiting: list[Deferred[None]] = []
        self.current: list[Listener] = []
        for _ in range(STEPS):
            random.choice((self.come, self.leave, self.slow, self.refuse, self.respond, self.lose, self.wait))(random)

    def in_asterisk(self) -> set[str]:
        return {
            object_id
            for listeners in self.listening._all
            for audio in listeners._in_asterisk
            for side in audio._sides
            for object_id in side.ids
        }

    def come(self, random: Random) -> None:
        began = self.begin(random.choice([*ListenSide]))
        self.waiting.append(began.addCallbacks(self.current.append, lambda failure: failure.trap(VoxrecError)))

    def leave(self, random: Random) -> None:
        if self.current:
            self.current.pop(random.randrange(len(self.current))).close()

    def slow(self, random: Random) -> None:
        self.asterisk.delayed.add(random.choice((*SLOW, *self.in_asterisk())))

    def refuse(self, random: Random) -> None:
        kind = random.choice(SLOW)
        self.asterisk.lost = random.choice((set(), {kind}, self.in_asterisk()))
        self.asterisk.errors = random.choice(({}, {"snoop": 404}, {f"channels/{kind}": 500}))

    def respond(self, _random: Random) -> None:
        self.asterisk.respond()

    def lose(self, random: Random) -> None:
        """Let a channel end, or a party continue after a hold."""
        if objects := sorted(self.in_asterisk()):
            self.channel_gone(random.choice(objects))
        self.listening.event_received(events.ChannelUnhold(events.Channel(id=self.call.leg)))

    def wait(self, random: Random) -> None:
        self.talk(1, source=("127.0.0.1", SOURCE_PORT))
        self.clock.advance(random.choice((0.1, 0.25, 1.0, 3.0)))

    def end(self, seed: int) -> None:
        self.asterisk.lost, self.asterisk.errors = set(), {}
        for listeners in tuple(self.listening._by_call.values()):
            listeners.end_all("the test is over")
        for _ in range(3):
            self.asterisk.respond()
            self.clock.advance(3.0)  # a command is sent at the latest 2 s after its channel was created
        self.assertEqual([each for each in self.waiting if not each.called], [], seed)
        self.assertEqual((self.listening._all, self.listening.count, self.udp.ports), (set(), 0, {}), seed)
        self.assertEqual(self.clock.getDelayedCalls(), [], seed)
        requests = self.asterisk.requests
        opened = [each.removesuffix("-snoop").rpartition("/")[2] for each in requests if "/snoop/" in each]
        removed = {each.rpartition("/")[2] for each in requests if each.startswith("DELETE")}
        for side in opened:
            for kind in ("snoop", "sender", "bridge"):
                self.assertIn(f"{side}-{kind}", removed, seed)
        begun, ended = (
            sum(each.type == type_ for each in self.published) for type_ in ("listener.joined", "listener.left")
        )
        self.assertEqual(begun, ended, seed)
        self.assertEqual(self.flushLoggedErrors(), [], seed)
