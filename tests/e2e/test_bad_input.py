"""Wrong input of every kind: one clear line that names it, the right exit code, and a service that goes on."""
import os

import numpy as np
import onnx
import onnxruntime
import pytest

USAGE, JOB_FAILED, UNREACHABLE = 2, 1, 3


@pytest.fixture(autouse=True)
def service_goes_on(service):
    """After each case the same server and worker run."""
    before = service.status()
    yield
    after = service.status()
    assert after["running"]
    assert after["server"]["pid"] == before["server"]["pid"]
    assert after["workers"][0]["pid"] == before["workers"][0]["pid"]


def refused(done, *words):
    lines = [line for line in done.stderr.splitlines() if line.startswith("pactory: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def run(service, files, *arguments, rc, **replaced):
    inputs = {"model": files.model, "data": files.train, "eval-data": files.eval, **replaced}
    flags = [word for name, value in inputs.items() for word in (f"--{name}", value)]
    return service.cli("run", *flags, "--out", files.folder / "out", *arguments, rc=rc, timeout=200)


@pytest.mark.parametrize("content", [b"", b"not a model at all", os.urandom(5000)], ids=["empty", "text", "random"])
def test_model_that_is_none(service, tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    refused(service.cli("models", "upload", path, rc=USAGE), "broken.onnx")


def test_truncated_model(service, files, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(files.model.read_bytes()[:-200])
    refused(service.cli("models", "upload", path, rc=USAGE), "cut.onnx")


def test_model_with_external_data(service, files, tmp_path):
    model = onnx.load(files.model)
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    refused(service.cli("models", "upload", path, rc=USAGE), "external.onnx", "external data")


def test_model_with_an_unknown_op(service, files, tmp_path):
    path = tmp_path / "odd.onnx"
    files.save_model(path, op="Mystery")
    refused(run(service, files, model=path, rc=USAGE), "Mystery", "act1")


def test_missing_files_and_names(service, files, tmp_path):
    refused(service.cli("models", "upload", tmp_path / "nowhere.onnx", rc=USAGE), "nowhere.onnx", "no such file")
    missing = "models/00000000-0000-4000-8000-000000000000"
    refused(service.cli("models", "show", missing, rc=USAGE), missing)
    refused(service.cli("jobs", "show", "jobs/xyz", rc=USAGE), "jobs/xyz")


@pytest.mark.parametrize("setting, words", [
    ("weights.bits=9", ["weights.bits", "9"]),
    ("activations.bits=1", ["activations.bits", "1"]),
    ("training.steps=0", ["training.steps", "0"]),
    ("training.stps=10", ["training.stps"]),
    ("training.steps=many", ["training.steps", "many"]),
    ("weights.method=MAGIC", ["weights.method", "MAGIC"]),
])
def test_wrong_setting(service, files, setting, words):
    refused(run(service, files, "--set", setting, rc=USAGE), *words)


def test_wrong_config_file(service, files, tmp_path):
    path = tmp_path / "pact.yaml"
    path.write_text("training:\n  step: 100\n")
    refused(run(service, files, "--config", path, rc=USAGE), "pact.yaml", "training.step")
    refused(run(service, files, "--preset", "pact_int7", rc=USAGE), "pact_int7", "pact_int8")


def test_data_that_is_none(service, files, tmp_path):
    path = tmp_path / "broken.npz"
    path.write_bytes(os.urandom(5000))
    refused(run(service, files, data=path, rc=USAGE), "broken.npz")
    refused(service.cli("datasets", "upload", files.model, rc=USAGE), "--format")


def test_data_of_another_shape(service, files, tmp_path):
    path = tmp_path / "narrow.npz"
    files.save_data(path, 64, 3, shape=(3, 16, 8))
    refused(run(service, files, data=path, rc=USAGE), "train_dataset", "3,16,16", "3,16,8")


def test_labels_out_of_range(service, files, tmp_path):
    path = tmp_path / "labels.npz"
    files.save_data(path, 64, 3, labels=lambda y: y + 7)
    refused(run(service, files, "--set", "training.steps=5", data=path, rc=JOB_FAILED), "BAD_DATA", "y")


def test_data_with_a_nan(service, files, tmp_path):
    path = tmp_path / "nan.npz"

    def spoil(x):
        x[11, 1, 2, 3] = np.nan

    files.save_data(path, 64, 3, change=spoil)
    refused(run(service, files, "--set", "training.steps=5", data=path, rc=JOB_FAILED), "BAD_DATA", "11")


def test_a_failed_gate_publishes_its_report_and_no_model(service, files, tmp_path):
    # Labels by the model itself, half of each class: FP32 is right on all of them, and two bits are not.
    x = np.random.default_rng(5).standard_normal((256, 3, 16, 16)).astype(np.float32)
    logits = onnxruntime.InferenceSession(files.model).run(None, {"x": x})[0]
    bias = np.array([np.median(logits[:, 1] - logits[:, 0]), 0], np.float32)
    model = onnx.load(files.model)
    for weight in model.graph.initializer:
        if weight.name == "b3":
            weight.CopyFrom(onnx.numpy_helper.from_array(bias, "b3"))
    onnx.save(model, tmp_path / "balanced.onnx")
    np.savez(tmp_path / "own.npz", x=x, y=(logits + bias).argmax(1))
    out = tmp_path / "out"
    done = service.cli("run", "--model", tmp_path / "balanced.onnx", "--data", tmp_path / "own.npz", "--eval-data", tmp_path / "own.npz",
                       "--preset", "ptq_int8", "--set", "weights.bits=2", "--set", "first_last_bits=2", "--set",
                       "gates.max_metric_drop=0.001", "--out", out, rc=JOB_FAILED)
    refused(done, "GATE_FAILED", "gates.max_metric_drop", str(out))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "report.html", "report.json"]
    name = next(line for line in done.stderr.splitlines() if line.startswith("jobs/") and " " not in line)
    service.cli("jobs", "download", name, "--out", tmp_path / "again", "--file", "report.json")
    assert (tmp_path / "again" / "report.json").read_bytes() == (out / "report.json").read_bytes()


def test_wrong_words_on_the_command_line(service):
    refused(service.cli("jobs", "list", "--state", "sleeping", rc=USAGE), "sleeping")
    refused(service.cli("run", rc=USAGE), "--model")
    refused(service.cli("jobs", "list", "--output", "xml", rc=USAGE), "--output")


def test_server_that_is_not_there(service):
    refused(service.cli("jobs", "list", "--server", "127.0.0.1:1", rc=UNREACHABLE), "127.0.0.1:1")


def test_wrong_token(service):
    address = service.status()["server"]["grpc"]
    refused(service.cli("jobs", "list", "--server", address, "--token", "pactory_" + "0" * 64, rc=USAGE), "token")
