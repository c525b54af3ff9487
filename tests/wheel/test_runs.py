"""The commands, and the program that comes with the package."""

import copy
import json
import signal
import subprocess
import sys
import time

import pandas
import pytest
from conftest import CONFIG, ROOT, TRAINED

import cdi_prune


def test_a_run(outputs):
    folder, paths = outputs()
    seen = []
    run = cdi_prune.run(str(CONFIG), set=paths, progress=lambda *turn: seen.append(turn))
    report = json.loads((folder / "report.json").read_text())
    assert dict(run) == report and run["totals"]["sleeping_weights"] == 15_442
    assert run.totals is run["totals"] and "totals" in dir(run) and copy.deepcopy(run).totals == run.totals
    with pytest.raises(AttributeError, match="Run has no `total`; it has .*totals"):
        _ = run.total
    assert not run.up_to_date and run.report_files == [str(folder / "report.json")]
    assert run.initial == {"files": [paths["init.output"]], "tensors": 6, "bytes": 272_600, "beside": []}
    assert run.pruned["bytes"] == (folder / "pruned.safetensors").stat().st_size == 171_747
    assert "15,442 of 68,010 weights sleep" in repr(run)
    page = run._repr_html_()
    assert page.startswith('<iframe srcdoc="&lt;!') and "fc1.weight" in page
    assert seen and all(done <= total for _, done, total in seen)


def test_a_data_frame(outputs):
    _, paths = outputs()
    frame = cdi_prune.analyze(CONFIG, set=paths).to_pandas()
    assert frame.name[1] == "fc1.weight" and frame.sleeping_weights.sum() == 15_442


def test_a_bar(capsys, monkeypatch):
    cdi_prune.inspect(TRAINED, progress=True)
    assert "inspect: 100%" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="progress=True needs the package tqdm: `pip install tqdm`, or give a func"):
        cdi_prune.inspect(TRAINED, progress=True)


def test_single_stages(outputs):
    folder, paths = outputs()
    assert cdi_prune.init(CONFIG, set=paths).initial["tensors"] == 6
    found = cdi_prune.analyze(CONFIG, set={**paths, "analyze.threshold": 0.001})
    assert found.pruned is None and found["totals"]["sleeping_weights"] == 20_213
    assert cdi_prune.prune(CONFIG, set=paths).pruned["bytes"] == 171_747
    rows = cdi_prune.plan(CONFIG, set=paths)
    assert [row["name"] for row in rows[:2]] == ["fc1.bias", "fc1.weight"]
    listed = cdi_prune.inspect(folder / "pruned.safetensors")
    assert len(listed["tensors"]) == 6
    assert cdi_prune.compare(folder / "report.json", folder / "report.json")["tensors"]


def test_a_manifest(outputs, tmp_path):
    folder, paths = outputs(manifest=str(tmp_path / "manifest.json"))
    assert not cdi_prune.run(CONFIG, set=paths).up_to_date
    again = cdi_prune.run(CONFIG, set=paths)
    assert again.up_to_date and repr(again) == "<Run: up to date>" and dict(again) == {}
    assert not cdi_prune.run(CONFIG, set=paths, force=True).up_to_date
    assert cdi_prune.verify(tmp_path / "manifest.json")["outputs"] == 3
    (folder / "pruned.safetensors").write_bytes(b"x")
    with pytest.raises(cdi_prune.StageError, match="pruned.safetensors"):
        cdi_prune.verify(tmp_path / "manifest.json")


