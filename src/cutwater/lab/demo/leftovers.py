"""Whether anything of a cluster on this machine is left: processes, sockets, open ports."""

import stat
from collections.abc import Iterable
from urllib.parse import urlsplit

import psutil

from cutwater.services.background import birth, marked
from cutwater.services.home import Home


def births(home: Home) -> dict[int, str]:
    """Every process of the cluster, workers and whatever else they have started included: pid -> when it was born."""
    found = {process.pid: birth(process.pid) for process in marked(home.run)}
    return {pid: born for pid, born in found.items() if born is not None}


def leftovers(home: Home, known: dict[int, str], urls: Iterable[str]) -> list[str]:
    """What is still there, in words.

    Args:
        home: the cluster's, after it was taken down.
        known: its processes while it ran, as `births` has found them.
        urls: where something listened.
    """
    left = [f"process {pid} runs" for pid, born in known.items() if birth(pid) == born]
    left += [f"process {process.pid} runs" for process in marked(home.run) if process.pid not in known]
    # The folder of the sockets may lie elsewhere; it is removed only if it is empty.
    files = sorted({*home.folder.rglob("*"), *home.sockets.glob("*")})
    left += [f"{path} exists" for path in files if stat.S_ISSOCK(path.lstat().st_mode)]
    places = (str(home.folder), str(home.sockets))
    left += [
        f"{connection.laddr} is bound"
        for connection in psutil.net_connections("unix")
        if isinstance(connection.laddr, str) and connection.laddr.startswith(places)
    ]
    ports = {urlsplit(url).port for url in urls}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port in ports:
            left.append(f"port {connection.laddr.port} listens")
    return left
