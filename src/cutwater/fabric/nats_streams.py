"""Streams made once, and brought into line when what is asked for has changed."""

import nats.js.errors
from nats.js.api import StreamConfig

from cutwater.fabric.nats_line import Line, plainly

_KEPT = ("subjects", "max_age", "max_msgs_per_subject", "duplicate_window")
"""What an existing stream is compared by."""


async def ensure_stream(line: Line, config: StreamConfig) -> None:
    """Make the stream if need be. Raises FabricLost, Forbidden."""
    assert config.name is not None
    with plainly(f"make the stream {config.name}"):
        jetstream = line.jetstream
        try:
            found = (await jetstream.stream_info(config.name)).config
        except nats.js.errors.NotFoundError:
            await jetstream.add_stream(config)
            return
        if any((getattr(found, name) or 0) != (getattr(config, name) or 0) for name in _KEPT):
            await jetstream.update_stream(config)