def test_a_config_as_a_mapping(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {
        "seed": 1,
        "model": {"tensors": {"fc.weight": [4, 8]}},
        "rules": [{"match": "fc.weight", "init": "he"}],
        "init": {"output": tmp_path / "init.safetensors"},
        "trained": {"path": "trained.safetensors"},
        "analyze": {},
    }
    with pytest.raises(cdi_prune.NotTrainedError) as raised:
        cdi_prune.run(config)
    assert raised.value.exit_code == 3 and raised.value.file.endswith("trained.safetensors")
    assert raised.value.result.initial["files"] == [str(tmp_path / "init.safetensors")]
    (tmp_path / "init.safetensors").rename(tmp_path / "trained.safetensors")
    assert cdi_prune.analyze(config)["totals"]["sleeping_weights"] == 32


def test_a_config_as_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "model: {tensors: {w: [4, 8]}}\nrules: [{match: w, init: zeros}]\ninit: {output: init.safetensors}\n"
    assert cdi_prune.init(text).initial["files"] == ["init.safetensors"]
    assert [row["name"] for row in cdi_prune.plan(text)] == ["w"]
    with pytest.raises(cdi_prune.ConfigError, match="unknown key `moodel`") as raised:
        cdi_prune.plan("moodel: 1\n" + text)
    assert (raised.value.file, raised.value.line) == ("config", 1)


def test_a_gate_that_fails(outputs):
    folder, paths = outputs(**{"gates.max_output_bytes": 1000})
    with pytest.raises(cdi_prune.GateError) as raised:
        cdi_prune.run(CONFIG, set=paths)
    assert raised.value.exit_code == 4 and raised.value.result.pruned["bytes"] == 171_747


def test_errors_say_where(tmp_path):
    (tmp_path / "x.yaml").write_text("version: 1\nseed: x\n")
    with pytest.raises(cdi_prune.ConfigError) as raised:
        cdi_prune.run(tmp_path / "x.yaml")
    error = raised.value
    assert str(error).startswith(f"{tmp_path}/x.yaml:2:7: `seed`: expected a whole number")
    assert (error.file, error.line, error.column, error.exit_code) == (str(tmp_path / "x.yaml"), 2, 7, 2)
    with pytest.raises(cdi_prune.ConfigError, match="--set seeed=3: unknown key `seeed`"):
        cdi_prune.plan(CONFIG, set={"seeed": 3})
    with pytest.raises(TypeError, match="progress: expected a function, True or None, got int"):
        cdi_prune.run(CONFIG, progress=3)


def test_an_exception_of_the_progress_stops_the_work(outputs):
    folder, paths = outputs()

    def stop(*turn):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        cdi_prune.run(CONFIG, set=paths, progress=stop)


@pytest.fixture
def search(tmp_path):
    """A config whose evaluation command would take a minute, and a file that is there while it runs."""
    # A search does without a target.
    text = CONFIG.read_text().replace("  target: threshold", "#").replace("../", f"{ROOT}/")
    (tmp_path / "config.yaml").write_text(text)
    values = {
        "tune": {"command": ["sh", "-c", "sleep 60", "{checkpoint}"], "better": "higher", "max_drop": 1},
        "init.output": f"{tmp_path}/i",
        "prune.output": f"{tmp_path}/p",
        "analyze.report": {},
        "prune.criterion": "magnitude",
    }
    return tmp_path / "config.yaml", values, tmp_path / "p.tune/candidate.safetensors"


def interrupted(command, running, number=signal.SIGINT):
    """What a command prints, and its exit code, if the signal comes when the file is there."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not running.exists() and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(number)
    # The evaluation command alone would take longer than this.
    output, errors = child.communicate(timeout=50)
    return output, errors, child.returncode


def test_control_c_stops_a_search(search):
    """The evaluation command ends with it."""
    config, values, running = search
    # Where the tests run in the background of a shell, SIGINT is ignored, which children inherit.
    script = f"""
import signal
import cdi_prune
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    cdi_prune.run({str(config)!r}, set={values!r})
except KeyboardInterrupt:
    print("interrupted")
"""
    assert interrupted([sys.executable, "-c", script], running) == ("interrupted\n", "", 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_program(search, number, code):
    config, values, running = search
    sets = [f"--set={key}={json.dumps(value)}" for key, value in values.items()]
    _, errors, found = interrupted([sys.executable, "-m", "cdi_prune", "run", config, *sets], running, number)
    assert found == code and errors.endswith(f"error: ended by {number.name}\n")


def test_the_program(outputs):
    folder, paths = outputs()
    command = [sys.executable, "-m", "cdi_prune"]
    sets = [f"--set={key}={json.dumps(value)}" for key, value in paths.items()]
    done = subprocess.run([*command, "run", CONFIG, *sets], capture_output=True, text=True)
    assert done.returncode == 0 and "15,442 of 68,010 weights (22.7 %) are sleeping" in done.stdout
    missing = subprocess.run([*command, "run", "none.yaml"], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr) == (
        2, "error: none.yaml: the config cannot be read: No such file or directory (os error 2)\n",
    )  # fmt: skip
    version = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert version.stdout == "cdi-prune 0.2.0\n"
    pack = subprocess.run([*command, "pack", TRAINED, "-o", folder / "x"], capture_output=True, text=True)
    assert pack.returncode == 0 and (folder / "x").exists()


def test_pandas_and_tqdm(outputs, capsys):
    folder, paths = outputs()
    run = cdi_prune.run(CONFIG, set=paths, progress=True)
    bars = capsys.readouterr().err
    assert "prune: " in bars and "272k" in bars
    frame = run.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame["name"])[:2] == ["fc1.bias", "fc1.weight"]
