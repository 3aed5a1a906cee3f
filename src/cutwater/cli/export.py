"""`cutwater export`: turns a PyTorch module into an ONNX file (extra `torch`)."""

from pathlib import Path
from typing import Annotated

import typer

from cutwater.cli.console import messages, print_json, results
from cutwater.cli.options import Json


def export(
    target: Annotated[str, typer.Argument(help="package.module:factory; the factory returns a torch.nn.Module.")],
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", help="An input at batch 1: 1x3x224x224, or ids=int64:1x128.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file to write.")] = Path("model.onnx"),
    opset: Annotated[int, typer.Option(help="Version of the standard operator set.")] = 18,
    fixed_batch: Annotated[bool, typer.Option("--fixed-batch", help="Keep the batch dimension at 1.")] = False,
    json: Json = False,
) -> None:
    """Turn a PyTorch module into an ONNX file that can be cut, layer names included."""
    from cutwater.frameworks.torch import export as write
    from cutwater.frameworks.torch import parse_input_spec

    specs = [parse_input_spec(text, position) for position, text in enumerate(inputs)]
    path = write(target, specs, out, opset, not fixed_batch)
    if json:
        print_json({"path": str(path), "bytes": path.stat().st_size})
        return
    results.print(str(path), soft_wrap=True)
    messages.print(f"look into it: cutwater model show {path}")
