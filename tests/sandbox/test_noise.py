"""Tests of voxrec.sandbox.noise: pieces are found where they were put, and only there."""

import numpy as np
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.noise import Samples16, find_pieces, make_noise
from voxrec.sandbox.rtp import G722_CODEC, PCMU

RATE = 8000
PIECE = 80  # samples


def silence(seconds: float) -> Samples16:
    return np.zeros(round(seconds * RATE), dtype=np.int16)


class FindingTests(SynchronousTestCase):
    noise = make_noise(1.0, RATE, seed=1)

    def test_a_copy_is_exact(self) -> None:
        audio = np.concatenate([silence(0.25), self.noise])
        found = find_pieces(self.noise, RATE, audio, RATE)
        self.assertEqual([piece.index for piece in found], list(range(100)))
        self.assertEqual({round(piece.seconds - piece.index * 0.01, 6) for piece in found}, {0.25})
        self.assertTrue(all(piece.exact for piece in found))

    def test_other_noise_contains_no_piece(self) -> None:
        self.assertEqual(find_pieces(self.noise, RATE, make_noise(60.0, RATE, seed=2), RATE), [])

    def test_silence_contains_no_piece(self) -> None:
        self.assertEqual(find_pieces(self.noise, RATE, silence(2.0), RATE), [])
        self.assertEqual(find_pieces(self.noise, RATE, silence(0.0), RATE), [])

    def test_removed_pieces_are_not_found(self) -> None:
        audio = np.concatenate([self.noise[: 30 * PIECE], self.noise[40 * PIECE :]])
        found = [piece.index for piece in find_pieces(self.noise, RATE, audio, RATE)]
        self.assertEqual(found, [*range(30), *range(40, 100)])

    def test_companded_pieces_are_found_and_not_exact(self) -> None:
        audio = PCMU.decode(PCMU.encode(self.noise))
        found = find_pieces(self.noise, RATE, audio, RATE)
        self.assertEqual(len(found), 100)
        self.assertFalse(any(piece.exact for piece in found))
        self.assertTrue(all(piece.snr_db > 30 for piece in found))

    def test_pieces_of_another_rate_are_found(self) -> None:
        wide = make_noise(1.0, 16000, seed=3)
        audio = G722_CODEC.decode(G722_CODEC.encode(wide))
        self.assertGreater(len(find_pieces(wide, 16000, audio, 16000)), 95)
        narrow = find_pieces(wide, 16000, find_narrow(wide), RATE)
        self.assertGreater(len(narrow), 95)

    @settings(deadline=None, max_examples=20)
    @given(st.permutations(list(range(20))), st.integers(0, 4000))
    def test_pieces_are_found_in_any_order(self, order: list[int], shift: int) -> None:
        moved = [self.noise[index * PIECE : (index + 1) * PIECE] for index in order]
        audio = np.concatenate([np.zeros(shift, dtype=np.int16), *moved])
        found = find_pieces(self.noise[: 20 * PIECE], RATE, audio, RATE)
        positions = {piece.index: round(piece.seconds * RATE) for piece in found}
        self.assertEqual(positions, {index: shift + place * PIECE for place, index in enumerate(order)})


def find_narrow(wide: Samples16) -> Samples16:
    """Return noise of 16 kHz as a recorder with 8 kHz stores it."""
    narrow: Samples16 = soxr.resample(wide, 16000, RATE)
    return narrow
