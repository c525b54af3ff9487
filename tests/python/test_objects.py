"""Checkpoints, outputs, reports and manifests in an object store: the bytes are those of a disk, whatever happens."""

import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
import store_server
from conftest import BINARY, FOLDERS, ROOT, same_bits
from safetensors.numpy import load_file, save_file

TENSORS = {f"layer.{n}.weight": [1024, 1024] for n in range(6)} | {"head.bias": [1000]}
CONFIG = {
    "version": 1,
    "seed": 7,
    "model": {"tensors": TENSORS},
    "rules": [{"match": "*.weight", "layer": "auto", "init": "he"}, {"match": "*.bias", "init": "zeros"}],
}


@pytest.fixture(scope="session")
def server():
    with store_server.running() as store:
        yield store


@pytest.fixture
def store(server):
    """The server with an empty bucket and without faults."""
    for key in store_server.contents(server):
        server.client.delete_object(Bucket="models", Key=key)
    for upload in server.client.list_multipart_uploads(Bucket="models").get("Uploads", []):
        server.client.abort_multipart_upload(Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"])
    server.faults.clear()
    server.requests.clear()
    yield server
    server.faults.clear()


class Model:
    """A trained checkpoint of 24 MiB on a disk and in the store, and what a run on disks makes of it."""

    def __init__(self, folder):
        self.folder = folder
        rules = [{"match": f"layer.{n}.weight", "layer": n, "init": "he"} for n in range(6)]
        self.config = CONFIG | {"rules": [*rules, {"match": "*.bias", "init": "zeros"}]}
        self.write("init.yaml", self.config | {"init": {"output": "init.safetensors"}})
        self.must("init", "init.yaml")
        weights = {name: value.copy() for name, value in load_file(folder / "init.safetensors").items()}
        random = np.random.default_rng(1)
        for name, value in weights.items():
            flat = value.reshape(-1)
            awake = random.random(flat.size) < 0.95
            flat[awake] += random.standard_normal(awake.sum()).astype(np.float32) / 64
        save_file(weights, folder / "trained.safetensors")
        self.write("local.yaml", self.at("trained.safetensors", "local/"))
        self.must("run", "local.yaml")
        self.expected = {path.name: path.read_bytes() for path in (folder / "local").iterdir()}

    def at(self, trained, out, **changes):
        """A config with this trained checkpoint that writes to this folder or beginning of URLs."""
        prune = {"output": f"{out}pruned.safetensors", "fill": "init", "max_shard_size": "14MB"} | changes
        report = {"json": f"{out}report.json", "markdown": f"{out}report.md"}
        analyze = {"threshold": 0, "report": report}
        return self.config | {"trained": {"path": str(trained)}, "analyze": analyze, "prune": prune}

    def write(self, name, config):
        (self.folder / name).write_text(json.dumps(config))

    def run(self, *arguments, environment=None, **options):
        environment = os.environ | (environment or {})
        return subprocess.run(
            [BINARY, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL, env=environment, **options,
        )

    def must(self, *arguments, **options):
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stderr}"
        return done


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("objects"))


def put(store, key, path):
    store.client.upload_file(str(path), "models", key)


@pytest.fixture
def trained(store, model):
    put(store, "trained.safetensors", model.folder / "trained.safetensors")
    return "s3://models/trained.safetensors"


def outputs(store):
    return {key.removeprefix("out/"): value for key, value in store_server.contents(store, "out/").items()}


def same_report(a, b):
    """Reports name their files, which are in other places."""
    a, b = json.loads(a), json.loads(b)
    assert a["tensors"] == b["tensors"] and a["totals"] == b["totals"]


def same_outputs(store, model):
    found = outputs(store)
    assert found.keys() == model.expected.keys()
    for name, value in model.expected.items():
        if name == "report.json":
            same_report(found[name], value)
        elif name.endswith((".safetensors", ".index.json")):
            assert found[name] == value, name


