import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import check_layers  # noqa: E402


def problems_of(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return check_layers.check_tree(tmp_path)


def test_this_tree_keeps_the_rules():
    assert check_layers.check_tree(ROOT) == []


def test_server_may_not_use_libtorch(tmp_path):
    assert "LibTorch" in problems_of(tmp_path, "server/x.cc", "#include <ATen/ATen.h>\n")[0]


def test_agent_may_not_include_storage(tmp_path):
    assert "storage" in problems_of(tmp_path, "workers/agent/x.cc", '#include "storage/job_store.h"\n')[0]


def test_headers_that_show_libpqxx_stay_inside_storage(tmp_path):
    assert problems_of(tmp_path, "storage/rows.h", "#include <pqxx/pqxx>\n") == []
    assert problems_of(tmp_path, "storage/jobs.h", '#include "storage/rows.h"\n') == []
    assert "for storage/ alone" in problems_of(tmp_path, "server/x.cc", '#include "storage/jobs.h"\n')[0]


def test_quant_includes_only_downwards(tmp_path):
    assert problems_of(tmp_path, "quant/passes/x.cc", '#include "quant/graph/graph.h"\n') == []
    assert "below" in problems_of(tmp_path, "quant/graph/x.cc", '#include "quant/passes/fold.h"\n')[0]


def test_base_knows_no_messages(tmp_path):
    assert problems_of(tmp_path, "base/x.cc", '#include "pactory/v1/job.pb.h"\n')


def test_long_files_are_named(tmp_path):
    assert "longer" in problems_of(tmp_path, "cli/x.h", "\n" * 300)[0]


def test_a_broken_rule_fails_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check_layers.py", str(tmp_path)])
    assert check_layers.main() == 0
    assert problems_of(tmp_path, "cli/x.h", "\n" * 300)
    assert check_layers.main() == 1
    assert "cli/x.h:300" in capsys.readouterr().out
