"""The process that opens a foreign model file: stdin is the file, stdout becomes plain safetensors or stays empty.

Run by its path, not as part of the package: it imports torch and safetensors only, and after that limits itself to the
memory and time that a file of this size can need and to no further files or processes. A file is refused by exit code 2
and one line of JSON on stderr; exit code 3 and such a line mean that the weights could not be written. Nothing here
trusts a length, a shape or an attribute before it is checked.
"""

import codecs
import json
import math
import os
import pickletools
import resource
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections import OrderedDict
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch

ENTRIES = ("model", "state_dict", "model_state")
"""Where the field's checkpoints keep their weights: mdistiller and RepDistiller, torchvision's scripts, pycls."""
FIGURES = ("epoch", "accuracy", "best_acc", "best_acc1", "acc1", "test_err")
"""What trainers write beside the weights; kept as what the file says of itself."""
HARMLESS = (
    "argparse.Namespace",
    "pathlib.PosixPath",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
"""Names that trainers pickle beside the weights (RepDistiller its whole command line); each is read as Ignored."""

PLAIN_NAMES = (
    *("torch._utils._rebuild_", "torch.serialization._get_layout", "torch.nn.parameter.Parameter", "torch.Tensor"),
    *("torch.Size", "torch.device", "torch.float", "torch.int", "torch.uint", "torch.bool", "torch.bfloat"),
    *("collections.OrderedDict", "_codecs.encode", "builtins.set", "builtins.bytearray", "builtins.complex"),
    *HARMLESS,
)
"""What torch reads without objection: never the reason of a refusal."""

MOST_KEYS = 100_000
MOST_PICKLE_BYTES = 16 * 2**20
LONGEST_KEY = 200
DTYPES = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}
)


class Refused(Exception):
    """The file is not used: what is wrong with it, and what may help."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Ignored:
    """Stands for an object of another program: takes whatever it is given and keeps nothing.

    The unpickler looks names up in a table and imports none, so this is safer than the class that was pickled.
    """

    def __new__(cls, *_arguments: object) -> "Ignored":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def read(file: BinaryIO, size: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state_dict in a file of `size` bytes, and what is known of it. Raises Refused."""
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        kind = "torch zip"
        _check_zip(file, size)
        loaded = _load(file)
    elif size > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        kind = "safetensors"
        try:
            loaded = safetensors.torch.load(file.read())
        except Exception as error:  # whatever the library says of a damaged file
            raise Refused(f"is damaged: {_line(error)}", "Take it again from its source.") from error
    elif head.startswith(b"\x80"):
        kind = "torch legacy"
        loaded = _load(file)
    else:
        raise _foreign(head)
    entry, state = _state_dict(loaded)
    weights = _checked(state, size)
    figures = {name: value for name in FIGURES if (value := _figure(loaded, name)) is not None}
    return weights, {"format": kind, "entry": entry, "figures": figures}


def _foreign(head: bytes) -> Refused:
    """What the file is instead of a model."""
    again = "Take it again from its source, by its direct address."
    if not head:
        return Refused("is empty", again)
    if head.lstrip()[:1] == b"<":
        return Refused("is a web page, not a model: the download went wrong", again)
    if head.startswith(b"version https://git-lfs"):
        return Refused("is a Git LFS pointer, not the model itself", "Fetch it with `git lfs pull`.")
    if head[257:262] == b"ustar":
        return Refused("is a tar archive", "Unpack it and import what is in it.")
    return Refused("is neither a PyTorch nor a safetensors file", again)


