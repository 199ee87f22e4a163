#include "workers/agent/options.h"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

constexpr char kHelp[] =
    "Runs quantization jobs for a Pactory server: leases them, starts a trainer for each, sends back what it says.\n"
    "\n"
    "Example:\n"
    "  pactory-worker --server gpu-queue:7447 --tls-ca ca.pem --token-file worker.token \\\n"
    "      --cache-dir /var/cache/pactory --work-dir /var/lib/pactory-worker\n"
    "\n"
    "Every flag can also be given as an environment variable, like PACTORY_SERVER for --server.";

std::string BesideThisProgram(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? name : (self.parent_path() / name).string();
}

}  // namespace

absl::StatusOr<AgentOptions> ParseAgentOptions(int argc, char** argv) {
  AgentOptions options;
  options.log.program = "pactory-worker";
  std::string token_file, log_format = "text";
  std::vector<std::string> runtime_check;
  double cache_gib = 20, memory_gib = 0;
  bool plaintext = false;
  CLI::App app(kHelp);
  app.add_option("--server", options.server.target, "Server, HOST:PORT")->envname("PACTORY_SERVER")->required();
  app.add_option("--token", options.server.token, "Token of the worker kind")->envname("PACTORY_TOKEN");
  app.add_option("--token-file", token_file, "File that holds the token; wins over --token")
      ->envname("PACTORY_TOKEN_FILE");
  app.add_option("--tls-ca", options.server.tls_ca, "PEM file of the CA that signed the server's certificate")
      ->envname("PACTORY_TLS_CA");
  app.add_flag("--plaintext", plaintext, "No TLS, also to another host: the token travels readable")
      ->envname("PACTORY_PLAINTEXT");
  app.add_option("--cache-dir", options.cache_folder, "Folder of downloaded models and data")
      ->envname("PACTORY_BLOB_CACHE_DIR")
      ->required();
  app.add_option("--work-dir", options.work_folder, "Folder of running jobs; one agent at a time")
      ->envname("PACTORY_WORK_DIR")
      ->required();
  app.add_option("--trainer", options.trainer, "Trainer program; default: pactory-trainer beside this program")
      ->envname("PACTORY_TRAINER");
  app.add_option("--runtime-check", runtime_check,
                 "Command that checks an exported file in the serving runtime; split at spaces, or given word by word")
      ->envname("PACTORY_RUNTIME_CHECK_COMMAND")
      ->allow_extra_args(false);
  app.add_option("--slots", options.slots, "Jobs at a time")
      ->envname("PACTORY_SLOTS")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--job-memory-gib", options.job_memory_gib,
                 "Memory that jobs may ask for together; 0: what the first GPU has, or the host without one")
      ->envname("PACTORY_JOB_MEMORY_GIB")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  app.add_option("--cache-limit-gib", cache_gib, "Size that the cache is kept below")
      ->envname("PACTORY_CACHE_LIMIT_GIB")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--memory-limit-gib", memory_gib, "Limit of a trainer's memory; 0 for none")
      ->envname("PACTORY_MEMORY_LIMIT_GIB")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--ready-file", options.ready_file, "File written once the server knows this worker")
      ->envname("PACTORY_WORKER_READY_FILE");
  app.add_option("--log-level", options.log.level, "trace, debug, info, warning, error or off")
      ->envname("PACTORY_LOG_LEVEL")
      ->capture_default_str();
  app.add_option("--log-format", log_format, "text or json")
      ->envname("PACTORY_LOG_FORMAT")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    app.exit(help, std::cout, std::cerr);
    return absl::CancelledError("help was printed");
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (options.server.token.empty() && token_file.empty()) {
    return absl::InvalidArgumentError("token: --token or --token-file must be given");
  }
  if (!token_file.empty()) {
    PACTORY_ASSIGN_OR_RETURN(options.server.token, ReadTokenFile(token_file));
  }
  if (plaintext) options.server.transport = Transport::kPlaintext;
  if (log_format == "json") options.log.format = LogFormat::kJson;
  if (options.trainer.empty()) options.trainer = BesideThisProgram("pactory-trainer");
  if (runtime_check.size() == 1) {
    runtime_check = absl::StrSplit(runtime_check[0], ' ', absl::SkipEmpty());
  }
  options.runtime_check_command = std::move(runtime_check);
  options.cache_limit_bytes = static_cast<int64_t>(cache_gib * (1LL << 30));
  options.memory_limit_bytes = static_cast<int64_t>(memory_gib * (1LL << 30));
  return options;
}

}  // namespace pactory
