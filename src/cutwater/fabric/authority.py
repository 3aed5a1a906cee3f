"""Authority: signs the certificates of one cluster, and the list of those that are revoked.

A certificate says who its owner is in one name, ``cutwater://CLUSTER/ROLE/NAME``. The authority's own key never leaves
its folder, and nothing here knows of processes or of the messaging system.
"""

import datetime
import ipaddress
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cutwater.errors import BadFile
from cutwater.fabric.secret_files import write_secret
from cutwater.units import check_name

SCHEME = "cutwater"
LIFETIME = datetime.timedelta(days=3650)
"""Of an authority, and of a list of revocations, which the next one replaces long before."""
_EARLIER = datetime.timedelta(minutes=5)
"""So much may a machine's clock be behind."""


class Role(StrEnum):
    """What a member of a cluster is there for."""

    SERVER = "server"
    """The fabric's server."""
    OPERATOR = "operator"
    """Whoever owns the cluster's home: the commands that are given there."""
    COORDINATOR = "coordinator"
    GATEWAY = "gateway"
    NODE = "node"
    CLIENT = "client"
    """Commands given elsewhere."""


class Identity(NamedTuple):
    """Who somebody is."""

    cluster: str
    role: Role
    name: str

    @property
    def uri(self) -> str:
        """``"cutwater://lab-3f2a/node/pi-a"``."""
        return f"{SCHEME}://{self.cluster}/{self.role}/{self.name}"


class Credentials(NamedTuple):
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """The authority in one folder: ``ca.pem`` for everybody, ``ca.key`` for itself."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Use `create` or `open`."""
        self.folder = folder
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(cls, folder: Path, cluster: str) -> "Authority":
        """A new one. ``cluster`` names it, so that its members are never taken for those of another."""
        check_name("cluster", cluster)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cluster)])
        certificate = (
            _builder(name, name, key.public_key(), datetime.datetime.now(datetime.UTC) + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_secret(folder / "ca.key", _pem(key))
        write_secret(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, certificate, key)

    @classmethod
    def open(cls, folder: Path) -> "Authority":
        """The one that is there. Raises BadFile."""
        try:
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise BadFile(f"{folder}: the cluster's authority cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise BadFile(f"{folder}: ca.key is not the key of ca.pem")
        return cls(folder, certificate, key)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return cluster_of(self.certificate)

    @property
    def ca(self) -> Path:
        """Its certificate, for everybody."""
        return self.folder / "ca.pem"

    def issue(
        self, role: Role, name: str, until: datetime.datetime, serial: int, hosts: Iterable[str] = ()
    ) -> Credentials:
        """A certificate and a new key.

        Args:
            role: What its owner is.
            name: How it is called.
            until: When it runs out; never later than the authority itself.
            serial: Names the certificate when it is revoked; see `new_serial`.
            hosts: Names and addresses at which a server is reached.
        """
        check_name(role, name)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(role)),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        names = [x509.UniformResourceIdentifier(Identity(self.cluster, role, name).uri), *map(_host, hosts)]
        until = min(until, self.certificate.not_valid_after_utc)
        ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        if role is Role.CLIENT:
            ends.remove(ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = (
            _builder(subject, self.certificate.subject, key.public_key(), until, serial)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(ends), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(self._issuer(), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Credentials(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def revocations(self, serials: Iterable[int]) -> bytes:
        """The signed list of all revoked certificates (a CRL, PEM)."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - _EARLIER)
            .next_update(now + LIFETIME)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
            .add_extension(self._issuer(), critical=False)
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issuer(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def new_serial() -> int:
    """A certificate's number, which no other one has."""
    return x509.random_serial_number()


def cluster_of(authority: x509.Certificate) -> str:
    """The name of the cluster whose authority this is."""
    return str(authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def identity_of(certificate: x509.Certificate) -> Identity:
    """Whom a certificate is for. Raises BadFile where it does not say so."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
        scheme, _, rest = uri.partition("://")
        cluster, role, name = rest.split("/")
        if scheme != SCHEME:
            raise ValueError(uri)
        return Identity(cluster, Role(role), name)
    except (x509.ExtensionNotFound, IndexError, ValueError) as error:
        raise BadFile(f"a certificate that does not say whom of a cluster it is for: {error}") from error


def has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether this authority has signed the certificate; says nothing about dates and revocations."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def read_revocations(authority: x509.Certificate, data: bytes) -> x509.CertificateRevocationList:
    """The list, if this authority has signed it. Raises BadFile."""
    try:
        found = x509.load_pem_x509_crl(data)
    except ValueError as error:
        raise BadFile(f"a list of revocations that cannot be read: {error}") from error
    key = authority.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not found.is_signature_valid(key):
        raise BadFile("a list of revocations that the cluster's authority has not signed")
    return found


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    until: datetime.datetime,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial or new_serial())
        # An invitation that has run out is one with a date in the past; its begin must come before that.
        .not_valid_before(min(datetime.datetime.now(datetime.UTC), until) - _EARLIER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