def _check_zip(file: BinaryIO, size: int) -> None:
    """Refuse a zip that PyTorch did not write so: names that climb, compression, more bytes than the file has, damage.

    The checksums are the only trace of a flipped bit: torch.load does not look at them.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            names = [record.filename for record in records]
            if len(records) > MOST_KEYS + 100 or len(set(names)) < len(names):
                raise Refused(f"is not a PyTorch file: its zip has {len(names):,} records, some of them twice")
            if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
                raise Refused(
                    "is a TorchScript program, not weights alone",
                    "Save its state_dict where it came from: torch.save(model.state_dict(), FILE).",
                )
            for record in records:
                name = record.filename
                if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                    raise Refused(f"is not a PyTorch file: its zip has a record named {_shown(name)}")
                if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
                    size_there = f"{record.file_size:,} bytes in {_shown(name)}"
                    raise Refused(f"is a compressed zip ({size_there}), which PyTorch never writes")
                if name.endswith(".pkl") and record.file_size > MOST_PICKLE_BYTES:
                    raise Refused(f"holds a pickle of {record.file_size:,} bytes, far more than any model's keys need")
            if sum(record.file_size for record in records) > size:
                raise Refused("claims more bytes in its zip records than the file has")
            if not any(name.endswith("/data.pkl") for name in names):
                raise Refused("is a zip archive, but not one of PyTorch")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:  # zipfile's
        # for what is cut, points elsewhere, or has another compression, version or a password
        raise Refused(f"is damaged: {_line(error)}", "Take it again from its source.") from error
    if damaged is not None:
        raise Refused(f"is damaged: the checksum of {_shown(damaged)} is wrong", "Take it again from its source.")
    file.seek(0)


def _load(file: BinaryIO) -> Any:
    """What torch's restricted unpickler makes of the file; it runs no code of the file's."""
    try:
        with torch.serialization.safe_globals([(Ignored, name) for name in HARMLESS]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever torch stumbles over in a hostile or damaged file
        asked = _names_asked(file)
        if asked:
            raise Refused(
                f"holds executable code ({_shown(asked[0])}): refused, nothing of it was run",
                "If you trust where it came from, save its weights alone there: torch.save(model.state_dict(), FILE).",
            ) from error
        raise Refused(f"cannot be read as a PyTorch file: {_line(error)}", "Take it again from its source.") from error


def _names_asked(file: BinaryIO) -> list[str]:
    """The functions and classes that the file's pickles name, without those that tensors need."""
    found = []
    for stream in _pickles(file):
        texts: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    module, _, name = str(argument).partition(" ")
                    found.append(f"{IMPORT_MAPPING.get(module, module)}.{name}")  # old pickles: __builtin__
                elif opcode.name == "STACK_GLOBAL":
                    found.append(".".join(texts[-2:]))
                elif isinstance(argument, str):
                    texts.append(argument)
        except Exception:  # noqa: BLE001,S112  the rest of a damaged pickle names nothing more
            continue
    return [name for name in found if not name.startswith(PLAIN_NAMES) and not name.endswith("Storage")]


def _pickles(file: BinaryIO) -> list[BytesIO]:
    """The zip's pickles, or the first ones of a legacy file (magic number, version, system, weights)."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            return [BytesIO(archive.read(name)) for name in archive.namelist() if name.endswith(".pkl")]
    except zipfile.BadZipFile:
        file.seek(0)
        stream = BytesIO(file.read(MOST_PICKLE_BYTES))
        return [stream] * 4  # genops stops behind each pickle; the next begins there


def _state_dict(loaded: Any) -> tuple[str, dict[Any, Any]]:
    """The entry under which the weights stand ("" where they are the whole file), and they."""
    if type(loaded) not in (dict, OrderedDict):
        raise Refused(f"holds {type(loaded).__name__}, not a state_dict")
    for entry in ENTRIES:
        inner = dict.get(loaded, entry)
        if isinstance(inner, dict) and type(inner) in (dict, OrderedDict):
            return entry, inner
    # dict's own methods: a pickle may put attributes of the same names on an OrderedDict
    if any(isinstance(value, torch.Tensor) for value in dict.values(loaded)):
        return "", loaded
    names = ", ".join(_shown(name) for name in list(dict.keys(loaded))[:8])
    raise Refused(f"holds no state_dict under {', '.join(ENTRIES)}; its entries: {names or 'none'}")


def _checked(state: dict[Any, Any], size: int) -> dict[str, torch.Tensor]:
    """The tensors, contiguous, once each is known to be plain, dense, finite and no larger than the file allows."""
    if not state or len(state) > MOST_KEYS:
        raise Refused(f"holds a state_dict of {len(state):,} keys")
    spans = []
    total = 0
    for key, value in dict.items(state):
        if not isinstance(key, str) or not key.isprintable() or len(key) > LONGEST_KEY or key == "__metadata__":
            raise Refused(f"holds a key that no network has: {_shown(key)}")
        total += _plain_bytes(key, value)
        if total > 2 * size:
            raise Refused(f"claims at least {total:,} bytes of weights in a file of {size:,}")
        if value.numel():
            start = value.storage_offset() * value.element_size() + value.untyped_storage().data_ptr()
            reach = sum((n - 1) * stride for n, stride in zip(value.shape, value.stride(), strict=True))
            spans.append((start, start + (reach + 1) * value.element_size(), key))
    spans.sort()
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end:
            raise Refused(f"holds weights that share memory: {_shown(first)} and {_shown(second)}")
    for key, value in dict.items(state):
        if value.is_floating_point() and not value.isfinite().all():
            raise Refused(f"holds values that are not finite (NaN or infinity) in {_shown(key)}")
    return {key: value.detach().contiguous() for key, value in dict.items(state)}


def _plain_bytes(key: str, value: Any) -> int:
    """The bytes that the tensor's elements need. Raises Refused for anything but a dense tensor in memory."""
    if type(value) not in (torch.Tensor, torch.nn.Parameter) or vars(value):
        raise Refused(f"holds {type(value).__name__} under {_shown(key)}, where a network has a tensor")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.dtype not in DTYPES:
        dtype = str(value.dtype).removeprefix("torch.")
        raise Refused(f"holds a tensor of kind {dtype}, {value.layout}, {value.device.type} under {_shown(key)}")
    if value.is_neg() or value.is_conj():  # the bytes in memory would not be the values
        raise Refused(f"holds a lazily negated or conjugated tensor: {_shown(key)}")
    reach = 0
    for stride, n in sorted((stride, n) for n, stride in zip(value.shape, value.stride(), strict=True) if n > 1):
        if stride <= reach:
            raise Refused(f"holds a tensor that repeats its own memory: {_shown(key)}, shape {tuple(value.shape)}")
        reach += (n - 1) * stride
    return math.prod(value.shape) * value.element_size()