def test_a_run_in_a_store_has_the_bytes_of_one_on_disks(store, model, trained):
    model.write("store.yaml", model.at(trained, "s3://models/out/") | {"manifest": "s3://models/out/manifest.json"})
    done = model.must("run", "store.yaml", environment=store.environment)
    assert "s3://models/out/pruned-00001-of-00002.safetensors" in done.stdout or "pruned" in done.stdout
    found = outputs(store)
    manifest = json.loads(found.pop("manifest.json"))
    assert "pruned.safetensors.index.json" in found and "pruned-00002-of-00002.safetensors" in found
    for name, value in model.expected.items():
        if name.endswith((".safetensors", ".index.json")):
            assert found[name] == value, name
    same_report(found["report.json"], model.expected["report.json"])
    # Paths are relative within the folder of the manifest, and URLs beyond it.
    assert [entry["path"] for entry in manifest["inputs"]][1] == trained
    assert {entry["path"] for entry in manifest["outputs"]} == found.keys()
    # The bytes of tensors came once, in ranges; not one request for each block.
    reads = [path for method, path in store.requests if method == "GET" and path == "/models/trained.safetensors"]
    assert len(reads) <= 8

    # A second run finds that nothing is to be done, and the manifest holds.
    before = store_server.contents(store)
    assert manifest["inputs"][1]["etag"] and manifest["inputs"][1]["sha256"]
    store.requests.clear()
    again = model.must("run", "store.yaml", environment=store.environment)
    assert again.stdout.startswith("Nothing to do: according to s3://models/out/manifest.json, ")
    assert not [request for request in store.requests if request[0] in ("PUT", "POST", "DELETE")]
    # The trained checkpoint is the same by its ETag: no more than its header is read.
    assert len([path for method, path in store.requests if method == "GET" and path == "/models/trained.safetensors"]) == 1
    assert store_server.contents(store) == before
    said = model.must("verify", "s3://models/out/manifest.json", environment=store.environment).stdout
    assert "5 outputs" in said or "outputs" in said

    # Restored from the store, by its index and by its folder.
    for name in ("pruned.safetensors.index.json", ""):
        source = f"s3://models/out/{name}"
        model.must("restore", source, "-o", "back.safetensors", environment=store.environment)
        assert same_bits(load_file(model.folder / "back.safetensors"), load_file(model.folder / "trained.safetensors"))


def test_other_forms_of_an_output_go(store, model, trained):
    model.write("store.yaml", model.at(trained, "s3://models/out/"))
    model.must("prune", "store.yaml", environment=store.environment)
    assert "pruned.safetensors.index.json" in outputs(store)
    larger = ("--set", "prune.max_shard_size=1GB")
    model.must("prune", "store.yaml", *larger, environment=store.environment)
    assert outputs(store).keys() == {"pruned.safetensors"}
    model.must("prune", "store.yaml", environment=store.environment)
    assert outputs(store).keys() == {name for name in model.expected if name.startswith("pruned")}
    # Other objects of the folder stay, whatever they are called.
    store.client.put_object(Bucket="models", Key="out/pruned.txt", Body=b"mine")
    store.client.put_object(Bucket="models", Key="out/pruned-2.safetensors", Body=b"mine")
    model.must("prune", "store.yaml", *larger, environment=store.environment)
    assert outputs(store).keys() == {"pruned.safetensors", "pruned.txt", "pruned-2.safetensors"}


