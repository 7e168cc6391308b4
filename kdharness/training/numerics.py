"""What moves only the last bits of a result: read off this machine."""

import numpy
import torch

from kdharness.core.records import Execution, Numerics


def numerics(execution: Execution) -> Numerics:
    """Device kind (with the instruction set or the GPU's name), threads, layout and library versions."""
    device = torch.device(execution.device)
    if device.type == "cuda":
        kind = f"cuda {torch.cuda.get_device_name(device)}"
    else:
        kind = f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
    return Numerics(
        device_kind=kind,
        threads=execution.threads,
        layout=execution.layout,
        compile_mode="inductor" if execution.compile else "eager",
        graphs=execution.graphs and device.type == "cuda",
        torch=str(torch.__version__),
        torch_cuda=torch.version.cuda,
        numpy=str(numpy.__version__),
    )
