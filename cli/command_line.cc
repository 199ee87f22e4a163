#include "cli/command_line.h"

#include <CLI/CLI.hpp>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/invocation.h"

namespace pactory {
namespace {

constexpr char kHelp[] =
    "Quantization-aware training as a service: an ONNX model and data in, a smaller int8 model out, its accuracy "
    "measured "
    "in the runtime that serves it.\n"
    "\n"
    "Start here:\n"
    "  pactory local up                                   a server and a worker on this machine\n"
    "  pactory presets                                    the configs there are\n"
    "  pactory run --model m.onnx --data train.npz --eval-data eval.npz --preset pact_int8 --out out/\n"
    "  pactory jobs list                                  what ran, what runs, what waits\n"
    "\n"
    "The server and the token come from --server and --token, else from PACTORY_SERVER and PACTORY_TOKEN, else from "
    "the file "
    "that PACTORY_CONFIG names, else from ~/.config/pactory/client.yaml, else from the service that `pactory local up` "
    "started.\n"
    "Exit codes: 0 done, 1 job failed, 2 wrong input, 3 server unreachable.";

int Fail(const absl::Status& status) {
  // One line, whatever the message holds.
  std::cerr << "pactory: " << absl::StrReplaceAll(status.message(), {{"\n", " "}}) << std::endl;
  return static_cast<int>(ExitCodeOf(status));
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv) {
  Invocation invocation;
  std::string output = "text";
  bool plaintext = false;
  CLI::App app(kHelp, "pactory");
  app.require_subcommand(1);
  // Flags of all commands may stand behind the command too.
  app.fallthrough();
  app.add_option("--server", invocation.client.server, "Server, HOST:PORT");
  app.add_option("--token", invocation.client.token, "Token of the user kind");
  app.add_option("--tls-ca", invocation.client.tls_ca, "PEM file of the CA that signed the server's certificate");
  app.add_flag("--plaintext", plaintext, "No TLS, also to another host: the token travels readable");
  app.add_option("--patience", invocation.client.patience_seconds,
                 "Seconds to wait for a server that went away meanwhile")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app.add_option("--output", output,
                 "text, or json for programs: results on standard output, progress on standard error")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  AddRunCommand(app, invocation);
  AddJobCommands(app, invocation);
  AddModelCommands(app, invocation);
  AddDatasetCommands(app, invocation);
  AddPresetCommand(app, invocation);
  AddConfigCommands(app, invocation);
  AddStatusCommand(app, invocation);
  AddLocalCommands(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::cerr << "pactory: " << error.what() << "; see --help" << std::endl;
    return static_cast<int>(ExitCode::kUsage);
  }
  if (output == "json") invocation.output = OutputFormat::kJson;
  if (plaintext) invocation.client.transport = Transport::kPlaintext;
  const absl::StatusOr<ExitCode> code = invocation.command();
  return code.ok() ? static_cast<int>(*code) : Fail(code.status());
}

}  // namespace pactory