def test_bases_scores_reports_and_deltas_in_a_store(store, model, trained):
    env = {"environment": store.environment}
    put(store, "base/init.safetensors", model.folder / "init.safetensors")
    rules = [{"match": "**", "init": {"from": "s3://models/base/init.safetensors"}}]
    model.write("base.yaml", model.at(trained, "s3://models/out/") | {"rules": rules})
    model.must("run", "base.yaml", **env)
    model.must("restore", "s3://models/out/", "--base", "s3://models/base/", "-o", "s3://models/back/x.safetensors", **env)
    back = store_server.contents(store, "back/")["back/x.safetensors"]
    (model.folder / "back.safetensors").write_bytes(back)
    assert same_bits(load_file(model.folder / "back.safetensors"), load_file(model.folder / "trained.safetensors"))
    done = model.must("compare", "local/report.json", "s3://models/out/report.json", "--format", "json", **env)
    assert json.loads(done.stdout)["tensors"]
    # Changes against a version, and the version from them.
    model.must("delta", "s3://models/base/init.safetensors", trained, "-o", "s3://models/d.delta", **env)
    model.must("apply", "s3://models/base/init.safetensors", "s3://models/d.delta", "-o", "new.safetensors", **env)
    assert load_file(model.folder / "new.safetensors").keys() == TENSORS.keys()
    done = model.run("apply", "s3://models/base/init.safetensors", "s3://models/d.delta", "--in-place", **env)
    assert done.returncode == 1
    assert done.stderr == (
        "error: s3://models/base/init.safetensors: cannot update: objects in a store cannot be updated in place; "
        "give an output with -o\n"
    )
    # Scores by which weights are pruned.
    scores = {name: np.abs(value) for name, value in load_file(model.folder / "trained.safetensors").items()}
    save_file(scores, model.folder / "scores.safetensors")
    put(store, "scores.safetensors", model.folder / "scores.safetensors")
    by_scores = {"criterion": {"scores": "s3://models/scores.safetensors"}, "target": {"sparsity": 0.5}}
    model.write("scores.yaml", model.at(trained, "s3://models/scored/", **by_scores))
    model.must("prune", "scores.yaml", **env)
    model.write("scores-local.yaml", model.at("trained.safetensors", "scored/", **by_scores | {"criterion": {"scores": "scores.safetensors"}}))
    model.must("prune", "scores-local.yaml")
    there = store_server.contents(store, "scored/")
    for path in (model.folder / "scored").iterdir():
        assert there[f"scored/{path.name}"] == path.read_bytes()


def test_the_example_of_the_page(store, model):
    page = (ROOT / "docs/object-stores.md").read_text()
    block = page.split("```yaml\n")[1].split("```")[0]
    put(store, "llama/model.safetensors", model.folder / "trained.safetensors")
    put(store, "llama-base/model.safetensors", model.folder / "init.safetensors")
    (model.folder / "page.yaml").write_text(block)
    model.must("run", "page.yaml", environment=store.environment)
    written = store_server.contents(store, "llama-pruned/").keys()
    assert written == {"llama-pruned/model.safetensors", "llama-pruned/manifest.json"}
    report = json.loads((model.folder / "report.json").read_text())
    weights = load_file(model.folder / "trained.safetensors"), load_file(model.folder / "init.safetensors")
    asleep = sum(int((weights[0][name] == weights[1][name]).sum()) for name in TENSORS)
    assert report["totals"]["sleeping_weights"] == asleep > 300_000


def test_small_files_of_a_model_and_paths_relative_to_a_config_in_a_store(store, model, trained):
    store.client.put_object(Bucket="models", Key="hf/config.json", Body=b'{"model_type": "x"}')
    store.client.put_object(Bucket="models", Key="hf/notes.md", Body=b"notes")
    put(store, "hf/model.safetensors", model.folder / "trained.safetensors")
    config = model.at("hf/", "out/", output="out/model/")
    store.client.put_object(Bucket="models", Key="c.yaml", Body=json.dumps(config).encode())
    model.must("prune", "s3://models/c.yaml", environment=store.environment)
    found = outputs(store)
    assert found["model/config.json"] == b'{"model_type": "x"}' and found["model/notes.md"] == b"notes"
    assert b"cdi-prune restore" in found["model/README.md"]


def test_a_url_of_a_file_is_its_path(model):
    trained = (model.folder / "trained.safetensors").as_uri()
    model.write("urls.yaml", model.at(trained, f"{model.folder.as_uri()}/by%20url/"))
    model.must("prune", "urls.yaml")
    written = model.folder / "by url"
    assert {path.name for path in written.iterdir()} == {n for n in model.expected if n.startswith("pruned")}
    model.must("inspect", trained)
    model.must("pack", trained, f"--output={written.as_uri()}/packed.safetensors")
    assert (written / "packed.safetensors").is_file()


