"""What a failing or dying run leaves behind: the old outputs or the new ones, never some of each.

Faults are injected by strace into the n-th call of a kind, for every n that a run has; deaths by a signal at every such call,
and at a hundred moments. `cdi-prune run` with a trained checkpoint that is not there finishes what a killed run has begun and
writes nothing new but the initial checkpoint, which is the same every time.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import BINARY
from safetensors.numpy import save_file

CONFIG = """seed: 7
model: {tensors: {a.weight: [40, 30], b.weight: [20, 40], c.bias: [20]}}
rules: [{match: "*.weight", init: he}, {match: "*.bias", init: zeros}]
init: {output: out/init.safetensors, max_shard_size: 4kB}
trained: {path: trained.safetensors}
analyze: {report: {json: reports/report.json, csv: reports/report.csv}}
prune: {output: out/pruned.safetensors, max_shard_size: 4kB, format: sparse}
"""

strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (.ci/run installs it)")


class Place:
    """A folder with a config, the outputs of one trained checkpoint in it, and those of another at hand."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "x.yaml").write_text(CONFIG)
        self.new = self.outputs_for(1.5)
        self.old = self.outputs_for(1.0)
        self.train(1.5)
        assert self.old.keys() == self.new.keys() and len(self.old) == 8
        assert self.old != self.new

    def train(self, factor):
        """Moves the first half of every tensor."""
        shapes = {"a.weight": (40, 30), "b.weight": (20, 40), "c.bias": (20,)}
        initial = {}
        if (self.folder / "out").exists():
            from safetensors.numpy import load_file

            for shard in sorted((self.folder / "out").glob("init-*.safetensors")):
                initial.update(load_file(shard))
        trained = {}
        for name, shape in shapes.items():
            w = initial.get(name, np.zeros(shape, np.float32)).copy()
            flat = w.reshape(-1)
            flat[: flat.size // 2] += np.float32(factor)
            trained[name] = w
        save_file(trained, self.folder / "trained.safetensors")

    def outputs_for(self, factor):
        self.run("init", "x.yaml")
        self.train(factor)
        assert self.run("run", "x.yaml").returncode == 0
        return self.outputs()

    def command(self, *args):
        return [BINARY, "--quiet", *args]

    def run(self, *args, prefix=(), **options):
        return subprocess.run(
            [*prefix, *self.command(*args)], cwd=self.folder, capture_output=True, text=True, timeout=60, **options
        )

    def outputs(self):
        """Everything in the folders of the outputs, whatever its name."""
        found = {}
        for top in ("out", "reports"):
            for path in sorted((self.folder / top).rglob("*")):
                found[str(path.relative_to(self.folder))] = path.read_bytes()
        return found

    def visible(self):
        """The same without what a killed run leaves for the next one."""
        return {name: content for name, content in self.outputs().items() if "/." not in name}

    def recover(self):
        done = self.run("run", "x.yaml", "--set", "trained.path=nothing.safetensors")
        assert done.returncode == 3, done.stderr

    def set_back(self):
        """Makes the old outputs anew, and the trained checkpoint that asks for the new ones."""
        for top in ("out", "reports"):
            shutil.rmtree(self.folder / top, ignore_errors=True)
        for name, content in self.old.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    def inject(self, what):
        """Runs with faults, and gives what came of it and whether any was injected."""
        log = self.folder / "strace.log"
        prefix = ["strace", "-f", "-qq", "-o", log, "-e", f"trace={what.split(':')[0]}", "-e", f"inject={what}"]
        # strace counts by thread: with one, every call of the stages is counted in one order.
        done = self.run("run", "x.yaml", "--threads", "1", prefix=prefix)
        text = log.read_text()
        return done, "(INJECTED)" in text or "SIGKILL" in text


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("outputs"))


@strace
@pytest.mark.parametrize("call", ["pwrite64", "write", "fsync", "rename", "ftruncate", "linkat"])
def test_a_call_that_fails(place, call):
    failed = 0
    for n in range(1, 200):
        place.set_back()
        done, injected = place.inject(f"{call}:error={'ENOSPC' if 'write' in call else 'EIO'}:when={n}")
        if not injected:
            assert done.returncode == 0
            break
        assert done.returncode in (0, 1), done.stderr
        found = place.outputs()
        if done.returncode == 1:
            failed += 1
            assert found == place.old, sorted(found)
            assert done.stderr.startswith("error: "), done.stderr
            assert ("No space left" if "write" in call else "Input/output error") in done.stderr, done.stderr
        else:
            # What failed was not needed: a copy of the old file for putting it back, or the terminal.
            assert found == place.new, sorted(found)
        assert place.run("run", "x.yaml").returncode == 0
        assert place.outputs() == place.new
    else:
        pytest.fail("no end")
    # How many calls of a run must not fail: every write into a file, every sync, every name. Written are 4 texts, and into 4
    # journals 4 beginnings, 2 keys, 4 shards, 3 ways to the first one, and in that what gets its name. Synced are 4 shards and
    # 4 notes of them, 8 files, 4 journals, and the 2 folders before and after the names are given. Written at a position are
    # headers, tensors and, for their digest, masks, all by one thread; what continues is written together.
    assert failed == {"pwrite64": 13, "write": 18, "fsync": 24, "rename": 8, "ftruncate": 8, "linkat": 0}[call]
    assert n > 8


