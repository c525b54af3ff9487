"""The command matrix: its files as NumPy reads them, and its questions on a terminal."""

import codecs
import os
import pty
import select
import subprocess
import time

import numpy as np
import pytest
from conftest import BINARY, cdi_prune
from safetensors.numpy import load_file

FLAGS = ["matrix", "--seed", "7", "--layer", "9", "--mode", "glorot_uniform", "--shape", "30,20,3"]


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16"])
def test_files_hold_the_same_weights(dtype, tmp_path):
    for file in ["w.npy", "w.csv", "w.safetensors"]:
        cdi_prune(*FLAGS, "--dtype", dtype, "--save", tmp_path / file)
    array = np.load(tmp_path / "w.npy")
    assert array.dtype == {"f64": np.float64, "f32": np.float32, "f16": np.float16}[dtype]
    assert array.shape == (30, 20, 3) and array.flags.c_contiguous
    assert load_file(tmp_path / "w.safetensors")["weight"].tobytes() == array.tobytes()
    table = np.loadtxt(tmp_path / "w.csv", delimiter=",", dtype=array.dtype)
    assert table.shape == (30, 60) and table.tobytes() == array.tobytes()


class Terminal:
    """The program with a terminal for standard input and output, in a folder."""

    def __init__(self, folder, *flags):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([BINARY, "matrix", *flags], cwd=folder, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.text, self.decoder = "", codecs.getincrementaldecoder("utf-8")()

    def read(self, until=None):
        """What was printed up to this text, or up to the end."""
        begun, deadline = len(self.text), time.monotonic() + 60
        while until is None or until not in self.text[begun:]:
            assert time.monotonic() < deadline, f"no {until!r} after {self.text!r}"
            if select.select([self.master], [], [], 1)[0]:
                try:
                    part = os.read(self.master, 1 << 16)
                except OSError:  # Linux's way to say that the other side is closed.
                    part = b""
                if not part:
                    assert until is None, f"no {until!r} in {self.text!r}"
                    break
                self.text += self.decoder.decode(part)
        return self.text[begun:]

    def answer(self, question, answer):
        self.read(question)
        os.write(self.master, answer.encode())

    def end(self):
        self.read()
        os.close(self.master)
        return self.process.wait(timeout=60), self.text.replace("\r\n", "\n")


def test_asks_for_each_on_a_terminal(tmp_path):
    terminal = Terminal(tmp_path)
    terminal.answer("Seed [42]: ", "x\n")
    terminal.answer("expected a whole number from -2^63 to 2^64-1\r\nSeed [42]: ", "7\n")
    terminal.answer("Layer id [0]: ", "9\n")
    terminal.answer("Rows [64]: ", "2\n")
    terminal.answer("Columns [64]: ", "3\n")
    terminal.answer("Show he, xavier and lecun side by side? [no]: ", "\n")
    terminal.answer("Mode, or a YAML mapping [he]: ", "kaiming_uniform_\n")
    terminal.answer("Gain [the mode's own]: ", "\n")
    terminal.answer("Show the distribution? [no]: ", "yes\n")
    terminal.answer("Test reproducibility? [no]: ", "y\n")
    terminal.answer("Row,column of a weight to show in detail [none]: ", "2,0\n")
    terminal.answer("there is no weight at (2, 0)", "1,2\n")
    terminal.answer("File to save to (.npy, .safetensors or .csv) [none]: ", "w.npy\n")
    code, text = terminal.end()
    assert code == 0
    # That of the flags' tests, by an independent program.
    for part in [
        "he(distribution=uniform) of 2x3, f32, seed 7, layer 9; fan_in 3, fan_out 2.\n",
        "saved: w.npy, 6 weights, 152 bytes\n",
        "Strokes: the exact distribution.",
        "0xbfd2e8db8fee7528",
        "SHA-256 of the stored weights:\n",
    ]:
        assert part in text
    expected = np.float32([[0.14321823, -0.45190853, -0.4141044], [-1.3860227, 0.7098005, -0.2954625]])
    assert np.array_equal(np.load(tmp_path / "w.npy"), expected)


def test_enter_takes_the_defaults(tmp_path):
    # A flag that all commands have is no answer.
    terminal = Terminal(tmp_path, "--color", "never")
    for _ in range(11):
        terminal.answer("]: ", "\n")
    code, text = terminal.end()
    assert code == 0 and text.endswith("\n" + cdi_prune("matrix"))


def test_end_of_input_ends_it(tmp_path):
    terminal = Terminal(tmp_path)
    terminal.answer("Seed [42]: ", "1\n")
    terminal.answer("Layer id [0]: ", "\x04")
    code, text = terminal.end()
    assert code == 2
    assert text.endswith("error: the input ended before the last question, so nothing was done\n")


def test_any_flag_means_no_question(tmp_path):
    code, text = Terminal(tmp_path, "--rows", "2").end()
    assert code == 0 and "[42]" not in text and "he of 2x64" in text
