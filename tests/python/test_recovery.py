"""What a run makes of what it finds: journals of killed runs, files that others have put there, file systems that lack something.

A death is a signal at the n-th call of a kind, by strace. What is right is what a run gives that nobody disturbs.
"""

import json
import os
import shutil
import stat
import subprocess

import numpy as np
import pytest
from conftest import BINARY
from safetensors.numpy import load_file, save_file

strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (.ci/run installs it)")
root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def run(folder, *args, inject=None, timeout=60):
    """Runs a command, with a fault or a death where strace is told of one."""
    prefix = []
    for what in inject or []:
        prefix += ["-e", f"inject={what}"]
    if prefix:
        calls = ",".join(what.split(":")[0] for what in inject)
        prefix = ["strace", "-f", "-qq", "-o", folder / "strace.log", "-e", f"trace={calls}", *prefix]
    return subprocess.run(
        [*prefix, BINARY, "--quiet", *args, "--threads", "1"], cwd=folder, capture_output=True, text=True, timeout=timeout
    )


def injected(folder):
    text = (folder / "strace.log").read_text()
    return "INJECTED" in text or "SIGKILL" in text


def files(folder):
    """All files below a folder, those of the tool's own use too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def train(folder, factor=1.5, name="trained.safetensors"):
    w = np.random.default_rng(5).normal(size=(3, 40, 30)).astype(np.float32) * np.float32(factor)
    save_file({f"l{n}.weight": w[n] for n in range(3)}, folder / name)


def config(folder, text, name="x.yaml"):
    (folder / name).write_text("seed: 7\nrules: [{match: '**', init: none}]\n" + text)


TRAINED = "trained: {path: trained.safetensors}\n"
PRUNED = "prune: {criterion: magnitude, target: {sparsity: 0.5}, "


# One key for everything that decides about the bytes. The metric is a checksum: no other file has it.

TUNED = TRAINED + """prune: {output: out/p.safetensors, max_shard_size: 500B, format: FORMAT}
analyze: {report: {json: out/r.json}}
tune: {command: [sh, -c, 'cksum < "$1" | cut -d " " -f 1', sh, "{checkpoint}"], better: lower, max_drop: 1e30, criteria: [magnitude],
       sparsity: [0.3, 0.9], tolerance: 0.9, cache: cache}
