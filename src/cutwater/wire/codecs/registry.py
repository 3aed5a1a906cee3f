"""Every codec by name: each form with each packing."""

from cutwater.errors import CodecError
from cutwater.wire.codecs.base import Codec
from cutwater.wire.codecs.float16 import Float16
from cutwater.wire.codecs.int8 import Int8, Int8Channel
from cutwater.wire.codecs.raw import Raw
from cutwater.wire.packings import PACKINGS

_CODECS: dict[str, Codec] = {
    codec.name: codec
    for make in (Raw, Float16, Int8, Int8Channel)
    for codec in (make(packing) for packing in PACKINGS.values())
}

CODEC_NAMES = tuple(_CODECS)
"""In order of form, then packing: "raw", "raw+lz4", "raw+zstd", "float16", ..."""


def get_codec(name: str) -> Codec:
    """The codec called ``name``. Raises CodecError."""
    try:
        return _CODECS[name]
    except KeyError:
        raise CodecError(f"no codec is called {name!r}; there are {', '.join(CODEC_NAMES)}") from None
