"""The server around the calls: health, reflection, tokens, certificates, ports, and its end."""

import asyncio
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc.service_pb2 as theirs
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_bed import LIMIT, Bed, serving, two_x
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cutwater.api.backend import Standing
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.options import GrpcOptions
from cutwater.api.grpc.server import GrpcServer
from cutwater.api.where import Where
from cutwater.errors import BadSetting, Refused

SOURCES = Path(pb.__file__).parent
INFER = "/inference.GRPCInferenceService/ModelInfer"
Health = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with serving(GrpcOptions(max_request=LIMIT, health_interval=0.01)) as found:
        yield found


def test_reflection_tells_of_the_service(bed: Bed) -> None:
    def look() -> tuple[list[str], descriptor_pb2.FileDescriptorProto]:
        with grpc.insecure_channel(bed.url) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            found = descriptor_pool.DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
            file = descriptor_pb2.FileDescriptorProto()
            found.file.CopyToProto(file)
            return list(database.get_services()), file

    services, file = bed.run(asyncio.to_thread(look))
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(services)
    assert file.SerializeToString() == pb.DESCRIPTOR.serialized_pb


def test_health_is_in_step(bed: Bed) -> None:
    async def story() -> None:
        async with bed.channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)

            async def of(service: str) -> int:
                return (await health.Check(health_pb2.HealthCheckRequest(service=service))).status

            assert await of("") == await of("inference.GRPCInferenceService") == await of("shout") == Health.SERVING
            with bed.backend.draining():
                assert await of("") == Health.NOT_SERVING
            watch = health.Watch(health_pb2.HealthCheckRequest(service="shout"))
            assert (await watch.read()).status == Health.SERVING
            await bed.backend.unload("shout")
            assert (await watch.read()).status == Health.NOT_SERVING
            await bed.backend.load("shout", {})
            assert (await watch.read()).status == Health.SERVING
            watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await of("none")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            unknown = health.Watch(health_pb2.HealthCheckRequest(service="none"))
            assert (await unknown.read()).status == Health.SERVICE_UNKNOWN
            unknown.cancel()

    bed.run(story())


def test_without_the_token_only_health_is_told() -> None:
    async def story(bed: Bed) -> None:
        async with bed.channel() as channel:
            infer = channel.unary_unary(INFER)
            message = two_x(1, 2, 3, 4).SerializeToString()
            for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", "open sesame"),)):
                assert await infer(message, metadata=metadata).code() is grpc.StatusCode.UNAUTHENTICATED
            assert await infer(message, metadata=(("authorization", "Bearer open sesame"),))
            assert await channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"") == b"\x08\x01"
            ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
            assert await ready(b"").code() is grpc.StatusCode.UNAUTHENTICATED
            stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
            assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
            health = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == Health.SERVING

    with serving(GrpcOptions(token="open sesame")) as bed:
        bed.run(story(bed))


def test_more_calls_than_agreed_are_refused_and_so_are_more_bytes() -> None:
    async def story(bed: Bed) -> None:
        request = two_x(1, model="slow")
        request.inputs[0].shape[:] = [1]
        async with bed.channel() as channel:
            first = channel.unary_unary(INFER)(request.SerializeToString())
            await bed.backend.waiting.wait()
            large = channel.unary_unary(INFER)(two_x(*[0] * 250).SerializeToString())
            assert await large.code() is grpc.StatusCode.UNAVAILABLE
            assert "bytes are under way" in (await large.details() or "")
            second = channel.unary_unary(INFER)(request.SerializeToString())
            third = channel.unary_unary(INFER)(request.SerializeToString())
            codes = {await third.code()}
            assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            bed.backend.slow.set()
            assert await first
            assert await second

    with serving(GrpcOptions(calls=2, max_held=1000)) as bed:
        bed.run(story(bed))


