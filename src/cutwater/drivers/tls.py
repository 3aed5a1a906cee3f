"""TlsFiles: the three files with which two ends of a link prove to each other that they belong together."""

import ssl
from functools import lru_cache

import msgspec

from cutwater.errors import InputError


class TlsFiles(msgspec.Struct, frozen=True):
    """Paths of PEM files. A certificate proves membership: any that this authority has signed is accepted."""

    ca: str
    certificate: str
    key: str

    def server(self) -> ssl.SSLContext:
        """For the end that listens. Raises InputError for a file that cannot be used."""
        return _context(self, ssl.PROTOCOL_TLS_SERVER)

    def client(self) -> ssl.SSLContext:
        """For the end that dials. Raises InputError for a file that cannot be used."""
        return _context(self, ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=16)
def _context(files: TlsFiles, side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The authority is the deployment's own, so its signature is the proof; addresses change with machines and networks.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise InputError(
            f"cannot use the TLS files {files.ca}, {files.certificate}, {files.key}: {error}; "
            "they must be PEM files, the key without a passphrase"
        ) from error
    return context