"""


@strace
@pytest.mark.parametrize("form", ["csr", "bitmask", "dense", "auto"])
def test_a_tuned_run_killed_at_any_sync_gives_what_an_undisturbed_one_gives(tmp_path, form):
    train(tmp_path)
    config(tmp_path, TUNED.replace("FORMAT", form))
    right = None
    for n in range(0, 400):
        for folder in ("out", "cache"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        if n:
            run(tmp_path, "run", "x.yaml", inject=[f"fsync:signal=KILL:when={n}"])
            if not injected(tmp_path):
                break
        done = run(tmp_path, "run", "x.yaml")
        assert done.returncode == 0, done.stderr
        found = {name: files(tmp_path / name) for name in ("out", "cache")}
        if right is None:
            right = found
            assert len([name for name in found["out"] if "-of-" in name]) == 3
        assert found == right, f"killed at sync {n}: " + str([k for k in found["out"] if found["out"][k] != right["out"].get(k)])
    assert n > 30


@strace
def test_a_shard_is_of_the_run_that_goes_on(tmp_path):
    """Another choice from the same inputs."""
    train(tmp_path)
    config(tmp_path, TRAINED + PRUNED + "output: out/p.safetensors, max_shard_size: 5kB, format: csr}\n")
    for n in range(1, 50):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        run(tmp_path, "run", "x.yaml", inject=[f"fsync:signal=KILL:when={n}"])
        if not injected(tmp_path):
            break
        done = run(tmp_path, "run", "x.yaml", "--set", "prune.criterion=random")
        assert done.returncode == 0, done.stderr
        found = files(tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        assert run(tmp_path, "run", "x.yaml", "--set", "prune.criterion=random").returncode == 0
        assert found == files(tmp_path / "out")
    assert n > 8


# Recovery comes first.

FORMS = TRAINED + PRUNED + "output: out/p.safetensors, format: dense, fill: zero}\nmanifest: out/manifest.json\n"


@strace
@pytest.mark.parametrize("call", ["unlink", "rename", "fsync"])
@pytest.mark.parametrize("before, after", [("5kB", "1GB"), ("1GB", "5kB"), ("5kB", "9kB")])
def test_the_other_form_is_gone_when_a_killed_run_is_asked_again(tmp_path, call, before, after):
    train(tmp_path)

    def write(size):
        config(tmp_path, FORMS.replace("fill:", f"max_shard_size: {size}, fill:"))

    write(after)
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    right = files(tmp_path / "out")
    for n in range(1, 60):
        shutil.rmtree(tmp_path / "out")
        write(before)
        assert run(tmp_path, "run", "x.yaml").returncode == 0
        assert files(tmp_path / "out") != right
        write(after)
        run(tmp_path, "run", "x.yaml", inject=[f"{call}:signal=KILL:when={n}"])
        if not injected(tmp_path):
            break
        done = run(tmp_path, "run", "x.yaml")
        assert done.returncode == 0, done.stderr
        assert files(tmp_path / "out") == right
        assert run(tmp_path, "verify", "out/manifest.json").returncode == 0
    assert n > 2


@pytest.mark.parametrize("stale", ["p.safetensors.index.json", "p-00002-of-00003.safetensors"])
def test_verify_sees_what_is_left_of_another_form(tmp_path, stale):
    train(tmp_path)
    config(tmp_path, FORMS)
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    right = files(tmp_path / "out")
    # Names that only look like it.
    for other in ["p2.safetensors.index.json", "p-00002-of-3.safetensors", "pp-00002-of-00003.safetensors", "p.json"]:
        (tmp_path / "out" / other).write_text("a file of somebody else")
    assert run(tmp_path, "verify", "out/manifest.json").returncode == 0
    (tmp_path / "out" / stale).write_text("{}")
    done = run(tmp_path, "verify", "out/manifest.json")
    assert (done.returncode, done.stderr) == (
        1,
        f"error: out/manifest.json: out/{stale} is beside the outputs, but not one of them: it belongs to another "
        "form of an output and would be read instead of it; remove it, or run the config again\n",
    )
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    found = files(tmp_path / "out")
    assert stale not in found and found.items() >= right.items() and len(found) == len(right) + 4


# Recovery is the owner's.

TWO = TRAINED + PRUNED + "output: out/p.safetensors}\nanalyze: {report: {json: reports/r.json, csv: reports/r.csv}}\n"


def killed_while_naming(folder, n=2, text=TWO):
    """A folder with the outputs of one training, and a run of another that died when n - 1 outputs had their names. Gives the
    old files and the new ones."""
    config(folder, text)
    train(folder, 1.0)
    assert run(folder, "run", "x.yaml").returncode == 0
    old = {top: files(folder / top) for top in ("out", "reports")}
    train(folder, 1.5)
    assert run(folder, "run", "x.yaml").returncode == 0
    new = {top: files(folder / top) for top in ("out", "reports")}
    assert old != new
    for top, content in old.items():
        shutil.rmtree(folder / top)
        (folder / top).mkdir()
        for name, data in content.items():
            (folder / top / name).write_bytes(data)
    run(folder, "run", "x.yaml", inject=[f"rename:signal=KILL:when={n}"])
    assert injected(folder)
    return old, new


@strace
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("shared", ["json: reports/r.json", "csv: reports/r.csv"])
def test_a_run_that_shares_one_output_finishes_all(tmp_path, n, shared):
    _, new = killed_while_naming(tmp_path, n)
    config(tmp_path, TRAINED + f"analyze: {{report: {{{shared}}}}}\n", "y.yaml")
    done = run(tmp_path, "analyze", "y.yaml")
    assert done.returncode == 0, done.stderr
    shared_file = shared.split("/")[1]
    for top in ("out", "reports"):
        found = files(tmp_path / top)
        assert found.keys() == new[top].keys(), "something is left behind"
        assert all(found[name] == new[top][name] for name in found if name != shared_file)


@strace
def test_names_that_begin_alike_are_others(tmp_path):
    _, new = killed_while_naming(tmp_path)
    left = files(tmp_path / "out")
    assert any("cdi-prune" in name for name in left)
    for output in ["out/p-2.safetensors", "out/p.safetensors.more.safetensors", "out/pp.safetensors"]:
        config(tmp_path, TRAINED + PRUNED + f"output: {output}, max_shard_size: 5kB}}\n", "y.yaml")
        assert run(tmp_path, "run", "y.yaml").returncode == 0
    assert files(tmp_path / "out").items() >= left.items()
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    for top in ("out", "reports"):
        assert files(tmp_path / top).items() >= new[top].items()
        assert not any("cdi-prune" in name for name in files(tmp_path / top))


@strace
def test_a_copied_folder_is_finished_in_the_copy(tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    old, new = killed_while_naming(first)
    before = {top: files(first / top) for top in ("out", "reports")}
    # The whole folder: the copy is finished, the first one as it was.
    shutil.copytree(first, tmp_path / "second")
    config(tmp_path / "second", TRAINED + "analyze: {report: {csv: reports/r.csv}}\n", "y.yaml")
    assert run(tmp_path / "second", "analyze", "y.yaml").returncode == 0
    assert files(tmp_path / "second/out") == new["out"]
    assert {top: files(first / top) for top in before} == before
    # One of its folders, moved deeper or not: what the journal there names elsewhere is not the copy's.
    shutil.copytree(first / "out", first / "other")
    config(first, TRAINED + PRUNED + "output: other/p.safetensors, format: csr}\n", "y.yaml")
    assert run(first, "run", "y.yaml").returncode == 0
    assert list(files(first / "other")) == ["p.safetensors"]
    assert {top: files(first / top) for top in before} == before


@strace
def test_no_unfinished_run_replaces_an_input(tmp_path):
    old, new = killed_while_naming(tmp_path, 1)
    config(tmp_path, "model: {like: out/p.safetensors}\ninit: {output: reports/r.csv}\n", "y.yaml")
    done = run(tmp_path, "run", "y.yaml")
    assert (done.returncode, done.stderr) == (
        1,
        "error: reports/../out/.p.safetensors.cdi-prune-journal: according to this journal, a killed run was renaming "
        "its outputs, including reports/../out/p.safetensors, which this run reads; first run the config of that run again\n",
    )
    assert files(tmp_path / "out")["p.safetensors"] == old["out"]["p.safetensors"]
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    assert {top: files(tmp_path / top) for top in new} == new


# File systems that lack something.


@strace
@pytest.mark.parametrize("n", [1, 2, 3])
def test_without_hard_links_what_has_its_new_name_stays_and_is_said(tmp_path, n):
    config(tmp_path, TWO)
    train(tmp_path, 1.5)
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    new = {top: files(tmp_path / top) for top in ("out", "reports")}
    train(tmp_path, 1.0)
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    old = {top: files(tmp_path / top) for top in ("out", "reports")}
    train(tmp_path, 1.5)
    done = run(tmp_path, "run", "x.yaml", inject=["linkat:error=EPERM", f"rename:error=EIO:when={n}"])
    names = [("out", "p.safetensors"), ("reports", "r.json"), ("reports", "r.csv")]
    for k, (top, name) in enumerate(names, 1):
        assert (tmp_path / top / name).read_bytes() == (new if k < n else old)[top][name]
    assert all(files(tmp_path / top).keys() == new[top].keys() for top in new)
    said = f"error: {'/'.join(names[n - 1])}: cannot finish: Input/output error (os error 5)"
    if n > 1:
        said += (
            f"; the earlier version of {', '.join('/'.join(name) for name in names[: n - 1])} could not be kept, because this "
            "file system has no hard links, so the new one stays there"
        )
    assert (done.returncode, done.stderr) == (1, said + "\n")
    # What was not there before is taken away again.
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "reports")
    done = run(tmp_path, "run", "x.yaml", inject=["linkat:error=EPERM", f"rename:error=EIO:when={n}"])
    assert (done.returncode, files(tmp_path / "out"), files(tmp_path / "reports")) == (1, {}, {})
    assert done.stderr == f"error: {'/'.join(names[n - 1])}: cannot finish: Input/output error (os error 5)\n"


@strace
@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_a_file_system_without_locks(tmp_path, error):
    config(tmp_path, TWO)
    train(tmp_path)
    done = run(tmp_path, "run", "x.yaml", inject=[f"flock:error={error}"])
    assert done.returncode == 0 and injected(tmp_path), done.stderr
    assert sorted(files(tmp_path / "out")) == ["p.safetensors"]


# Files that others have put there.


def planted(path, kind, secret):
    """Puts something under the name of a helper file."""
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "hard link":
        os.link(secret, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        # A node of its own, like /dev/zero.
        if subprocess.run(["mknod", path, "c", "1", "5"], capture_output=True).returncode:
            pytest.skip("making devices is not permitted here")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "user":
        path.write_text("")
        os.chown(path, 4242, 4242)


@pytest.mark.parametrize(
    "kind, words",
    [
        ("link", "a symbolic link"),
        ("hard link", "a file with 2 names"),
        ("pipe", "a pipe"),
        pytest.param("device", "a device", marks=root),
        ("folder", "a folder"),
        ("large", "a file of 1099511627776 bytes"),
        pytest.param("user", "a file of another user (4242)", marks=root),
    ],
)
def test_what_stands_in_place_of_a_journal_is_neither_read_nor_written(tmp_path, kind, words):
    config(tmp_path, TWO)
    train(tmp_path)
    (tmp_path / "out").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("of value")
    journal = tmp_path / "out/.p.safetensors.cdi-prune-journal"
    planted(journal, kind, secret)
    kept = journal.lstat()
    done = run(tmp_path, "run", "x.yaml", timeout=20)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: out/.p.safetensors.cdi-prune-journal: this name is reserved for a helper file of cdi-prune, but here it is "
        f"{words}, which no run creates; remove it and run again\n",
    )
    assert (secret.read_text(), journal.lstat().st_size, journal.lstat().st_mode) == ("of value", kept.st_size, kept.st_mode)
    assert os.listdir(tmp_path / "out") == [journal.name]


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_names_of_earlier_versions_harm_nothing(tmp_path, kind):
    config(tmp_path, TRAINED + PRUNED + "output: out/p.safetensors, max_shard_size: 5kB}\n")
    train(tmp_path)
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    right = files(tmp_path / "out")
    secret = tmp_path / "secret"
    secret.write_text("of value")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    for name in ["p.safetensors", "p-00001-of-00003.safetensors", "p.safetensors.index.json"]:
        for ending in ["tmp", "old", "resume"]:
            planted(tmp_path / f"out/.{name}.cdi-prune-{ending}", kind, secret)
    # What such a version noted is not followed.
    (tmp_path / "out/.p.safetensors.cdi-prune-journal").write_text(
        json.dumps({"version": 1, "files": [], "remove": [str(tmp_path / "trained.safetensors")]})
    )
    done = run(tmp_path, "run", "x.yaml", timeout=20)
    assert done.returncode == 0, done.stderr
    assert secret.read_text() == "of value" and (tmp_path / "trained.safetensors").exists()
    assert files(tmp_path / "out").items() >= right.items()


@strace
def test_a_forged_journal_takes_no_file_that_is_no_output(tmp_path):
    """A journal of this user, as it comes with an unpacked archive, that names the input and files of others."""
    config(tmp_path, TWO)
    train(tmp_path)
    trained = (tmp_path / "trained.safetensors").read_bytes()
    other = tmp_path / "else/model.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"of value")
    run_id = "0" * 32
    for place in ["../trained.safetensors", "../else/model.safetensors", str(other), "../else", ".."]:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        lines = [
            {"begin": {"version": 2, "run": run_id}},
            {"files": {"files": [{"path": place, "run": run_id, "size": 3}], "remove": [place]}},
        ]
        (out / ".p.safetensors.cdi-prune-journal").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for folder in (tmp_path, other.parent):
            (folder / f".trained.safetensors.{run_id}.cdi-prune-tmp").write_bytes(b"bad")
            (folder / f".model.safetensors.{run_id}.cdi-prune-tmp").write_bytes(b"bad")
        done = run(tmp_path, "run", "x.yaml")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "trained.safetensors").read_bytes() == trained and other.read_bytes() == b"of value"
    # Even where the other file's own journal vouches for it, an input stays.
    lines[1] = {"files": {"files": [{"path": "../trained.safetensors", "run": run_id, "size": 3}], "remove": []}}
    (out / ".p.safetensors.cdi-prune-journal").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = [lines[0], {"naming": {"journal": "out/.p.safetensors.cdi-prune-journal", "run": run_id}}]
    (tmp_path / ".trained.safetensors.cdi-prune-journal").write_text("".join(json.dumps(line) + "\n" for line in own))
    done = run(tmp_path, "run", "x.yaml")
    assert done.returncode == 1 and "which this run reads" in done.stderr, done.stderr
    assert (tmp_path / "trained.safetensors").read_bytes() == trained


@pytest.mark.parametrize("name", [".p.cdi-prune-journal", ".p.safetensors.0123.cdi-prune-tmp", ".p.cdi-prune-old", ".x.cdi-prune-resume"])
def test_names_of_helper_files_are_no_inputs_and_no_outputs(tmp_path, name):
    train(tmp_path)
    said = f"error: {{}}: names of this form are reserved for the helper files of cdi-prune; give the file another name\n"
    config(tmp_path, TRAINED + PRUNED + f"output: out/{name}}}\n")
    done = run(tmp_path, "run", "x.yaml")
    assert (done.returncode, done.stderr) == (2, said.format(f"out/{name}"))
    shutil.copy(tmp_path / "trained.safetensors", tmp_path / name)
    config(tmp_path, f"trained: {{path: {name}}}\n" + PRUNED + "output: out/p.safetensors}\n")
    done = run(tmp_path, "run", "x.yaml")
    assert (done.returncode, done.stderr) == (2, said.format(name))
    assert (tmp_path / name).exists() and not (tmp_path / "out").exists()


# Outputs are regular files.

STREAM = (
    "error: {}: this is {}, which cannot be an output, because outputs are written under a temporary name and then renamed; "
    "give the path of a regular file, or of a file that does not exist yet\n"
)


def nodes(folder):
    """What stands there instead of a file: its name and what it is called."""
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("pipe")
    found = [("pipe", "a pipe"), ("link", "a pipe"), ("/dev/stdout", "an open stream"), ("-", "an open stream")]
    # A node of its own, like /dev/null, which must never be tried.
    if subprocess.run(["mknod", folder / "null", "c", "1", "3"], capture_output=True).returncode == 0:
        found.append(("null", "a device"))
    return found


def test_outputs_are_regular_files(tmp_path):
    train(tmp_path)
    config(tmp_path, TRAINED + PRUNED + "output: p.safetensors}\nanalyze: {report: {json: r.json}}\n")
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    for name, words in nodes(tmp_path):
        before = sorted(os.listdir(tmp_path))
        mode = (tmp_path / name).lstat().st_mode if (tmp_path / name).exists() else None
        stage = ["run", "x.yaml", "--set"]
        for arguments in [
            [*stage, f'prune.output="{name}"'],
            [*stage, f'analyze.report.json="{name}"'],
            [*stage, f'analyze.report.csv="{name}"'],
            [*stage, f'analyze.report.markdown="{name}"'],
            [*stage, f'analyze.report.html="{name}"'],
            [*stage, f'manifest="{name}"'],
            ["restore", "p.safetensors", "-o", name],
            ["compare", "r.json", "r.json", "-o", name],
            ["new", "trained.safetensors", "--force", "-o", name],
        ]:
            done = run(tmp_path, *arguments, timeout=20)
            shown = done.stderr.split(":")[1].strip()
            assert (done.returncode, done.stderr) == (2, STREAM.format(shown, words)), arguments
            assert shown.endswith(name)
        assert sorted(os.listdir(tmp_path)) == before
        assert mode is None or (tmp_path / name).lstat().st_mode == mode


def test_a_matrix_is_saved_as_a_regular_file(tmp_path):
    for ending in ["npy", "csv", "safetensors"]:
        os.mkfifo(tmp_path / f"m.{ending}")
        done = run(tmp_path, "matrix", "--rows", "4", "--cols", "4", "--save", f"m.{ending}", timeout=20)
        assert (done.returncode, done.stderr) == (2, STREAM.format(f"m.{ending}", "a pipe"))
        assert stat.S_ISFIFO((tmp_path / f"m.{ending}").lstat().st_mode)


def test_what_tune_keeps_is_a_regular_file(tmp_path):
    train(tmp_path)
    config(tmp_path, TUNED.replace("FORMAT", "csr"))
    for name in ["evaluations.json", "candidate.safetensors", "candidate.pruned.safetensors"]:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        (tmp_path / "cache").mkdir()
        os.mkfifo(tmp_path / "cache" / name)
        done = run(tmp_path, "run", "x.yaml", timeout=20)
        assert (done.returncode, done.stderr) == (2, STREAM.format(f"cache/{name}", "a pipe"))
        assert os.listdir(tmp_path / "cache") == [name]


def test_names_as_long_as_they_can_be(tmp_path):
    train(tmp_path)
    name = "y" * (255 - 12) + ".safetensors"
    config(tmp_path, TRAINED + PRUNED + f"output: out/{name}}}\nanalyze: {{report: {{json: out/r.json}}}}\n")
    assert run(tmp_path, "run", "x.yaml").returncode == 0
    assert sorted(files(tmp_path / "out")) == ["r.json", name]
    assert load_file(tmp_path / "trained.safetensors").keys()
