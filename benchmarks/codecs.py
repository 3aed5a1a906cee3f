"""Codecs and frames: what a tensor costs on its way into a frame and out of it, on one core.

Activations are those of trained EfficientNet-Lite0 for a picture (a file, or seeded noise with a photograph's
spectrum). All candidates of a table take turns in every round; a figure is the median of the rounds, with the distance
between the quartiles in per cent of it.

    python benchmarks/codecs.py [--rounds 5] [--picture FILE] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

import lz4.block
import msgspec
import numpy as np
import onnx
import onnxruntime
import zstandard
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from cutwater.units import RequestId, StageId
from cutwater.wire.codecs.float16 import LARGEST
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.frames import FrameReader, encode
from cutwater.wire.message import Hop, Infer, Mark, Message, TensorSpec
from cutwater.wire.packings import PACKINGS
from cutwater.wire.tensors import pack, tensors
from cutwater.zoo.efficientnet_lite0 import SIZE, build_efficientnet_lite0

Floats = NDArray[np.float32]
Row = dict[str, Any]

BORDERS = {
    "stem, after ReLU6": "/conv_stem/Clip_output_0",
    "blocks.1, linear": "/blocks.1/conv_pwl/Conv_output_0",
    "blocks.2, after Add": "/blocks.2/Add_output_0",
    "blocks.4, after Add": "/blocks.4/Add_output_0",
    "blocks.2, after ReLU6": "/blocks.2/conv_dw/Clip_output_0",
}
CALL_SECONDS = 0.02
"""How long one candidate runs in one round."""


def take_turns(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds per call of each candidate and their spread: median and quartile distance over the rounds."""
    repeats = {}
    for name, call in candidates.items():
        begin = time.perf_counter()
        call()
        call()
        repeats[name] = max(1, round(2 * CALL_SECONDS / (time.perf_counter() - begin)))
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - begin) / repeats[name])
    quartiles = {name: statistics.quantiles(values, n=4) for name, values in seconds.items()}
    return {name: (statistics.median(seconds[name]), high - low) for name, (low, _, high) in quartiles.items()}


def show(title: str, rows: list[Row]) -> None:
    """Print rows of equal keys as a table."""
    print(f"\n{title}")
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    print("  ".join(key.ljust(width) for key, width in widths.items()))
    for row in rows:
        print("  ".join(str(row[key]).ljust(width) for key, width in widths.items()))


def timed(times: Mapping[str, tuple[float, float]], name: str) -> Row:
    """A time as columns."""
    median, spread = times[name]
    return {"us": f"{median * 1e6:.2f}", "spread %": f"{100 * spread / median:.0f}"}


# Frames