def test_a_message_that_would_be_read_in_vain_is_not_read() -> None:
    with serving(GrpcOptions()) as bed:
        assert bed.infer(two_x(1, 2, 3, 4)).raw_output_contents
        bed.backend.refuses = Refused("too late")
        with pytest.raises(grpc.aio.AioRpcError, match="too late") as caught:
            bed.infer(b"this is no message")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        (ask, ahead) = bed.backend.coming.pop()
        assert (ask.model, ask.timeout, ask.client, ask.door) == ("two_float32", 30.0, "grpc:127.0.0.1", "grpc")
        assert ahead == 0
        assert bed.backend.turned_away == [bed.backend.refuses] and len(bed.backend.asked) == 1
        bed.backend.refuses = None
        with pytest.raises(grpc.aio.AioRpcError, match="the message has a field"):
            bed.infer(b"this is no message")
        assert bed.infer(two_x(1, 2, 3, 4)).raw_output_contents


def test_answers_that_nobody_takes_are_held_in_bounds_until_their_client_goes() -> None:
    request = pb.ModelInferRequest(model_name="two_large", raw_input_contents=[bytes(4 * 3 * 100 * 100)])
    request.inputs.add(name="x", datatype="FP32", shape=[3, 100, 100])
    message = request.SerializeToString()

    async def story(bed: Bed) -> None:
        async with bed.channel() as channel:

            async def code() -> grpc.StatusCode:
                return await channel.unary_unary(INFER)(message).code()

            assert await code() is grpc.StatusCode.OK
            idle = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
            for _ in range(40):
                await idle.write(message)
            while await code() is grpc.StatusCode.OK:
                pass
            assert await code() is grpc.StatusCode.UNAVAILABLE
            idle.cancel()
            while await code() is not grpc.StatusCode.OK:
                pass
            for _ in range(40):  # each gives its room back
                assert await code() is grpc.StatusCode.OK

    with serving(GrpcOptions(max_held=700_000)) as bed:
        bed.run(story(bed))


def test_a_port_that_is_taken_is_said_or_passed_over(bed: Bed) -> None:
    async def story() -> None:
        port = int(bed.url.rpartition(":")[2])
        with pytest.raises(BadSetting, match=f"cannot listen on 127.0.0.1:{port}"):
            await GrpcServer(bed.backend, Where("127.0.0.1", port), GrpcOptions()).start()
        other = GrpcServer(bed.backend, Where("127.0.0.1", port, or_next=True), GrpcOptions())
        assert int((await other.start()).rpartition(":")[2]) > port
        await other.stop(0)

    bed.run(story())


def test_at_its_end_it_waits_for_what_is_under_way_and_then_withdraws_it() -> None:
    async def story(bed: Bed) -> None:
        request = two_x(1, model="slow")
        request.inputs[0].shape[:] = [1]
        request.id = "last"
        async with bed.channel() as channel:
            last = channel.unary_unary(INFER)(request.SerializeToString())
            await bed.backend.waiting.wait()
            ending = asyncio.create_task(bed.server.stop(10))
            await asyncio.sleep(0)
            bed.backend.slow.set()
            assert await last
            await ending

    with serving(GrpcOptions()) as bed:
        bed.run(story(bed))


def test_certificates_are_shown_and_wanted(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    curve = ["-pkeyopt", "ec_paramgen_curve:P-256"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", *curve, "-nodes", "-keyout", key, "-out", certificate, *subject],
        check=True,
        capture_output=True,
    )
    pem, secret = certificate.read_bytes(), key.read_bytes()

    async def story(bed: Bed) -> None:
        message = two_x(1, 2, 3, 4).SerializeToString()
        member = grpc.ssl_channel_credentials(pem, secret, pem)
        async with grpc.aio.secure_channel(bed.url, member) as channel:
            assert await channel.unary_unary(INFER)(message)
        async with grpc.aio.secure_channel(bed.url, grpc.ssl_channel_credentials(pem)) as channel:
            assert await channel.unary_unary(INFER)(message).code() is grpc.StatusCode.UNAVAILABLE

    with serving(GrpcOptions(certificate=certificate, key=key, authority=certificate)) as bed:
        bed.run(story(bed))


def test_a_certificate_that_cannot_be_read_is_named(bed: Bed, tmp_path: Path) -> None:
    options = GrpcOptions(certificate=tmp_path / "none.pem", key=tmp_path / "none.key")
    with pytest.raises(BadSetting, match=r"none\.\w+ cannot be read"):
        bed.run(GrpcServer(bed.backend, Where("127.0.0.1", 0), options).start())


def test_the_generated_messages_are_those_of_the_definition(tmp_path: Path) -> None:
    shutil.copy(SOURCES / "inference.proto", tmp_path)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}"]
    subprocess.run([*protoc, f"--descriptor_set_out={tmp_path / 'set'}", "inference.proto"], check=True)
    (file,) = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    ours = descriptor_pb2.FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    file.ClearField("source_code_info")
    for message in (file, ours):
        _forget_json_names(message)
    assert ours == file