def of(name):
    return lambda method, path: method == "GET" and path == f"/models/{name}"


@pytest.mark.parametrize("kind", [503, 500, 429, "reset", "truncate", "slow"])
def test_what_passes_is_borne(store, model, trained, kind):
    store.fault(kind, of("trained.safetensors"), times=3)
    for method in ("PUT", "POST"):
        if kind != "slow":
            store.fault(kind, lambda m, path, method=method: m == method, times=1)
    if kind != "truncate":
        # An answer to HEAD has no content.
        store.fault(kind, lambda method, path: method == "HEAD", times=2)
    model.write("store.yaml", model.at(trained, "s3://models/out/"))
    model.must("run", "store.yaml", environment=store.environment)
    same_outputs(store, model)
    assert store.pending() == []


@pytest.mark.parametrize("kind, words", [
    (503, "the store answers 503 Service Unavailable: as the test wants (Fault503)"),
    ("reset", "Error performing "),
    ("silent", "Error performing "),
    (403, "the store answers 403 Forbidden: as the test wants (Fault403); check the credentials (AWS_ACCESS_KEY_ID "
          "and so on, see docs/object-stores.md) and their rights"),
])
def test_what_does_not_pass_is_an_error_and_leaves_nothing(store, model, trained, kind, words):
    impatient = store.environment | {"CDI_PRUNE_STORE_TIMEOUT": "1"}
    model.write("store.yaml", model.at(trained, "s3://models/out/"))
    # In the middle of the content, in another pass than the header.
    seen = []
    store.fault(kind, lambda method, path: of("trained.safetensors")(method, path) and (seen.append(1) or len(seen) > 2), times=10**6)
    done = model.run("run", "store.yaml", environment=impatient)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {trained}: cannot read: {words}"), done.stderr
    assert outputs(store) == {}
    # When writing.
    store.faults.clear()
    store.fault(kind, lambda method, path: method in ("PUT", "POST") and "/out/" in path, times=10**6)
    done = model.run("run", "store.yaml", environment=impatient)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: s3://models/out/pruned-0000") and f": cannot send: {words}" in last
    assert outputs(store) == {}


def test_a_body_that_is_always_cut_short_is_an_error(store, model, trained):
    store.fault("truncate", of("trained.safetensors"), times=10**6)
    done = model.run("inspect", trained, environment=store.environment | {"CDI_PRUNE_STORE_TIMEOUT": "1"})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {trained}: cannot read: ")


def test_an_object_that_changes_is_an_error(store, model, trained):
    seen = []

    def swap():
        put(store, "trained.safetensors", model.folder / "init.safetensors")

    after_header = lambda method, path: of("trained.safetensors")(method, path) and (seen.append(1) or len(seen) == 2)  # noqa: E731
    store.fault("swap", after_header, action=swap)
    model.write("store.yaml", model.at(trained, "s3://models/out/"))
    done = model.run("run", "store.yaml", environment=store.environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {trained}: cannot read: the object was replaced while it was being read; run again to read the new one"
    )
    assert outputs(store) == {}