@strace
@pytest.mark.parametrize("call", ["pwrite64", "fsync", "rename", "unlink", "linkat"])
def test_death_at_a_call(place, call):
    sets = []
    for n in range(1, 200):
        place.set_back()
        done, injected = place.inject(f"{call}:signal=KILL:when={n}")
        if not injected:
            assert done.returncode == 0
            break
        place.recover()
        found = place.visible()
        assert found in (place.old, place.new), sorted(found)
        sets.append(found == place.new)
        assert place.run("run", "x.yaml").returncode == 0
        assert place.outputs() == place.new, "something is left behind"
    else:
        pytest.fail("no end")
    # Once the new set is there it stays; while names are given, a death ends in the new one.
    assert sets == sorted(sets)
    if call == "rename":
        assert all(sets) and len(sets) == 8


def test_death_at_a_hundred_moments(place):
    moments = random.Random(1)
    place.set_back()
    begun = time.monotonic()
    assert place.run("run", "x.yaml").returncode == 0
    length = time.monotonic() - begun
    for _ in range(100):
        place.set_back()
        process = subprocess.Popen(place.command("run", "x.yaml"), cwd=place.folder, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0, length))
        process.kill()
        process.wait()
        place.recover()
        found = place.visible()
        assert found in (place.old, place.new), sorted(found)
    assert place.run("run", "x.yaml").returncode == 0
    assert place.outputs() == place.new


@strace
@pytest.mark.parametrize("output", ["init", "pruned"])
def test_a_run_goes_on_from_the_shards_that_a_killed_one_finished(place, output):
    out = place.folder / "out"
    listed = out / f".{output}.safetensors.cdi-prune-journal"

    def temporary(n):
        """The temporary file of a shard."""
        (path,) = out.glob(f".{output}-0000{n}-of-00002.safetensors.*.cdi-prune-tmp")
        return path

    def killed():
        """A run that dies when it has finished the first shard and noted so."""
        for n in range(1, 20):
            place.set_back()
            done, injected = place.inject(f"fsync:signal=KILL:when={n}")
            assert injected, "no such moment"
            if listed.exists() and listed.read_text().count('{"shard":') == 1:
                assert place.visible() == place.old
                return temporary(1), temporary(2)

    def writes():
        """Paths that the next run writes into."""
        log = place.folder / "strace.log"
        prefix = ["strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=pwrite64"]
        assert place.run("run", "x.yaml", prefix=prefix).returncode == 0
        assert place.outputs() == place.new
        return log.read_text()

    first, second = killed()
    assert first.read_bytes() == place.new[f"out/{output}-00001-of-00002.safetensors"]
    text = writes()
    assert first.name not in text and second.name in text
    # What is not what it was is written again, and so is everything under another key.
    first, _ = killed()
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    assert first.name in writes()
    killed()
    listed.write_text(listed.read_text().replace('"key":"', '"key":"0'))
    assert writes().count(f".{output}-00001-of-00002.safetensors.") > 0
    # An error leaves nothing to go on from.
    killed()
    done, injected = place.inject("rename:error=EIO:when=1")
    assert injected and done.returncode == 1
    assert place.outputs() == place.old


@strace
def test_a_second_run_is_refused(place):
    place.set_back()
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=3s:when=1"]
    first = subprocess.Popen([*slow, *place.command("run", "x.yaml")], cwd=place.folder)
    lock = place.folder / "out/.init.safetensors.cdi-prune-journal"
    while not lock.exists():
        time.sleep(0.01)
    second = place.run("run", "x.yaml")
    assert second.returncode == 1
    child = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().strip()
    assert second.stderr == (
        f"error: out/init.safetensors: another run (process {child}) is writing this file; wait until it is done\n"
    )
    assert first.wait() == 0
    assert place.outputs() == place.new


def test_modes_are_as_the_umask_says(place):
    place.set_back()
    done = place.run("run", "x.yaml", preexec_fn=lambda: os.umask(0o027))
    assert done.returncode == 0
    for name in place.new:
        assert (place.folder / name).stat().st_mode & 0o777 == 0o640, name


def test_symbolic_links_are_written_through(place):
    place.set_back()
    elsewhere = place.folder / "elsewhere.json"
    report = place.folder / "reports/report.json"
    report.unlink()
    report.symlink_to("../elsewhere.json")
    assert place.run("run", "x.yaml").returncode == 0
    assert report.is_symlink() and elsewhere.read_bytes() == place.new["reports/report.json"]
    elsewhere.unlink()


def test_files_that_grow_too_large(place):
    place.set_back()

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    done = place.run("run", "x.yaml", preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.endswith("File too large (os error 27)\n"), done.stderr
    assert place.outputs() == place.old


@pytest.fixture
def small(tmp_path):
    """A file system of 64 KiB."""
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount]).returncode:
        pytest.skip("mounting is not permitted here")
    yield mount
    subprocess.run(["umount", mount], check=True)


def test_too_little_room_is_said_before_anything_is_written(small):
    (small / "x.yaml").write_text(
        "seed: 1\nmodel: {tensors: {a: [200, 100]}}\nrules: [{match: a, init: he}]\ninit: {output: out/a.safetensors}\n"
    )
    done = subprocess.run([BINARY, "init", "x.yaml"], cwd=small, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: out/a.safetensors: 80")
    assert done.stderr.endswith(" are free: free some space, or choose another place\n"), done.stderr
    assert list((small / "out").iterdir()) == []


def test_a_place_that_cannot_be_written(place):
    done = place.run("run", "x.yaml", "--set", "prune.output=/proc/pruned.safetensors")
    assert done.returncode == 1
    assert done.stderr == "error: /proc: cannot create a temporary file here: No such file or directory (os error 2)\n"
    done = place.run("run", "x.yaml", "--set", "analyze.report.csv=x.yaml/report.csv")
    assert done.returncode == 1
    assert done.stderr == "error: x.yaml: cannot create the folder: File exists (os error 17)\n"
