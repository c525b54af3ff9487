"""A decoder of coded tensors in NumPy, written from docs/format.md alone."""

import numpy as np

# Bits of a value and of its mantissa.
FORMS = {"F64": (64, 52), "F32": (32, 23), "F16": (16, 10), "BF16": (16, 7)}
# Bits of types that have bytes alone.
FORMS |= {name: (8, None) for name in ("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0")}
FORMS |= {name: (16, None) for name in ("U16", "I16")}
FORMS |= {name: (32, None) for name in ("U32", "I32")}
FORMS |= {name: (64, None) for name in ("U64", "I64", "C64")}


class Bits:
    def __init__(self, data):
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        self.at = 0

    def take(self, count):
        part = self.bits[self.at : self.at + count]
        assert len(part) == count, "bits are missing"
        self.at += count
        return sum(int(bit) << n for n, bit in enumerate(part))

    def bytes(self):
        """Bytes begun; what fills the last one is zeros."""
        end = -(-self.at // 8)
        assert not self.bits[self.at : 8 * end].any()
        return end


def read_table(bits):
    first, last = bits.take(8), bits.take(8)
    frequencies, before = [0] * 256, 0
    for symbol in range(first, last):
        k = max(before.bit_length() - 2, 0)
        zeros = 0
        while bits.take(1) == 0:
            zeros += 1
        before = frequencies[symbol] = bits.take(zeros + k) + (1 << (zeros + k)) - (1 << k)
    frequencies[last] = 2048 - sum(frequencies)
    assert frequencies[last] >= 0
    slots = [(symbol, f, slot) for symbol, f in enumerate(frequencies) for slot in range(f)]
    return slots


def read_symbols(data, contexts, tables):
    """The symbols of places with these tables, and what is left of the bytes."""
    lanes = 8 if len(contexts) >= 4096 else 1
    if not data:
        return [tables[c][0][0] for c in contexts], b""
    states = [int(x) for x in np.frombuffer(data[: 4 * lanes], "<u4")]
    at = 4 * lanes
    symbols = []
    for i, context in enumerate(contexts):
        symbol, frequency, offset = tables[context][states[i % lanes] % 2048]
        state = frequency * (states[i % lanes] // 2048) + offset
        if state < 65536:
            state = state * 65536 + int.from_bytes(data[at : at + 2], "little")
            at += 2
        states[i % lanes] = state
        symbols.append(symbol)
    assert states == [65536] * lanes and at <= len(data)
    return symbols, data[at:]


def read_classes(data, at, count):
    base = int.from_bytes(data[at : at + 2], "little", signed=True)
    at += 2
    length = shift = 0
    while True:
        length |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            break
    code = data[at : at + length]
    if not code:
        return np.full(count, base), at
    bits = Bits(code)
    table = read_table(bits)
    numbers, rest = read_symbols(code[bits.bytes() :], [0] * count, [table])
    assert not rest
    return base + np.array(numbers), at + length


def blocks_of(rows, columns):
    """First places and lengths."""
    if not rows * columns:
        return []
    at_once = 65536 // columns
    if at_once:
        return [(r * columns, min(at_once, rows - r) * columns) for r in range(0, rows, at_once)]
    return [(r * columns + c, min(65536, columns - c)) for r in range(rows) for c in range(0, columns, 65536)]


def rising(value, b):
    return value ^ ((1 << b) - 1) if value >> (b - 1) else value | 1 << (b - 1)


def unfolded(number):
    return -(number + 1) // 2 if number & 1 else number // 2


def of_bits(bits, dtype):
    if dtype == "BF16":
        return float(np.uint32(bits << 16).view("f4"))
    kind = dtype[1:]
    return float(np.array(bits, f"u{int(kind) // 8}").view(f"f{int(kind) // 8}"))


def to_bits(value, dtype):
    """Rounded to nearest, ties to even; F16 and BF16 via F32."""
    if dtype == "F64":
        return int(np.float64(value).view("u8"))
    single = np.float32(value)
    if dtype == "F16":
        return int(single.astype("f2").view("u2"))
    bits = int(single.view("u4"))
    return bits if dtype == "F32" else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def decode(data, dtype, shape, prediction, fill=None, initial=None):
    """The bits of a coded tensor's values, of which `prediction` has the bits of their predictions; pruned
    elements are `fill`, or their `initial` value."""
    b, m = FORMS[dtype]
    rows = shape[0] if len(shape) > 1 else 1
    columns = int(np.prod(shape, dtype=object)) // rows if rows else 0
    assert data[0] == 1
    model, at, top = data[1], 2, 0
    assert model < 6 and m or model in (2, 3)
    if model == 0:
        top, at = int.from_bytes(data[2:4], "little"), 4
    if model > 3:
        step, at = np.frombuffer(data[2:10], "<f8")[0], 10
    flags, count = data[at], data[at + 1]
    at += 2
    row_class, column_class = np.zeros(rows, int), np.zeros(columns, int)
    if flags & 1:
        row_class, at = read_classes(data, at, rows)
    if flags & 2:
        column_class, at = read_classes(data, at, columns)
    zeros = np.zeros(rows, int)
    if flags & 4:
        zeros, at = read_classes(data, at, rows)
    thresholds = []
    for n in range(count - 1):
        if n == 0:
            thresholds.append(int.from_bytes(data[at : at + 2], "little", signed=True))
            at += 2
        else:
            thresholds.append(thresholds[-1] + data[at])
            at += 1
    bits = Bits(data[at:])
    tables = [read_table(bits) for _ in range(count)]
    at += bits.bytes()
    cut = blocks_of(rows, columns)
    lengths = np.frombuffer(data[at : at + 4 * len(cut)], "<u4").astype(int)
    at += 4 * len(cut)
    assert at + lengths.sum() == len(data)
    out = []
    for (start, size), length in zip(cut, lengths):
        places = np.arange(start, start + size)
        level = row_class[places // columns] + column_class[places % columns]
        if model == 1:
            level = level - (prediction[start : start + size] % (1 << (b - 1)) >> (m - 1)).astype(int)
        if model in (2, 3):
            level = np.concatenate([level + 16 * byte for byte in range(b // 8)])
        contexts = np.searchsorted(thresholds, level, "right")
        symbols, rest = read_symbols(data[at : at + length], contexts, tables)
        at += length
        bits = Bits(rest)
        if model in (2, 3):
            assert not rest
            for place, of_value in zip(places, np.array(symbols).reshape(b // 8, size).T):
                value = sum(int(symbol) << 8 * byte for byte, symbol in enumerate(of_value))
                if model == 3:
                    value = (int(prediction[place]) + unfolded(value)) % (1 << b)
                out.append(value)
            continue
        for place, symbol in zip(places, symbols):
            if symbol == 0:
                value = 0 if fill is None else int(fill[place])
            elif symbol == 1:
                value = int(initial[place])
            elif symbol == 2 and model != 1:
                value = bits.take(b)
            elif model > 3:
                folded = symbol - 3
                if symbol >= 195:
                    folded = bits.take(symbol - 188) | 1 << (symbol - 188)
                start_value = of_bits(int(prediction[place]), dtype) if model == 5 else 0.0
                value = to_bits(start_value + unfolded(folded) * step, dtype)
            elif model == 0:
                if symbol == 3:
                    value = 0
                else:
                    z = int(zeros[place // columns])
                    low, sign = bits.take(m - 2 - z), bits.take(1)
                    value = sign << (b - 1) | (top - (symbol - 4)) << (m - 2) | low << z
            else:
                folded = symbol - 2
                if symbol >= 6:
                    length_of, t = 3 + (symbol - 6) // 4, (symbol - 6) % 4
                    folded = (4 | t) << (length_of - 3) | bits.take(length_of - 3)
                number = (rising(int(prediction[place]), b) + unfolded(folded)) % (1 << b)
                value = number ^ 1 << (b - 1) if number >> (b - 1) else number ^ ((1 << b) - 1)
            out.append(value)
        assert bits.bytes() == len(rest)
    return np.array(out, f"u{b // 8}")
