"""Keeps a process's list of revoked certificates as new as the one on the fabric."""

import asyncio
import logging

from cryptography import x509

from cutwater.errors import BadFile, FabricError
from cutwater.fabric.authority import read_revocations
from cutwater.fabric.base import KeyValue
from cutwater.fabric.permissions import REVOCATIONS
from cutwater.fabric.secret_files import write_secret
from cutwater.settings.settings import FabricSettings
from cutwater.units import Seconds

LIST_RETRY: Seconds = 1.0
"""After how long the list is looked for again when the fabric did not give it."""
_log = logging.getLogger(__name__)


async def follow_revocations(state: KeyValue, settings: FabricSettings) -> None:
    """Write each newer list to the file ``settings.revocations``, until cancelled; one that is forged is left alone."""
    if settings.ca is None or settings.revocations is None:
        return
    authority = x509.load_pem_x509_certificate(settings.ca.read_bytes())
    while True:
        try:
            async with state.watch(REVOCATIONS) as entries:
                async for entry in entries:
                    if entry.value is not None:
                        _take(authority, entry.value, settings)
        except FabricError as error:
            _log.info("cannot see who is revoked: %s", error)
        await asyncio.sleep(LIST_RETRY)


def _take(authority: x509.Certificate, data: bytes, settings: FabricSettings) -> None:
    assert settings.revocations is not None
    try:
        fresh = read_revocations(authority, data)
        known = read_revocations(authority, settings.revocations.read_bytes())
        if _number(fresh) > _number(known):
            write_secret(settings.revocations, data)
            _log.info("%d certificates are revoked", len(fresh))
    except (BadFile, OSError) as error:
        _log.error("the list of revoked certificates stays as it is: %s", error)


def _number(revocations: x509.CertificateRevocationList) -> int:
    return revocations.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
