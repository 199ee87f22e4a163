// pactory local up|down|status
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cli/invocation.h"
#include "cli/local/local_service.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

struct LocalFlags {
  std::string folder = DefaultLocalFolder();
  LocalOptions options;
  bool delete_data = false;
};

fs::path FolderOfThisProgram() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

// A file of the source tree that this program was built in; "" where it was not, or there is no such file.
std::string FindInSourceTree(const std::string& name) {
  std::error_code error;
  for (fs::path folder = FolderOfThisProgram(); folder.has_relative_path(); folder = folder.parent_path()) {
    if (fs::exists(folder / name, error)) return (folder / name).string();
  }
  return "";
}

std::string FindRuntimeCheckScript() {
  std::error_code error;
  const fs::path installed = FolderOfThisProgram() / "../share/pactory/runtime_check/ort_check.py";
  if (fs::exists(installed, error)) return fs::weakly_canonical(installed, error).string();
  return FindInSourceTree("workers/runtime_check/ort_check.py");
}

void PrintLine(const char* what, const nlohmann::json& part, const std::string& where) {
  std::cout << "  " << what << std::string(12 - std::string(what).size(), ' ')
            << (part["running"] ? absl::StrCat("running, pid ", part["pid"].get<int>()) : "not running")
            << (where.empty() ? "" : ", " + where) << "\n";
}

ExitCode PrintService(const Invocation& invocation, const LocalService& service) {
  const nlohmann::json status = service.Status();
  if (invocation.output == OutputFormat::kJson) {
    std::cout << status.dump(2) << std::endl;
    return ExitCode::kDone;
  }
  std::cout << "service in " << status["dir"].get<std::string>() << "\n";
  PrintLine("PostgreSQL", status["postgres"], "");
  const std::string grpc = status["server"]["grpc"], http = status["server"]["http"];
  PrintLine("server", status["server"], grpc.empty() ? "" : absl::StrCat("gRPC ", grpc, ", page http://", http));
  for (const auto& worker : status["workers"]) PrintLine(worker["name"].get<std::string>().c_str(), worker, "");
  std::cout << "  logs        " << status["logs"].get<std::string>() << std::endl;
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> LocalUp(const Invocation& invocation, LocalFlags& flags) {
  if (flags.options.runtime_check_script.empty()) flags.options.runtime_check_script = FindRuntimeCheckScript();
  if (flags.options.python.empty()) flags.options.python = FindInSourceTree(".cache/venv/bin/python");
  PACTORY_ASSIGN_OR_RETURN(LocalService service, LocalService::Open(flags.folder));
  PACTORY_RETURN_IF_ERROR(service.Up(flags.options));
  PrintService(invocation, service);
  if (flags.options.python.empty() || flags.options.runtime_check_script.empty()) {
    std::cerr << "pactory: exported files are not checked in ONNX Runtime: "
              << (flags.options.python.empty() ? "no Python is named; give --python or set PACTORY_PYTHON"
                                               : "ort_check.py is neither installed nor in a source tree above this program")
              << std::endl;
  }
  if (invocation.output == OutputFormat::kText) {
    const bool is_default = flags.folder == DefaultLocalFolder();
    std::cout << "\nUse it:\n"
              << (is_default ? "" : absl::StrCat("  export PACTORY_CONFIG=", service.client_config(), "\n"))
              << "  pactory run --model m.onnx --data train.npz --eval-data eval.npz --preset pact_int8 --out out/\n"
              << "Stop it:\n"
              << "  pactory local down" << (is_default ? "" : absl::StrCat(" --dir ", flags.folder)) << std::endl;
  }
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> LocalDown(const Invocation& invocation, const LocalFlags& flags) {
  std::error_code error;
  if (!fs::exists(flags.folder, error)) {
    return absl::NotFoundError(absl::StrCat("--dir: there is no service in ", flags.folder));
  }
  PACTORY_ASSIGN_OR_RETURN(LocalService service, LocalService::Open(flags.folder));
  PACTORY_RETURN_IF_ERROR(service.Down());
  PrintService(invocation, service);
  if (flags.delete_data) PACTORY_RETURN_IF_ERROR(service.Delete());
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> LocalStatus(const Invocation& invocation, const LocalFlags& flags) {
  std::error_code error;
  if (!fs::exists(flags.folder + "/run", error)) {
    return absl::NotFoundError(
        absl::StrCat("--dir: there is no service in ", flags.folder, "; start one with `pactory local up`"));
  }
  PACTORY_ASSIGN_OR_RETURN(const LocalService service, LocalService::Open(flags.folder));
  return PrintService(invocation, service);
}

}  // namespace

void AddLocalCommands(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<LocalFlags>();
  CLI::App* local = app.add_subcommand("local", "Run the whole service on this machine: PostgreSQL, server, workers");
  local->require_subcommand(1);
  local->add_option("--dir", flags->folder, "Folder of the service")->capture_default_str();

  CLI::App* up =
      local->add_subcommand("up", "Start the service, or what of it does not run, and wait until it is ready");
  up->footer(
      "The data stays in the folder over restarts.\nExamples:\n"
      "  pactory local up\n  pactory local up --dir /srv/pactory --workers 2 --grpc-port 0 --http-port 0");
  LocalOptions& options = flags->options;
  up->add_option("--workers", options.workers, "Workers")->check(CLI::Range(0, 64))->capture_default_str();
  up->add_option("--grpc-port", options.grpc_port, "Port of gRPC; 0 for a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  up->add_option("--http-port", options.http_port, "Port of the web page; 0 for a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  up->add_option("--python", options.python, "Python with onnxruntime, to check exported files")
      ->envname("PACTORY_PYTHON");
  up->add_option("--runtime-check", options.runtime_check_script, "Script that checks an exported file")
      ->envname("PACTORY_RUNTIME_CHECK");
  up->add_option("--server-arg", options.server_arguments,
                 "Passed on to pactory-server serve, like --server-arg=--lease-seconds=5; repeatable")
      ->allow_extra_args(false);
  up->add_option("--worker-arg", options.worker_arguments, "Passed on to pactory-worker; repeatable")
      ->allow_extra_args(false);
  OnCommand(up, invocation, [&invocation, flags] { return LocalUp(invocation, *flags); });

  CLI::App* down = local->add_subcommand("down", "Stop the service; jobs that run are given back to the queue");
  down->add_flag("--delete-data", flags->delete_data, "Then remove the folder with all models, data and jobs");
  OnCommand(down, invocation, [&invocation, flags] { return LocalDown(invocation, *flags); });

  OnCommand(local->add_subcommand("status", "Tell what runs"), invocation,
            [&invocation, flags] { return LocalStatus(invocation, *flags); });
}

}  // namespace pactory
