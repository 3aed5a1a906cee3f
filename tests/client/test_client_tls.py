"""Clients over TLS trust whom they are told to, and nobody else."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from client_bed import Gateway
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cutwater import Client
from cutwater.errors import InputError, LinkLost

ROW = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself; and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "gateway.crt", folder / "gateway.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    return files


@pytest.mark.parametrize(("door", "refused"), [("http", InputError), ("grpc", LinkLost)])
def test_an_authority_that_was_named_is_trusted(
    certificate: tuple[Path, Path], door: str, refused: type[Exception]
) -> None:
    gateway = Gateway(door, certificate=certificate)
    with Client(gateway.url, ca=certificate[0]) as client:
        assert client.infer("two_float32", ROW).array[0, 0] == 2
    with Client(gateway.url, retries=0) as client, pytest.raises(refused):
        client.infer("two_float32", {"x": ROW})
    gateway.close()