@pytest.mark.parametrize("sharded", [True, False])
def test_what_another_run_wrote_meanwhile_is_not_replaced(store, model, trained, sharded):
    entry = "out/pruned.safetensors.index.json" if sharded else "out/pruned.safetensors"

    def other():
        store.client.put_object(Bucket="models", Key=entry, Body=b"another run's")

    # As soon as the first part of this run arrives.
    store.fault("other", lambda method, path: method == "PUT" and "partNumber=1" in path, action=other)
    size = "14MB" if sharded else "1GB"
    model.write("store.yaml", model.at(trained, "s3://models/out/", max_shard_size=size))
    done = model.run("prune", "store.yaml", environment=store.environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: s3://models/{entry}: cannot send: something else wrote this object meanwhile, so it was left as "
        "it is; run again to replace it"
    )
    assert store_server.contents(store)[entry] == b"another run's"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_uploads_leave_nothing_visible(store, model, trained, number):
    model.write("store.yaml", model.at(trained, "s3://models/out/"))
    store.fault("slow", lambda method, path: method == "GET", times=10**6)
    killed = 0
    for _ in range(5):
        process = subprocess.Popen(
            [BINARY, "run", "store.yaml"], cwd=model.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ | store.environment,
        )
        time.sleep(random.random() * 0.8)
        process.send_signal(number)
        if process.wait() != 0:
            killed += 1
            # Objects become visible in the order shards, index: whoever sees the index sees all.
            found = outputs(store)
            if "pruned.safetensors.index.json" in found:
                assert all(found[name] == value for name, value in model.expected.items() if name.startswith("pruned-"))
            for name, value in found.items():
                if name.startswith("pruned"):
                    assert value == model.expected[name]
            if number == signal.SIGTERM:
                # Taken back; whoever is killed outright cannot.
                assert "Uploads" not in store.client.list_multipart_uploads(Bucket="models")
    assert killed > 0
    store.faults.clear()
    model.must("run", "store.yaml", environment=store.environment)
    same_outputs(store, model)


def test_a_replaced_checkpoint_is_never_mixed(store, model, trained):
    """Whoever reads while a second version is put in place gets the first, the second, or an error."""
    env = {"environment": store.environment}
    model.write("store.yaml", model.at(trained, "s3://models/out/", format="dense", fill="zero"))
    model.must("prune", "store.yaml", **env)
    versions = [outputs(store)]
    other = ("--set", "prune.target={sparsity: 0.9}", "--set", "prune.criterion=magnitude")
    model.must("prune", "store.yaml", *other, **env)
    versions.append(outputs(store))
    assert versions[0].keys() == versions[1].keys() and versions[0] != versions[1]
    seen = []

    def look():
        found = outputs(store)
        seen.append(found)

    store.fault("look", lambda method, path: method in ("PUT", "POST", "DELETE"), times=10**6, action=look)
    model.must("prune", "store.yaml", **env)
    assert len(seen) > 5
    for found in seen:
        if "pruned.safetensors.index.json" in found:
            assert found in versions
    assert outputs(store) == versions[0]


def test_parts_on_disks_with_checkpoints_in_a_store(store, model, trained):
    model.write("store.yaml", model.at(trained, "s3://models/out/"))
    parts = ("--parts", "3", "--parts-folder", "parts")
    env = {"environment": store.environment}
    for _ in range(8):
        for n in (1, 2, 3):
            model.must("run", "store.yaml", "--part", f"{n}/3", "--parts-folder", "parts", **env)
        done = model.must("merge", "store.yaml", *parts, **env)
        if outputs(store):
            break
    same_outputs(store, model)
    done = model.run("merge", "store.yaml", "--parts", "3", **env)
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith(
        "the processes of a run in parts exchange files in a folder that all of them see as one of a disk: give it "
        "(--parts-folder FOLDER)\n"
    )