def _figure(loaded: dict[Any, Any], name: str) -> float | None:
    """A number that stands beside the weights, or None."""
    value = dict.get(loaded, name)
    if type(value) is torch.Tensor and value.layout == torch.strided and value.dtype in DTYPES and value.numel() == 1:
        value = float(value)
    return value if isinstance(value, int | float) and abs(value) < 1e9 else None


def _shown(name: object) -> str:
    """A name from the file, fit for a terminal: what cannot be printed as escapes, and not too long."""
    text = name if isinstance(name, str) and name.isprintable() else ascii(name)
    return text if len(text) <= 80 else text[:77] + "..."


def _line(error: Exception) -> str:
    """The first sentence of another library's message."""
    text = str(error).strip().partition("\n")[0].partition(". ")[0]
    return _shown(text) if text else type(error).__name__


def limit(size: int) -> None:
    """From here on: the memory and seconds that `size` bytes can need, no new file, no new process, no core dump."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    seconds = math.ceil(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + 4 + size // (20 * 2**20)
    limits = {
        resource.RLIMIT_AS: used + 2**30 + 6 * size,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 2 * size + 2**26,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    for what, value in limits.items():
        most = resource.getrlimit(what)[1]  # whoever started us may have set a lower limit, which cannot be raised
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        # of seconds the softer limit comes first: its signal says which limit it was
        resource.setrlimit(what, (value, value + 1 if what == resource.RLIMIT_CPU and value != most else value))


def main() -> int:
    """The exit code: 0 with the weights on stdout, 2 with the refusal on stderr."""
    size = os.fstat(0).st_size
    try:
        with open(0, "rb", closefd=False) as file:
            weights, known = read(file, size)
        data = safetensors.torch.save(weights, {"kdharness": json.dumps(known)})
    except Refused as refused:
        return _say(refused)
    except MemoryError:
        return _say(Refused(f"asks for more memory than a file of {size:,} bytes can need"))
    except Exception as error:  # noqa: BLE001  what no check foresaw is a fault of the file's too
        return _say(Refused(f"cannot be read: {type(error).__name__}: {_line(error)}"))
    try:
        with open(1, "wb", closefd=False) as out:
            out.write(data)
    except OSError as error:
        return _say(Refused(str(error.strerror)), 3)
    return 0


def _say(refused: Refused, code: int = 2) -> int:
    os.write(2, (json.dumps({"what": refused.what, "remedy": refused.remedy}) + "\n").encode())
    return code


def _warm_up() -> None:
    """Import all that loading needs while files may still be opened."""
    torch.set_num_threads(1)
    codecs.lookup("cp437")  # a zip's names, where it does not say UTF-8
    for zipped in (True, False):
        buffer = BytesIO()
        plain = {"w": torch.nn.Parameter(torch.zeros(1)), "bytes": b"\xff"}  # bytes need a codec, which is a module
        torch.save({"model": {"w": plain.pop("w")}, **plain}, buffer, _use_new_zipfile_serialization=zipped)
        buffer.seek(0)
        weights, known = read(buffer, 2**20)
        safetensors.torch.load(safetensors.torch.save(weights, {"kdharness": json.dumps(known)}))


if __name__ == "__main__":
    _warm_up()
    limit(os.fstat(0).st_size)
    sys.exit(main())
