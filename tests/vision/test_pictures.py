"""Pictures come out upright and in RGB; anything else is a typed error with the file's name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutwater.errors import BadPicture
from cutwater.vision.pictures import decode_picture, encode_picture, picture_size, read_picture

RED, GREEN = (255, 0, 0), (0, 255, 0)


def two_halves() -> Image.Image:
    """Wide: red on the left, green on the right."""
    image = Image.new("RGB", (40, 20), GREEN)
    image.paste(RED, (0, 0, 20, 20))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_lossless_formats_give_exact_pixels(kind: str) -> None:
    pixels = decode_picture(encoded(two_halves(), kind))
    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    assert tuple(pixels[10, 5]) == RED
    assert tuple(pixels[10, 35]) == GREEN


def test_a_photograph_taken_sideways_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter to the left: show it a quarter to the right
    pixels = decode_picture(encoded(two_halves(), "JPEG", exif=exif, quality=95))
    assert pixels.shape == (40, 20, 3)
    np.testing.assert_allclose(pixels[5, 10], RED, atol=12)
    np.testing.assert_allclose(pixels[35, 10], GREEN, atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_from_the_header_is_that_of_the_pixels(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(two_halves(), "JPEG", exif=exif)
    assert picture_size(file) == decode_picture(file).shape[:2]


def test_what_is_encoded_is_decoded_again() -> None:
    pixels = np.asarray(two_halves())
    np.testing.assert_array_equal(decode_picture(encode_picture(pixels, "PNG")), pixels)
    np.testing.assert_allclose(decode_picture(encode_picture(pixels)).mean((0, 1)), pixels.mean((0, 1)), atol=2)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    assert decode_picture(encoded(Image.new(mode, (4, 3)), "TIFF")).shape == (3, 4, 3)


@pytest.mark.slow
def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = encoded(Image.new("1", (14_000, 14_000)))
    assert len(bomb) < 200_000
    for look in (decode_picture, picture_size):
        with pytest.raises(BadPicture, match=r"bomb\.png: claims too many pixels, far over the limit of 67108864"):
            look(bomb, "bomb.png")


def test_a_picture_over_the_given_limit_is_refused() -> None:
    with pytest.raises(BadPicture, match="40 x 20 pixels are over the limit of 100"):
        decode_picture(encoded(two_halves()), max_pixels=100)


@pytest.mark.parametrize("content", [b"", b"\x00", b"%PDF-1.4", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>" * 100])
def test_what_is_no_picture_says_which_formats_are(content: bytes) -> None:
    with pytest.raises(BadPicture, match="JPEG, PNG"):
        decode_picture(content)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"])
def test_every_truncation_is_a_typed_error_or_a_whole_picture(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    refused = 0
    for length in range(0, len(whole), 7):
        try:
            assert decode_picture(whole[:length]).shape == (24, 24, 3)
        except BadPicture:
            refused += 1
    assert refused > len(whole) // 7 * 0.9


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
def test_flipped_bits_never_escape_as_another_error() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"):
        whole = np.frombuffer(encoded(two_halves(), kind), np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[rng.integers(0, len(whole), 3)] ^= rng.integers(1, 256, 3, dtype=np.uint8)
            try:
                decode_picture(broken.tobytes(), max_pixels=10_000)
            except BadPicture as error:
                assert str(error).startswith("picture:")


def test_files_are_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(encoded(two_halves(), "JPEG")[:300])
    with pytest.raises(BadPicture, match=r"broken\.jpg: cannot be decoded"):
        read_picture(path)
    with pytest.raises(BadPicture, match=r"absent\.jpg: cannot be read"):
        read_picture(tmp_path / "absent.jpg")