def _forget_json_names(file: descriptor_pb2.FileDescriptorProto) -> None:
    """What protoc writes into a descriptor set, and not into generated code."""
    pending = list(file.message_type)
    while pending:
        message = pending.pop()
        pending += message.nested_type
        for field in message.field:
            field.ClearField("json_name")


def test_every_field_has_the_number_and_kind_that_clients_know() -> None:
    from tritonclient.grpc import model_config_pb2

    known = {}
    for module in (theirs, model_config_pb2):
        file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        known |= {message.name: message for message in file.message_type}
        known |= {service.name: service for service in file.service}
    ours = descriptor_pb2.FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    for message in ours.message_type:
        _check_fields(message, known[message.name])
    (service,) = ours.service
    assert [method for method in service.method if method not in known[service.name].method] == []


def _check_fields(ours: descriptor_pb2.DescriptorProto, theirs: descriptor_pb2.DescriptorProto) -> None:
    known = {field.name: field for field in theirs.field}
    for field in ours.field:
        other = known[field.name]
        assert (field.number, field.type, field.label, field.type_name) == (
            other.number, other.type, other.label, other.type_name,
        )  # fmt: skip
    nested = {message.name: message for message in theirs.nested_type}
    for message in ours.nested_type:
        _check_fields(message, nested[message.name])


def test_a_process_may_hold_the_server_and_a_client_of_the_same_names() -> None:
    assert importlib.util.find_spec("tritonclient.grpc") is not None
    assert theirs.ModelInferRequest.DESCRIPTOR.full_name == pb.ModelInferRequest.DESCRIPTOR.full_name
    assert theirs.ModelInferRequest.DESCRIPTOR.file.pool is not pb.ModelInferRequest.DESCRIPTOR.file.pool


def test_standings_are_those_the_protocol_has_words_for() -> None:
    assert [each.value for each in Standing] == ["READY", "LOADING", "UNAVAILABLE"]


def test_when_it_drains_streams_end_with_their_last_answer_and_watchers_are_let_go() -> None:
    async def story(bed: Bed) -> None:
        async with bed.channel() as channel:
            idle = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
            busy = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == Health.SERVING
            await idle.write(two_x(1, 2, 3, 4).SerializeToString())
            assert pb.ModelStreamInferResponse.FromString(await idle.read()).infer_response.raw_output_contents
            slow = pb.ModelInferRequest(model_name="slow", id="slow-1")
            slow.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.0)
            await busy.write(slow.SerializeToString())
            await bed.backend.waiting.wait()
            stopping = asyncio.create_task(bed.server.stop(60))
            assert await idle.code() == grpc.StatusCode.UNAVAILABLE
            assert "drains" in await idle.details()
            assert (await watch.read()).status == Health.NOT_SERVING
            assert await watch.read() is grpc.aio.EOF
            assert not stopping.done()
            bed.backend.slow.set()
            assert pb.ModelStreamInferResponse.FromString(await busy.read()).infer_response.id == "slow-1"
            assert await busy.code() == grpc.StatusCode.UNAVAILABLE
            await stopping

    with serving(GrpcOptions(health_interval=60)) as bed:
        bed.run(story(bed))
