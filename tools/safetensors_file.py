"""Reads and writes safetensors files with nothing but json and numpy, so that the tools need no package for it."""

import json

import numpy

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
          "BOOL": "?"}
NAMES = {numpy.dtype(text): name for name, text in DTYPES.items()}


def read(path):
    """(arrays by name, metadata) of a file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = numpy.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
    return arrays, metadata


def write(path, arrays, metadata):
    """Writes arrays by name; larger element types first, then by name, the header padded to 8 bytes."""
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header, position = {"__metadata__": metadata}, 0
    for name in names:
        array = arrays[name]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(numpy.ascontiguousarray(arrays[name]).tobytes())
