"""Model files that no one should open: each maker writes one, whose code (if it has any) would leave a canary."""

import argparse
import builtins
import functools
import importlib
import io
import operator
import os
import pickle
import runpy
import struct
import subprocess
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

CASES: dict[str, Callable[[Path, Path], object]] = {}
"""Name -> maker(path to write, path of the canary)."""


def case(maker: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    CASES[maker.__name__] = maker
    return maker


def weights(**changes: Any) -> dict[str, Any]:
    return {"conv.weight": torch.ones(4, 3, 3, 3), "fc.weight": torch.arange(40.0).reshape(10, 4), **changes}


class Calls:
    """Unpickling it would call `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def touch(canary: Path) -> str:
    return f"touch {canary}"


def writes(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


# Code


def _code(name: str, make: Callable[[Path], Any]) -> None:
    """The same code beside the weights of a zip, in place of a weight in a legacy file, and as a bare pickle."""

    def in_zip(path: Path, canary: Path) -> None:
        torch.save({"model": weights(), "opt": make(canary)}, path)

    def in_legacy(path: Path, canary: Path) -> None:
        torch.save(weights(bias=make(canary)), path, _use_new_zipfile_serialization=False)

    def bare(path: Path, canary: Path) -> None:
        path.write_bytes(pickle.dumps(make(canary), protocol=4))

    CASES.update({f"{name}_in_zip": in_zip, f"{name}_in_legacy": in_legacy, f"{name}_bare": bare})


_code("os_system", lambda canary: Calls(os.system, touch(canary)))
_code("eval", lambda canary: Calls(builtins.eval, writes(canary)))
_code("popen", lambda canary: Calls(subprocess.Popen, ["touch", str(canary)]))
_code("partial", lambda canary: Calls(functools.partial, os.system, touch(canary)))
_code("methodcaller", lambda canary: Calls(operator.methodcaller, "system", touch(canary)))
_code("import_module", lambda _: Calls(importlib.import_module, "antigravity"))
_code("run_path", lambda canary: Calls(runpy.run_path, str(canary.with_suffix(".py"))))
_code("torch_load", lambda canary: Calls(torch.load, str(canary.with_suffix(".pth"))))
_code("torch_hub", lambda canary: Calls(torch.hub.load, str(canary.parent), "x"))
_code("numpy_objects", lambda canary: np.array([Calls(os.system, touch(canary))], dtype=object))
_code("in_namespace", lambda canary: argparse.Namespace(lr=0.1, hook=Calls(os.system, touch(canary))))


@case
def a_protocol_1_pickle(path, canary):
    path.write_bytes(b"cos\nsystem\n(S'" + touch(canary).encode() + b"'\ntR.")


@case
def a_whole_module(path, _):
    torch.save(torch.nn.Linear(2, 2), path)


@case
def code_as_a_key(path, canary):
    torch.save({"model": {Calls(os.system, touch(canary)): torch.ones(1)}}, path)


@case
def torchscript(path, canary):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("archive/constants.pkl", pickle.dumps(Calls(os.system, touch(canary)), protocol=2))
        archive.writestr("archive/code/__torch__.py", writes(canary))


@case
def a_scripted_network(path, _):
    with warnings.catch_warnings(action="ignore"):  # deprecated, but files of it are about
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


@case
def another_pickle_in_the_zip(path, canary):
    torch.save(weights(bias=Calls(os.system, touch(canary))), path)
    _rewrite(path, lambda name, data: (name.replace("data.pkl", "extra/data.pkl"), data))


# Tensors that are not what they say


@case
def stride_0_of_a_million_million(path, _):
    torch.save({"model": {"fc.weight": torch.ones(1).expand(10**6, 10**6)}}, path)


@case
def stride_0_small(path, _):
    torch.save(weights(bias=torch.ones(1).expand(3)), path)


@case
def overlapping_windows(path, _):
    torch.save(weights(bias=torch.arange(10.0).as_strided((5, 5), (1, 1))), path)


@case
def two_keys_one_memory(path, _):
    flat = torch.arange(10.0)
    torch.save({"a": flat[:6], "b": flat[4:]}, path)


@case
def a_thousand_keys_one_memory(path, _):
    one = torch.ones(10_000)
    torch.save({str(number): one for number in range(1000)}, path)


@case
def sparse_weights(path, _):
    torch.save(weights(bias=torch.eye(3).to_sparse()), path)


@case
def sparse_out_of_bounds(path, _):
    with torch.sparse.check_sparse_tensor_invariants(False):
        torch.save(weights(bias=torch.sparse_coo_tensor(torch.tensor([[10**9]]), torch.ones(1), (3,))), path)


@case
def meta(path, _):
    torch.save(weights(bias=torch.empty(10**6, 10**6, device="meta")), path)


@case
def complex_numbers(path, _):
    torch.save(weights(bias=torch.ones(3, dtype=torch.complex64)), path)


@case
def lazily_negated(path, _):
    torch.save(weights(bias=torch._neg_view(torch.ones(3))), path)


@case
def float8(path, _):
    torch.save(weights(bias=torch.ones(3).to(torch.float8_e4m3fn)), path)


@case
def nan(path, _):
    torch.save(weights(bias=torch.tensor([1.0, float("nan")])), path)


@case
def infinity_in_half_precision(path, _):
    torch.save(weights(bias=torch.tensor([1.0, 1e9]).half()), path, _use_new_zipfile_serialization=False)


@case
def a_tensor_with_attributes(path, _):
    tensor = torch.ones(3)
    tensor.numel = "many"  # type: ignore[method-assign,assignment]
    torch.save(weights(bias=tensor), path)


@case
def numbers_for_tensors(path, _):
    torch.save({"model": {"fc.weight": [1.0, 2.0]}}, path)


@case
def a_storage_longer_than_its_record(path, _):
    torch.save({"a": torch.arange(4.0)}, path)
    _rewrite(path, lambda name, data: (name, data.replace(b"K\x04t", b"K\xf0t").replace(b"K\x04\x85", b"K\xf0\x85")))


# Shapes that no state_dict has


@case
def a_list(path, _):
    torch.save([torch.ones(1)], path)


@case
def a_tensor(path, _):
    torch.save(torch.ones(1), path)


@case
def a_counter(path, _):
    torch.save(Counter("abc"), path)


@case
def nothing_in_it(path, _):
    torch.save({}, path)


@case
def nothing_under_model(path, _):
    torch.save({"model": {}}, path)


@case
def no_weights(path, _):
    torch.save({"epoch": 3, "net": {"a": torch.ones(1)}}, path)


@case
def itself_within(path, _):
    loop: dict[str, Any] = {}
    loop["model"] = loop
    torch.save(loop, path)


@case
def deep_nesting(path, _):
    path.write_bytes(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")


@case
def a_hundred_thousand_and_one_keys(path, _):
    one = torch.ones(1)
    torch.save({"model": {f"k{number}": one for number in range(100_001)}}, path)


@case
def keys_that_are_numbers(path, _):
    torch.save({"model": {1: torch.ones(1)}}, path)


@case
def keys_with_terminal_codes(path, _):
    torch.save({"model": {"\x1b]0;owned\x07": torch.ones(1)}}, path)


@case
def keys_with_lone_surrogates(path, _):
    torch.save({"model": {"\udc80": torch.ones(1)}}, path)


@case
def a_key_of_a_million_letters(path, _):
    torch.save({"model": {"k" * 10**6: torch.ones(1)}}, path)


@case
def the_key_of_safetensors(path, _):
    torch.save({"model": {"__metadata__": torch.ones(1)}}, path)


# Zips


def _rewrite(path: Path, change: Callable[[str, bytes], tuple[str, bytes]], **more: Any) -> None:
    """The zip again, each record changed."""
    with zipfile.ZipFile(path) as archive:
        records = [change(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", **more) as archive:
        for name, data in records:
            archive.writestr(name, data)


@case
def a_zip_bomb(path, _):
    torch.save({"model": {"fc.weight": torch.zeros(2**24)}}, path)
    _rewrite(path, lambda name, data: (name, data), compression=zipfile.ZIP_DEFLATED, compresslevel=1)


@case
def names_that_climb(path, _):
    torch.save(weights(), path)
    _rewrite(path, lambda name, data: (name.replace("data/0", "../../data/0"), data))


@case
def absolute_names(path, _):
    torch.save(weights(), path)
    _rewrite(path, lambda name, data: ("/" + name, data))


@case
def a_record_twice(path, _):
    torch.save(weights(), path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr(archive.namelist()[0], b"other")


@case
def a_size_that_is_a_lie(path, _):
    torch.save(weights(), path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(data)


@case
def another_program_s_zip(path, _):
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    path.with_suffix(".npz").rename(path)


@case
def a_zip_cut_short(path, _):
    torch.save(weights(), path)
    path.write_bytes(path.read_bytes()[:-100])


@case
def a_bit_flipped_in_a_weight(path, _):
    torch.save(weights(), path)
    data = bytearray(path.read_bytes())
    at = data.index(torch.arange(40.0).numpy().tobytes()) + 33
    data[at] ^= 4
    path.write_bytes(data)


@case
def a_pickle_of_32_mebibytes(path, _):
    torch.save({"model": weights(), "log": "x" * 2**25}, path)


# Other files


@case
def empty(path, _):
    path.write_bytes(b"")


@case
def a_web_page(path, _):
    path.write_text("<!DOCTYPE html><title>Google Drive - Virus scan warning</title>")


@case
def a_git_lfs_pointer(path, _):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


@case
def a_tar(path, canary):
    import tarfile

    inner = pickle.dumps(Calls(os.system, touch(canary)))
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("pickle")
        info.size = len(inner)
        archive.addfile(info, io.BytesIO(inner))


@case
def noise(path, _):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


@case
def a_legacy_file_cut_short(path, _):
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-50])


@case
def safetensors_cut_short(path, _):
    path.write_bytes(safetensors.torch.save(weights())[:-5])


def _safetensors(header: str, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + data


@case
def safetensors_that_overlap(path, _):
    one = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    path.write_bytes(_safetensors(f'{{"a":{one},"b":{one}}}', bytes(8)))


@case
def safetensors_of_a_million_million(path, _):
    path.write_bytes(_safetensors('{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,8]}}', bytes(8)))


@case
def safetensors_with_nan(path, _):
    safetensors.torch.save_file({"a": torch.tensor([float("nan")])}, path)