def example(nbytes: int) -> tuple[Infer, list[memoryview]]:
    """A request of ``nbytes`` that three stages have worked on."""
    mark = Mark(StageId("stage-1"), 12345.6, 12345.7, 12345.8, 12345.9, 1, nbytes, nbytes, 1e-4, 1e-4)
    spec = TensorSpec("/blocks.2/Add_output_0", "float32", (1, nbytes // 4), nbytes)
    route = (Hop("tcp:10.0.0.3:45123", "zstd"),)
    message = Infer(RequestId(123456), 1, 0.25, route, "plain", "plain", (spec,), (mark,) * 3)
    return message, [memoryview(bytes(nbytes))]


def parse(reader: FrameReader, stream: memoryview) -> None:
    """Copy a stream into the reader as a socket would, in reads of any size the reader asks for."""
    while stream:
        buffer = reader.get_buffer()
        took = min(len(buffer), len(stream))
        buffer[:took] = stream[:took]
        for _ in reader.buffer_updated(took):
            pass
        stream = stream[took:]


def measure_frames(rounds: int) -> list[Row]:
    """Encoding and parsing, beside what the header alone and the copy alone cost."""
    candidates: dict[str, Callable[[], object]] = {}
    for label, nbytes in (("4 KB", 4096), ("784 KB", 784 * 1024)):
        message, buffers = example(nbytes)
        stream = memoryview(b"".join(encode(message, buffers)))
        reader = FrameReader(1 << 20)
        source = buffers[0]

        def copy(source: memoryview = source) -> None:
            np.empty(len(source), np.uint8).data[:] = source

        candidates[f"encode {label}"] = lambda m=message, b=buffers: encode(m, b)
        candidates[f"parse {label}, its one copy included"] = lambda r=reader, s=stream: parse(r, s)
        candidates[f"copy {label} alone"] = copy
        candidates[f"crc32 of {label} (not done)"] = lambda s=source: crc32(s)
    message, _ = example(4096)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Message)
    header = encoder.encode(message)
    candidates[f"msgpack header of {len(header)} bytes, encode"] = lambda: encoder.encode(message)
    candidates[f"msgpack header of {len(header)} bytes, decode"] = lambda: decoder.decode(header)
    times = take_turns(candidates, rounds)
    return [{"frames": name} | timed(times, name) for name in candidates]


# Forms


def session(nodes: list[onnx.NodeProto], inputs: dict[str, int], outputs: list[str]) -> onnxruntime.InferenceSession:
    """ONNX Runtime with one thread, around a few nodes."""
    graph = helper.make_graph(
        nodes,
        "conversion",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure_forms(tensor: Floats, rounds: int) -> list[Row]:
    """numpy's conversions beside the same in a graph; entering the engine and leaving it is measured, too."""
    node = helper.make_node
    float16, int8 = get_codec("float16"), get_codec("int8")
    half, parts = float16.convert(tensor)[0], int8.convert(tensor)
    feeds = dict(zip(("codes", "scale", "zero"), parts, strict=True))
    kinds = {"codes": TensorProto.UINT8, "scale": TensorProto.FLOAT, "zero": TensorProto.UINT8}
    plain = {"x": TensorProto.FLOAT}
    saturate = [
        node("Constant", [], ["least"], value_float=-LARGEST),
        node("Constant", [], ["most"], value_float=LARGEST),
        node("Clip", ["x", "least", "most"], ["c"]),
        node("Cast", ["c"], ["y"], to=TensorProto.FLOAT16),
    ]
    graphs = {
        "nothing (Identity)": (session([node("Identity", ["x"], ["y"])], plain, ["y"]), {"x": tensor}),
        "float16, convert": (session(saturate, plain, ["y"]), {"x": tensor}),
        "float16, restore": (
            session([node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], {"x": TensorProto.FLOAT16}, ["y"]),
            {"x": half},
        ),
        "int8, convert": (
            session([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], plain, ["y", "s", "z"]),
            {"x": tensor},
        ),
        "int8, restore": (session([node("DequantizeLinear", list(kinds), ["y"])], kinds, ["y"]), feeds),
    }
    candidates: dict[str, Callable[[], object]] = {
        f"graph: {name}": lambda s=engine, f=given: s.run(None, f) for name, (engine, given) in graphs.items()
    }
    channel = get_codec("int8-channel")
    channel_parts = channel.convert(tensor)
    candidates |= {
        "numpy: float16, convert": lambda: float16.convert(tensor),
        "numpy: float16, restore": lambda: float16.restore([half]),
        "numpy: int8, convert": lambda: int8.convert(tensor),
        "numpy: int8, restore": lambda: int8.restore(parts),
        "numpy: int8-channel, convert": lambda: channel.convert(tensor),
        "numpy: int8-channel, restore": lambda: channel.restore(channel_parts),
    }
    times = take_turns(candidates, rounds)
    rows = []
    for name in candidates:
        twin = times.get(name.replace("numpy", "graph"))
        ratio = f"{times[name][0] / twin[0]:.1f}" if twin and name.startswith("numpy") else ""
        rows.append({f"forms, {tensor.nbytes // 1024} KiB": name} | timed(times, name) | {"times the graph's": ratio})
    return rows


# Packings


def shuffled(data: bytes, itemsize: int) -> bytes:
    """What the bytes look like to a compressor after shuffling."""
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(-1, itemsize).T).tobytes()


def measure_packings(borders: Mapping[str, Floats], rounds: int) -> list[Row]:
    """Size, and nanoseconds per unpacked byte, of each packing on each border in each form."""
    rows = []
    for border, tensor in borders.items():
        for form in ("raw", "float16", "int8"):
            part = get_codec(form).convert(tensor)[0]
            for packing in ("lz4", "zstd"):
                specs, buffers = pack([("x", part.dtype.name, part)], packing)
                message = msgspec.structs.replace(example(4)[0], packing=packing, tensors=specs)
                views = [memoryview(buffer) for buffer in buffers]
                times = take_turns(
                    {
                        "pack": lambda p=part, k=packing: pack([("x", p.dtype.name, p)], k),
                        "unpack": lambda m=message, v=views: tensors(m, v),
                    },
                    rounds,
                )
                data = part.tobytes()
                squeeze = {
                    "lz4": lambda b: lz4.block.compress(b, store_size=False),
                    "zstd": zstandard.ZstdCompressor(level=PACKINGS["zstd"].level).compress,  # type: ignore[attr-defined]
                }[packing]
                rows.append(
                    {
                        "packings": border,
                        "KiB": part.nbytes // 1024,
                        "codec": f"{form}+{packing}",
                        "smaller": f"{part.nbytes / specs[0].nbytes:.2f}",
                        "pack ns/B": f"{times['pack'][0] / part.nbytes * 1e9:.2f}",
                        "unpack ns/B": f"{times['unpack'][0] / part.nbytes * 1e9:.2f}",
                        "if not shuffled": f"{len(data) / len(squeeze(data)):.2f}",
                        "if shuffled": f"{len(data) / len(squeeze(shuffled(data, part.itemsize))):.2f}",
                    }
                )
    return rows


def activations(picture: Path | None, cache: Path) -> dict[str, Floats]:
    """The tensors at `BORDERS` for one picture."""
    model = onnx.shape_inference.infer_shapes(build_efficientnet_lite0(cache))
    known = {value.name: value for value in model.graph.value_info}
    model.graph.output.extend(known[name] for name in BORDERS.values())
    if picture is None:
        rng = np.random.default_rng(0)
        frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None]) + 1 / SIZE
        noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((3, SIZE, SIZE))) / frequency).real
        pixels = np.clip(127 + 50 * noise / noise.std(), 0, 255).round()
    else:
        with Image.open(picture) as opened:
            pixels = np.asarray(opened.convert("RGB").resize((SIZE, SIZE)), np.float64).transpose(2, 0, 1)
    engine = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {engine.get_inputs()[0].name: ((pixels - 127) / 128).astype(np.float32)[None]}
    return dict(zip(BORDERS, engine.run(list(BORDERS.values()), feeds), strict=True))


def main() -> None:
    """Run all three parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cache = Path(os.environ.get("CUTWATER_CACHE") or Path.home() / ".cache" / "cutwater")

    names = ("numpy", "onnxruntime", "msgspec", "lz4", "zstandard")
    conditions = {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {name: version(name) for name in names},
        "rounds": arguments.rounds,
        "picture": arguments.picture.name if arguments.picture else "seeded 1/f noise",
    }
    print(json.dumps(conditions))
    borders = activations(arguments.picture, cache)
    tables = {
        "frames": measure_frames(arguments.rounds),
        "forms": measure_forms(np.resize(borders["blocks.2, after Add"], (1, 64, 56, 56)), arguments.rounds),
        "packings": measure_packings(borders, arguments.rounds),
    }
    for title, rows in tables.items():
        show(title.capitalize(), rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"conditions": conditions, **tables}, indent=2) + "\n")


if __name__ == "__main__":
    main()
