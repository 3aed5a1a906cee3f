"""Who was refused where in a cluster, and for what: the fabric's own log, and what nodes and gateways count."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from cutwater.engine.facts.gateways import GatewayBeat
from cutwater.engine.facts.nodes import NodeBeat

_REASONS = (
    ("user", re.compile(r"authentication error|Authorization Violation", re.IGNORECASE)),
    ("permission", re.compile(r"(publish|subscription) violation", re.IGNORECASE)),
    ("certificate", re.compile(r"TLS handshake error:.*certificate")),
    ("tls", re.compile(r"TLS handshake error:.*(first record|protocol version|unsupported|timeout)")),
)
"""What the server writes, and what it means. Whoever only looks whether a port is open is not counted."""


def refused_by_fabric(log: Path) -> dict[str, int]:
    """Reason -> how often, as far back as the server's log and the ones before it go."""
    counts: Counter[str] = Counter()
    log = log.resolve()
    for path in sorted(log.parent.glob(f"{log.name}*")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            counts.update(_reasons(lines))
    return dict(counts)


def _reasons(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if "[ERR]" in line:
            yield from (reason for reason, pattern in _REASONS if pattern.search(line))


def refused_by_members(nodes: Iterable[NodeBeat], gateways: Iterable[GatewayBeat]) -> dict[str, dict[str, int]]:
    """Who -> reason -> how often, since each started; those who refused nobody are left out."""
    found: dict[str, Counter[str]] = {}
    for node in nodes:
        counts = found[node.node] = Counter(node.refused)
        for worker in node.workers:
            counts.update(worker.refused)
    for gateway in gateways:
        found[gateway.gateway] = Counter(gateway.turned_away)
    return {who: dict(counts) for who, counts in found.items() if counts}
