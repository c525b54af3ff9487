"""Checkpoints in an object store, from Python."""

import shutil
from pathlib import Path

import boto3
import numpy as np
import pytest
from conftest import CONFIG, TRAINED
from moto.server import ThreadedMotoServer
from safetensors.numpy import load_file

import cdi_prune


@pytest.fixture
def bucket(monkeypatch):
    """The bucket `models` of a server that speaks S3, as the environment variables say."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    client.upload_file(str(TRAINED), "models", "mlp/model.safetensors")
    yield client
    server.stop()


def test_functions_take_urls(bucket, outputs, tmp_path):
    folder, overrides = outputs(**{
        "trained.path": "s3://models/mlp/", "prune.output": "s3://models/out/pruned.safetensors",
    })
    run = cdi_prune.run(CONFIG, set=overrides)
    assert run["totals"]["sleeping_weights"] == 15442
    assert [str(file) for file in run.pruned["files"]] == ["s3://models/out/pruned.safetensors"]
    loaded = cdi_prune.load_file("s3://models/out/pruned.safetensors", framework="numpy")
    expected = load_file(TRAINED)
    assert loaded.keys() == expected.keys()
    assert all(np.array_equal(loaded[name].view(np.uint8), value.view(np.uint8)) for name, value in expected.items())
    # A path that pathlib has normalised has one slash.
    cdi_prune.restore(Path("s3://models/out/pruned.safetensors"), Path("s3://models/back/model.safetensors"))
    bucket.download_file("models", "back/model.safetensors", str(tmp_path / "back.safetensors"))
    assert (tmp_path / "back.safetensors").stat().st_size == TRAINED.stat().st_size
    with pytest.raises(cdi_prune.errors.StageError, match="s3://models/none.safetensors: cannot open: there is no such object"):
        cdi_prune.load_file("s3://models/none.safetensors")
    shutil.rmtree(folder)
