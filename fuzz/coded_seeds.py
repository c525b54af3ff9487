#!/usr/bin/env python3
"""Seeds of the target `coded`, of the vectors of coded tensors: python3 coded_seeds.py FOLDER."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "../tests/python"))
from coded_header import codes_of, description

# As in targets/coded.rs.
TYPES = ["F32", "BF16", "F16", "F64", "U8", "F8_E4M3", "I16", "U32", "I64", "C64"]
FILLS = ["zero", "init", "nearest"]

for path in sorted((Path(__file__).parent / "../tests/vectors").glob("*.safetensors")):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    described = description(header.get("__metadata__", {}).get("cdi_prune", '{"tensors": []}'))
    parts = {name: data[end + t["data_offsets"][0] : end + t["data_offsets"][1]] for name, t in header.items() if "dtype" in t}
    codes = codes_of(described, parts)
    for tensor in described["tensors"]:
        rows, cols = tensor["shape"][0] if len(tensor["shape"]) > 1 else 1, 1
        for size in tensor["shape"][len(tensor["shape"]) > 1 :]:
            cols *= size
        if tensor["format"] != "coded" or tensor["dtype"] not in TYPES or rows > 255:
            continue
        prediction = {None: 0, 0.9: 1}.get(tensor.get("prediction"), 2)
        options = ("init" in tensor) * 2 | prediction << 2 | FILLS.index(tensor.get("fill", "zero")) << 4
        begin = [TYPES.index(tensor["dtype"]), rows, cols & 255, cols >> 8 & 127 | cols >> 16 << 7, options]
        (Path(sys.argv[1]) / f"{path.stem}-{tensor['name']}").write_bytes(bytes(begin) + codes[tensor["name"]])
