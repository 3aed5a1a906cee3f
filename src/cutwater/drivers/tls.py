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
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        # A resumed session would show no certificate, and so none that has been revoked meanwhile.
        context.num_tickets = 0
        if self.revocations:
            context.sni_callback = _Renewal(self, context).at_hello
        if refusals is not None:
            context.sslobject_class = _watched(refusals)
        return context

    def client(self) -> ssl.SSLContext:
        """For the end that dials. Raises InputError for a file that cannot be used."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # The authority is the cluster's own: its signature is the proof; addresses change with machines and nets.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.certificate, self.key)
            if self.revocations:
                context.load_verify_locations(self.revocations)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except OSError as error:
            raise InputError(
                f"cannot use the TLS files {', '.join(filter(None, msgspec.structs.astuple(self)))}: {error}; "
                "they must be PEM files, the key without a passphrase"
            ) from error
        return context


class _Renewal:
    """Lets each handshake of a listener check against the list of revocations as it is now.

    A list cannot be taken out of a context, and of two that were signed within a second OpenSSL goes by the first; so a
    new list means a new context.
    """

    def __init__(self, files: TlsFiles, context: ssl.SSLContext) -> None:
        self._files = files
        self._context = context
        self._read = self._mark()

    def at_hello(self, handshake: ssl.SSLObject, name: str | None, used: ssl.SSLContext) -> None:
        """Called before any certificate is looked at; what cannot be read leaves the last list in force."""
        try:
            mark = self._mark()
            if mark != self._read:
                self._context, self._read = self._files._context(ssl.PROTOCOL_TLS_SERVER), mark
        except (OSError, InputError) as error:
            _log.error("the list of revocations cannot be read, the last one stays: %s", error)
        if used is not self._context:
            handshake.context = self._context

    def _mark(self) -> tuple[int, int]:
        facts = Path(self._files.revocations).stat()
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
