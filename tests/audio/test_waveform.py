"""Tests of voxrec.audio.waveform."""

import io

from PIL import Image
from twisted.trial.unittest import SynchronousTestCase

from voxrec.audio.waveform import ROW_HEIGHT, render_waveform


def render(peaks: list[list[tuple[int, int]]]) -> Image.Image:
    return Image.open(io.BytesIO(render_waveform(peaks))).convert("RGBA")


def opaque_rows(image: Image.Image, x: int) -> list[int]:
    return [y for y in range(image.height) if image.getpixel((x, y))[3] == 255]  # type: ignore[index]


class WaveformTests(SynchronousTestCase):
    def test_one_column_per_bucket_and_one_row_per_channel(self) -> None:
        self.assertEqual(render([[(0, 0)] * 30]).size, (30, ROW_HEIGHT))
        image = render([[(0, 0)] * 30, [(0, 0)] * 30])
        self.assertEqual(image.width, 30)
        self.assertTrue(2 * ROW_HEIGHT < image.height < 2.5 * ROW_HEIGHT)

    def test_height_of_a_column_is_the_peak(self) -> None:
        image = render([[(-128, 127), (-64, 0), (0, 63), (0, 0)]])
        zero = ROW_HEIGHT // 2
        full, low, high, none = (opaque_rows(image, x) for x in range(4))
        self.assertEqual((full[0], full[-1]), (1, ROW_HEIGHT - 1))
        self.assertEqual((low[0], high[-1]), (zero, zero))
        self.assertApproximates(low[-1] - zero, ROW_HEIGHT // 4, 1)
        self.assertApproximates(zero - high[0], ROW_HEIGHT // 4, 1)
        self.assertEqual(none, [])

    def test_background_is_transparent_and_channels_have_different_colours(self) -> None:
        image = render([[(-128, 127)], [(-128, 127)]])
        upper, lower = image.getpixel((0, 10)), image.getpixel((0, image.height - 10))
        self.assertNotEqual(upper, lower)
        self.assertEqual(render([[(0, 0)]]).getpixel((0, 0)), (0, 0, 0, 0))

    def test_no_peaks_is_one_empty_column(self) -> None:
        for no_peaks in (list[list[tuple[int, int]]](), [list[tuple[int, int]]()]):
            image = render(no_peaks)
            self.assertEqual(image.size, (1, ROW_HEIGHT))
            self.assertEqual(opaque_rows(image, 0), [])
