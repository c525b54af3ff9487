"""Deltas whose descriptions are plain JSON, so that their bytes can be changed one by one: delta_seeds.py FOLDER."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/python"))
from coded_header import description  # noqa: E402

file = (ROOT / "tests/vectors/delta.safetensors").read_bytes()
length = int.from_bytes(file[:8], "little")
header = json.loads(file[8 : 8 + length])
described = description(header["__metadata__"]["cdi_prune"])
header["__metadata__"]["cdi_prune"] = json.dumps(described, separators=(",", ":"))
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
(Path(sys.argv[1]) / "plain").write_bytes(len(text).to_bytes(8, "little") + text + file[8 + length :])
(Path(sys.argv[1]) / "packed").write_bytes(file)
