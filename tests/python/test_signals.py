"""Signals, and files that change under the program: it ends soon, says why, and leaves the outputs as they were."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from conftest import BINARY

ELEMENTS = 3000 * 8192
CONFIG = """seed: 7
model: {tensors: {a.weight: [3000, 8192]}}
rules: [{match: "**", init: he}]
init: {output: out/init.safetensors, max_shard_size: 200MB}
trained: {path: out/init.safetensors}
"""

strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (.ci/run installs it)")


def listing(folder):
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize("number, word", [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_leaves_the_old_outputs(tmp_path, number, word):
    # A large file, and then a long calculation.
    config = CONFIG.replace("8192]}}", "8192], b.weight: [1500, 1500]}}").replace(
        "rules: [", "rules: [{match: b.weight, init: orthogonal}, "
    )
    (tmp_path / "x.yaml").write_text(config)
    whole = 4 * (ELEMENTS + 1500 * 1500)
    out = tmp_path / "out"
    out.mkdir()
    (out / "init.safetensors").write_bytes(b"old")
    command = [BINARY, "--quiet", "--threads", "1", "init", "x.yaml", "--set", "trained.path=none.safetensors"]
    ended = 0
    moments = random.Random(number)
    for _ in range(20):
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while not list(out.glob(".init.safetensors.*.cdi-prune-tmp")) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.2))
        sent = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        took = time.monotonic() - sent
        if process.returncode == 0:
            assert list(out.iterdir()) == [out / "init.safetensors"], "it was done before"
            assert (out / "init.safetensors").stat().st_size > whole
            (out / "init.safetensors").write_bytes(b"old")
            continue
        ended += 1
        assert (process.returncode, errors) == (128 + number, f"error: ended by {word}\n")
        assert listing(out) == {"init.safetensors": 3}
        # Not how fast it is, but that it does not go on with its work.
        assert took < 30
    assert ended > 10


@strace
def test_a_signal_while_names_are_given_waits_for_them(tmp_path):
    config = CONFIG.replace("3000, 8192", "30, 8").replace("200MB", "200MB").replace(
        "trained: {path: out/init.safetensors}",
        "trained: {path: start.safetensors}\nanalyze: {report: {json: out/a.json, csv: out/b.csv}}",
    )
    (tmp_path / "x.yaml").write_text(config)
    assert subprocess.run([BINARY, "--quiet", "init", "x.yaml"], cwd=tmp_path).returncode == 0
    (tmp_path / "out/init.safetensors").rename(tmp_path / "start.safetensors")
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename", "-e", "inject=rename:delay_exit=1s:when=1"]
    process = subprocess.Popen([*slow, BINARY, "--quiet", "run", "x.yaml"], cwd=tmp_path)
    while not (tmp_path / "out/init.safetensors").exists():
        time.sleep(0.01)
    child = int((open(f"/proc/{process.pid}/task/{process.pid}/children").read()).split()[0])
    os.kill(child, signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert sorted(listing(tmp_path / "out")) == ["a.json", "b.csv", "init.safetensors"]


def analyze(tmp_path, *more):
    (tmp_path / "x.yaml").write_text(CONFIG)
    if not (tmp_path / "out").exists():
        made = [BINARY, "--quiet", "init", "x.yaml", "--set", "trained.path=none.safetensors"]
        assert subprocess.run(made, cwd=tmp_path).returncode == 0
    return subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=madvise", "-e", "inject=madvise:delay_exit=7s:when=1",
         BINARY, "--quiet", "--threads", "1", "--set", "init={output: other.safetensors}", "analyze", "x.yaml", *more],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )


@strace
def test_a_mapped_file_that_shrinks_is_named(tmp_path):
    # The program is held when it has given back the pages of the first window; the file is cut short meanwhile.
    process = analyze(tmp_path)
    time.sleep(4)
    os.truncate(tmp_path / "out/init.safetensors", 1 << 20)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == (
        "error: out/init.safetensors: the file became shorter, or could not be read, while it was mapped; run again when "
        "the file is complete, or use `--no-mmap`\n"
    )


@strace
def test_a_file_in_memory_does_not_care(tmp_path):
    process = analyze(tmp_path, "--no-mmap")
    time.sleep(4)
    os.truncate(tmp_path / "out/init.safetensors", 1 << 20)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_without_mapping_everything_is_the_same(tmp_path):
    (tmp_path / "x.yaml").write_text(CONFIG.replace("3000, 8192", "300, 8192"))
    made = [BINARY, "--quiet", "init", "x.yaml", "--set", "trained.path=none.safetensors"]
    assert subprocess.run(made, cwd=tmp_path).returncode == 0
    both = [
        subprocess.run(
            [BINARY, "--set", "init={output: other.safetensors}", "analyze", "x.yaml", *more],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        ).stdout
        for more in ([], ["--no-mmap"])
    ]
    assert both[0] == both[1] and "2,457,600" in both[0]


@pytest.mark.parametrize("command", ["inspect", "restore", "compare", "analyze"])
def test_what_has_no_end_is_no_input(tmp_path, command):
    """A pipe would be waited for, a device read for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.yaml").write_text(CONFIG.replace("path: out/init.safetensors", "path: pipe"))
    for path in ["pipe", "/dev/zero"]:
        arguments = {
            "inspect": ["inspect", path],
            "restore": ["restore", path, "-o", "out.safetensors"],
            "compare": ["compare", path, path],
            "analyze": ["analyze", "x.yaml", "--set", f"trained.path={path}"],
        }[command]
        done = subprocess.run([BINARY, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1, done.stderr
        assert "not a regular file" in done.stderr, done.stderr
    done = subprocess.run([BINARY, "run", "pipe"], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "not a regular file" in done.stderr, done.stderr
