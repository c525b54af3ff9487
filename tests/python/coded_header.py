"""What the header of a file with coded tensors says, read as docs/format.md specifies it."""

import base64
import json
import zlib


def description(text):
    """What the value of `cdi_prune` says, in either form."""
    if text.startswith("deflate:"):
        stream = zlib.decompressobj(-15)
        text = stream.decompress(base64.b64decode(text[len("deflate:") :], validate=True))
        assert stream.eof and not stream.unused_data
    return json.loads(text)


def codes_of(described, tensors):
    """The code of each coded tensor, from the bytes of the tensors in the file."""
    codes, at = {}, 0
    for entry in described["tensors"]:
        if entry["format"] == "coded" and "code" in entry:
            codes[entry["name"]] = tensors["cdi_prune.codes"][at : at + entry["code"]]
            at += entry["code"]
        elif entry["format"] == "coded":
            codes[entry["name"]] = tensors[entry["name"] + ".codes"]
    assert at in (0, len(tensors.get("cdi_prune.codes", b"")))
    return codes