def test_a_long_header_and_many_shards(store, tmp_path, model):
    weights = {f"model.layers.{n}.a.rather.long.name.for.a.tensor.weight": np.full(3, n, np.float32) for n in range(6000)}
    save_file(weights, tmp_path / "one.safetensors")
    assert (tmp_path / "one.safetensors").stat().st_size > 1 << 19
    put(store, "one.safetensors", tmp_path / "one.safetensors")
    env = {"environment": store.environment}
    listed = json.loads(model.must("inspect", "s3://models/one.safetensors", "--format", "json", **env).stdout)
    assert len(listed["tensors"]) == 6000
    index = {"metadata": {}, "weight_map": {}}
    for n in range(40):
        name = f"m-{n + 1:05}-of-00040.safetensors"
        save_file({f"w{n}": np.arange(n, n + 5, dtype=np.float32)}, tmp_path / name)
        index["weight_map"][f"w{n}"] = name
        if n != 39:
            put(store, f"many/{name}", tmp_path / name)
    store.client.put_object(Bucket="models", Key="many/m.safetensors.index.json", Body=json.dumps(index).encode())
    done = model.run("inspect", "s3://models/many/", **env)
    assert done.returncode == 1
    assert "s3://models/many/m-00040-of-00040.safetensors: cannot open: there is no such object" in done.stderr
    put(store, "many/m-00040-of-00040.safetensors", tmp_path / "m-00040-of-00040.safetensors")
    # An index is enough for who may not list.
    store.fault(403, lambda method, path: "list-type" in path, times=10**6)
    model.must("inspect", "s3://models/many/m.safetensors.index.json", **env)
    store.faults.clear()
    listed = json.loads(model.must("inspect", "s3://models/many/", "--format", "json", **env).stdout)
    assert (len(listed["tensors"]), listed["files"]) == (40, 40)
    store.client.delete_object(Bucket="models", Key="many/m.safetensors.index.json")
    assert json.loads(model.must("inspect", "s3://models/many", "--format", "json", **env).stdout)["files"] == 40


@pytest.mark.parametrize("path, words", [
    ("s3://models/none.safetensors", "cannot open: there is no such object"),
    ("s3://models/none/", "cannot open: there is no such object"),
    ("s3://elsewhere/x.safetensors", "cannot open: the store answers 404 Not Found: The specified bucket does not exist (NoSuchBucket)"),
    ("s3://", "cannot open: expected s3://BUCKET/KEY"),
    ("s3://models/a//b", "cannot open: Encountered object with invalid path: Path \"a//b\" contained empty path segment"),
])
def test_what_is_not_there(store, model, path, words):
    done = model.run("inspect", path, environment=store.environment)
    assert done.returncode == 1
    assert done.stderr == f"error: {path}: {words}\n"


def test_no_room_for_what_is_read(store, model, trained, tmp_path):
    folder = tmp_path / "none"
    done = model.run("inspect", trained, environment=store.environment | {"TMPDIR": str(folder)})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {folder}: cannot create a temporary file here: ")


def test_the_cache_of_a_search_is_on_a_disk(store, model, trained):
    config = model.at(trained, "s3://models/out/", criterion="magnitude")
    config["tune"] = {"command": ["true", "{checkpoint}"], "better": "higher", "max_drop": 1, "sparsity": [0.1, 0.9]}
    model.write("tune.yaml", config)
    done = model.run("plan", "tune.yaml", environment=store.environment)
    assert done.returncode == 2
    assert "a folder on a disk of this machine" in done.stderr and "s3://models/out/pruned.safetensors.tune" in done.stderr


def test_a_profile_of_the_aws_command_line(store, model, trained, tmp_path):
    (tmp_path / "credentials").write_text("[edge]\naws_access_key_id = x\naws_secret_access_key = y\n")
    url = store.environment["AWS_ENDPOINT_URL"]
    (tmp_path / "config").write_text(f"[profile edge]\nregion = eu-west-1\nendpoint_url = {url}\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")} | {
        "AWS_PROFILE": "edge",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    done = subprocess.run([BINARY, "inspect", trained], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_shipped_network_from_a_store(store, tmp_path):
    """The quick start's numbers, with the trained checkpoint in a store: 15,442 weights sleep."""
    put(store, "mlp.safetensors", FOLDERS["mlp_pad_sgd"] / "trained.safetensors")
    config = ROOT / "configs/quickstart.yaml"
    arguments = ["--set", "trained.path=s3://models/mlp.safetensors", "--set", f"analyze.report.json={tmp_path}/r.json"]
    arguments += ["--set", f"analyze.report.csv={tmp_path}/r.csv", "--set", f"analyze.report.markdown={tmp_path}/r.md"]
    arguments += ["--set", f"analyze.report.html={tmp_path}/r.html"]
    done = subprocess.run(
        [BINARY, "analyze", config, *arguments], capture_output=True, text=True, env=os.environ | store.environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["totals"]["sleeping_weights"] == 15442
