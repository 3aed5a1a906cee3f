"""TlsFiles: the files with which two ends of a link prove to each other that they belong to the same cluster.

Dates and signatures are checked by OpenSSL in the handshake, and so is the list of revocations, which is read anew when
its file has changed: who is revoked gets in nowhere any more, without anything being started again.
"""

import logging
import ssl
from pathlib import Path
from typing import Any

import msgspec

from cutwater.drivers.refusals import CERTIFICATE, TLS, Refusals
from cutwater.errors import InputError

_log = logging.getLogger(__name__)


class TlsFiles(msgspec.Struct, frozen=True):
    """Paths of PEM files. A certificate proves membership: any that this authority has signed is accepted."""

    ca: str
    certificate: str
    key: str
    revocations: str = ""
    """The authority's list of certificates that count no more; empty: none is checked."""

    def server(self, refusals: Refusals | None = None) -> ssl.SSLContext:
        """For the end that listens; who does not get in is noted. Raises InputError for a file that cannot be used."""
        context, revoked = self._context(ssl.PROTOCOL_TLS_SERVER)
        # A resumed session would show no certificate, and so none that has been revoked meanwhile.
        context.num_tickets = 0
        if revoked is not None:
            context.sni_callback = lambda handshake, name, used: revoked.refresh()
        if refusals is not None:
            context.sslobject_class = _watched(refusals)
        return context

    def client(self) -> ssl.SSLContext:
        """For the end that dials. Raises InputError for a file that cannot be used."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)[0]

    def _context(self, side: int) -> "tuple[ssl.SSLContext, _Revocations | None]":
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # The authority is the cluster's own: its signature is the proof; addresses change with machines and nets.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.certificate, self.key)
            revoked = _Revocations(context, Path(self.revocations)) if self.revocations else None
        except OSError as error:
            raise InputError(
                f"cannot use the TLS files {', '.join(filter(None, msgspec.structs.astuple(self)))}: {error}; "
                "they must be PEM files, the key without a passphrase"
            ) from error
        return context, revoked


class _Revocations:
    """The list that a context checks against, as it is in its file. OpenSSL goes by the newest it was given."""

    def __init__(self, context: ssl.SSLContext, path: Path) -> None:
        self._context = context
        self._path = path
        self._read = self._mark()
        context.load_verify_locations(path)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF

    def refresh(self) -> None:
        """Read it again if it has changed; what cannot be read leaves the last one in force."""
        try:
            mark = self._mark()
            if mark != self._read:
                self._context.load_verify_locations(self._path)
                self._read = mark
        except OSError as error:
            _log.error("%s: the list of revocations cannot be read, the last one stays: %s", self._path, error)

    def _mark(self) -> tuple[int, int]:
        facts = self._path.stat()
        return facts.st_ino, facts.st_mtime_ns


def _watched(refusals: Refusals) -> type[ssl.SSLObject]:
    """asyncio tells nobody of a handshake that fails; so the handshake itself does."""

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> Any:
            try:
                return super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                reason, what = _reason(error)
                refusals.note(reason, what)
                raise

    return Watched


def _reason(error: ssl.SSLError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return CERTIFICATE, f"a certificate that does not count here: {error.verify_message}"
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return CERTIFICATE, "somebody without a certificate"
    return TLS, f"no handshake: {error.reason or error}"
