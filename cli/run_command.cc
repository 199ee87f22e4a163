// pactory run: upload, submit, follow, download, in one.
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cli/invocation.h"
#include "cli/job_download.h"
#include "cli/job_follow.h"
#include "cli/job_submission.h"
#include "cli/job_text.h"
#include "cli/output.h"
#include "cli/report_table.h"
#include "cli/session.h"

namespace pactory {
namespace {

constexpr char kRunHelp[] =
    "What was uploaded before is not sent again. The job goes on when this command is interrupted.\n"
    "Exit codes: 0 done, 1 the job failed, 2 wrong input, 3 server unreachable.\n"
    "\n"
    "Examples:\n"
    "  pactory run --model m.onnx --data train.npz --eval-data eval.npz --preset pact_int8 --out out/\n"
    "  pactory run --model m.onnx --data train.tar --eval-data eval.tar --config pact.yaml --set training.steps=500 "
    "--out out/\n"
    "  pactory run --model models/ID --data datasets/ID --eval-data datasets/ID --preset ptq_int8 --detach";

struct RunFlags {
  JobSubmission submission;
  std::string folder;
  bool detach = false;
};

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// {"job": {...}, "files": [...], "report": {...}}, the last where there is one.
void PrintResult(const v1::Job& job, const std::vector<std::string>& files, const std::string& report) {
  nlohmann::json result;
  result["job"] = nlohmann::json::parse(ToJson(job), nullptr, /*allow_exceptions=*/false);
  result["files"] = files;
  if (!report.empty()) result["report"] = nlohmann::json::parse(report, nullptr, /*allow_exceptions=*/false);
  std::cout << result.dump(2) << std::endl;
}

absl::StatusOr<ExitCode> Run(const Invocation& invocation, const RunFlags& flags) {
  if (flags.folder.empty() && !flags.detach && !flags.submission.validate_only) {
    return absl::InvalidArgumentError("--out: must name the folder for the results; give --out DIR, or --detach");
  }
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(const v1::Job submitted, Submit(*session, flags.submission));
  const bool json = invocation.output == OutputFormat::kJson;
  if (flags.submission.validate_only || flags.detach) {
    if (json) {
      PrintResult(submitted, {}, "");
    } else {
      std::cout << (flags.submission.validate_only ? "valid" : submitted.name()) << "\n";
    }
    return ExitCode::kDone;
  }
  std::cerr << submitted.name() << std::endl;
  PACTORY_ASSIGN_OR_RETURN(const v1::Job end, FollowJob(*session, submitted.name()));
  std::vector<std::string> files;
  std::string report;
  PACTORY_ASSIGN_OR_RETURN(const auto artifacts, ListAllArtifacts(*session, end.name()));
  if (!artifacts.empty()) {
    PACTORY_ASSIGN_OR_RETURN(files, DownloadArtifacts(*session, artifacts, flags.folder));
    report = ReadText(absl::StrCat(flags.folder, "/report.json"));
  }
  if (json) {
    PrintResult(end, files, report);
  } else if (end.state() == v1::Job::SUCCEEDED) {
    std::cout << ReportTable(report) << "  results in         " << flags.folder << std::endl;
  } else if (end.state() == v1::Job::FAILED) {
    std::cerr << "pactory: job failed: " << end.error().reason() << ": " << end.error().message()
              << (files.empty() ? "" : "; its report is in " + flags.folder) << std::endl;
  }
  return ExitCodeOfJob(end);
}

}  // namespace

void AddRunCommand(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* run = app.add_subcommand(
      "run", "Quantize a model: upload it and the data, queue the job, follow it, download the results");
  run->footer(kRunHelp);
  AddSubmissionFlags(*run, flags->submission);
  run->add_option("--out", flags->folder, "Folder for the results");
  run->add_flag("--detach", flags->detach, "Print the job's name and return once it is queued");
  OnCommand(run, invocation, [&invocation, flags] { return Run(invocation, *flags); });
}

}  // namespace pactory
