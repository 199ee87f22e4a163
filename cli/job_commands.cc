// pactory jobs submit|list|show|watch|cancel|stop-training|replay|metrics|artifacts|download
#include <algorithm>
#include <iostream>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "cli/invocation.h"
#include "cli/job_download.h"
#include "cli/job_follow.h"
#include "cli/job_replay.h"
#include "cli/job_submission.h"
#include "cli/job_text.h"
#include "cli/output.h"
#include "cli/session.h"
#include "config/config_text.h"

namespace pactory {
namespace {

struct JobFlags {
  JobSubmission submission;
  std::string job;
  std::vector<std::string> states;
  int limit = 50;
  std::string name_prefix;
  std::string folder = ".";
  std::vector<std::string> files;
};

absl::StatusOr<v1::Job> GetJob(Session& session, const std::string& name) {
  v1::GetJobRequest request;
  request.set_name(name);
  return session.Call(session.jobs(), &v1::JobService::Stub::GetJob, request);
}

absl::StatusOr<ExitCode> SubmitJob(const Invocation& invocation, const JobFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(const v1::Job job, Submit(*session, flags.submission));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(job);
  } else {
    std::cout << (flags.submission.validate_only ? "valid" : job.name()) << "\n";
  }
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> ListJobs(const Invocation& invocation, const JobFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::ListJobsRequest request;
  for (const std::string& word : flags.states) {
    v1::Job::State state;
    if (!v1::Job::State_Parse(absl::AsciiStrToUpper(word), &state) || state == v1::Job::STATE_UNSPECIFIED) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--state: must be pending, running, cancelling, succeeded, failed or cancelled: ", word));
    }
    request.add_states(state);
  }
  v1::ListJobsResponse all;
  do {
    request.set_page_size(std::min(1000, flags.limit - all.jobs_size()));
    PACTORY_ASSIGN_OR_RETURN(const auto page, session->Call(session->jobs(), &v1::JobService::Stub::ListJobs, request));
    all.mutable_jobs()->MergeFrom(page.jobs());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && all.jobs_size() < flags.limit);
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(all);
    return ExitCode::kDone;
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::Job& job : all.jobs()) {
    const std::string now = IsFinal(job.state()) ? job.error().reason() : ProgressText(job, ProgressStyle::kPlain);
    rows.push_back({job.name(), job.display_name().empty() ? "-" : job.display_name(), v1::Job::State_Name(job.state()),
                    TimeText(job.create_time()), now});
  }
  PrintTable({"JOB", "NAME", "STATE", "CREATED", ""}, rows);
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> ShowJob(const Invocation& invocation, const JobFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(const v1::Job job, GetJob(*session, flags.job));
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(job);
    return ExitCode::kDone;
  }
  std::cout << job.name() << (job.display_name().empty() ? "" : " \"" + job.display_name() + "\"") << "\n  state     "
            << v1::Job::State_Name(job.state());
  if (!IsFinal(job.state())) std::cout << ", " << ProgressText(job, ProgressStyle::kPlain);
  std::cout << "\n  model     " << job.spec().model() << "\n  data      " << job.spec().train_dataset()
            << "\n  eval      " << job.spec().eval_dataset() << "\n  attempt   " << job.attempt() << ", workers lost: "
            << job.lost_attempts() << ", attempts failed: " << job.failed_attempts() << " (FAILED at "
            << job.spec().max_attempts() << ")"
            << "\n  worker    " << (job.worker().empty() ? "-" : job.worker()) << "\n  created   "
            << TimeText(job.create_time()) << "\n  started   " << TimeText(job.start_time()) << "\n  ended     "
            << TimeText(job.end_time()) << "\n";
  if (job.has_error()) std::cout << "  error     " << job.error().reason() << ": " << job.error().message() << "\n";
  std::cout << "  config\n";
  const std::string yaml = ConfigToYaml(job.spec().config());
  for (size_t start = 0; start < yaml.size();) {
    const size_t end = std::min(yaml.find('\n', start), yaml.size());
    std::cout << "    " << yaml.substr(start, end - start) << "\n";
    start = end + 1;
  }
  std::cout.flush();
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> WatchJob(const Invocation& invocation, const JobFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  if (invocation.output == OutputFormat::kText) {
    PACTORY_ASSIGN_OR_RETURN(const v1::Job end, FollowJob(*session, flags.job));
    return ExitCodeOfJob(end);
  }
  PACTORY_ASSIGN_OR_RETURN(const v1::Job end, WatchToEnd(*session, flags.job, [](const v1::WatchJobResponse& event) {
    std::cout << ToJson(event, JsonLayout::kOneLine) << std::endl;
  }));
  return ExitCodeOfJob(end);
}

ExitCode PrintState(const Invocation& invocation, const v1::Job& job) {
  if (invocation.output == OutputFormat::kJson) {
    PrintJson(job);
  } else {
    std::cout << job.name() << ": " << v1::Job::State_Name(job.state()) << "\n";
  }
  return ExitCode::kDone;
}

// Calls what takes a job's name and returns the job.
template <typename Request>
absl::StatusOr<ExitCode> ChangeJob(const Invocation& invocation, const JobFlags& flags,
                                   grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*, const Request&, v1::Job*)) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  Request request;
  request.set_name(flags.job);
  PACTORY_ASSIGN_OR_RETURN(const v1::Job job, session->Call(session->jobs(), method, request));
  return PrintState(invocation, job);
}

absl::StatusOr<ExitCode> CancelJob(const Invocation& invocation, const JobFlags& flags) {
  return ChangeJob(invocation, flags, &v1::JobService::Stub::CancelJob);
}

absl::StatusOr<ExitCode> StopTraining(const Invocation& invocation, const JobFlags& flags) {
  return ChangeJob(invocation, flags, &v1::JobService::Stub::StopTraining);
}

absl::StatusOr<ExitCode> PrintMetrics(const Invocation& invocation, const JobFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  v1::ListMetricsRequest request;
  request.set_parent(flags.job);
  request.set_page_size(10000);
  request.set_name_prefix(flags.name_prefix);
  v1::ListMetricsResponse all;
  const auto take = [&](const v1::ListMetricsResponse& page) {
    if (invocation.output == OutputFormat::kJson) {
      all.mutable_metrics()->MergeFrom(page.metrics());
      return;
    }
    for (const v1::Metric& metric : page.metrics()) {
      std::cout << metric.step() << "\t" << metric.name() << "\t" << absl::StrFormat("%.9g", metric.value()) << "\n";
    }
  };
  PACTORY_RETURN_IF_ERROR(
      session->CallPages(session->jobs(), &v1::JobService::Stub::ListMetrics, request, take));
  if (invocation.output == OutputFormat::kJson) PrintJson(all);
  std::cout.flush();
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> PrintArtifacts(const Invocation& invocation, const JobFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(const auto artifacts, ListAllArtifacts(*session, flags.job));
  if (invocation.output == OutputFormat::kJson) {
    v1::ListArtifactsResponse all;
    for (const v1::Artifact& artifact : artifacts) *all.add_artifacts() = artifact;
    PrintJson(all);
    return ExitCode::kDone;
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::Artifact& artifact : artifacts) {
    rows.push_back({artifact.name(), SizeText(artifact.size_bytes()), artifact.media_type()});
  }
  PrintTable({"ARTIFACT", "SIZE", "TYPE"}, rows);
  return ExitCode::kDone;
}

absl::StatusOr<ExitCode> DownloadFiles(const Invocation& invocation, const JobFlags& flags) {
  PACTORY_ASSIGN_OR_RETURN(const auto session, Session::Open(invocation.client));
  PACTORY_ASSIGN_OR_RETURN(auto artifacts, ListAllArtifacts(*session, flags.job));
  if (artifacts.empty()) {
    PACTORY_ASSIGN_OR_RETURN(const v1::Job job, GetJob(*session, flags.job));
    return absl::FailedPreconditionError(absl::StrCat(
        flags.job,
        ": has no files; a job publishes them when it succeeds, and its report when it fails a gate: state=",
        v1::Job::State_Name(job.state())));
  }
  if (!flags.files.empty()) {
    std::vector<v1::Artifact> chosen;
    for (const std::string& file : flags.files) {
      const auto found = std::find_if(artifacts.begin(), artifacts.end(), [&](const v1::Artifact& artifact) {
        const auto name = FileNameOf(artifact);
        return name.ok() && *name == file;
      });
      if (found == artifacts.end())
        return absl::NotFoundError(absl::StrCat("--file: ", flags.job, " has no file ", file));
      chosen.push_back(*found);
    }
    artifacts = std::move(chosen);
  }
  PACTORY_ASSIGN_OR_RETURN(const auto paths, DownloadArtifacts(*session, artifacts, flags.folder));
  if (invocation.output == OutputFormat::kJson) {
    v1::ListArtifactsResponse all;
    for (const v1::Artifact& artifact : artifacts) *all.add_artifacts() = artifact;
    PrintJson(all);
  } else {
    std::cout << absl::StrJoin(paths, "\n") << "\n";
  }
  return ExitCode::kDone;
}

}  // namespace

void AddJobCommands(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<JobFlags>();
  CLI::App* jobs = app.add_subcommand("jobs", "Submit, list, show, watch and cancel jobs; get their metrics and files");
  jobs->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, auto run) {
    CLI::App* command = jobs->add_subcommand(name, help);
    OnCommand(command, invocation, [&invocation, flags, run] { return run(invocation, *flags); });
    return command;
  };
  const auto add_for_job = [&](const char* name, const char* help, auto run) {
    CLI::App* command = add(name, help, run);
    command->add_option("job", flags->job, "jobs/ID")->required();
    return command;
  };
  CLI::App* submit = add("submit", "Queue a job and print its name", SubmitJob);
  submit->footer(
      "`pactory run` also follows the job and fetches its files.\nExample:\n"
      "  pactory jobs submit --model m.onnx --data train.npz --eval-data eval.npz --preset pact_int8");
  AddSubmissionFlags(*submit, flags->submission);
  CLI::App* list =
      add("list", "List the jobs, newest first", [](const Invocation& i, const JobFlags& f) { return ListJobs(i, f); });
  list->add_option("--state", flags->states, "Only jobs in this state; repeatable")->allow_extra_args(false);
  list->add_option("--limit", flags->limit, "At most this many")->check(CLI::Range(1, 1000000))->capture_default_str();
  add_for_job("show", "Show a job and its full config", ShowJob);
  add_for_job("watch", "Follow a job to its end; the exit code is 0 where it succeeded, else 1", WatchJob);
  add_for_job("cancel", "End a job; nothing of it is published", CancelJob);
  add_for_job("stop-training", "End a job's training early: the best model so far is exported, checked and published", StopTraining);
  add_for_job("replay", "Run a job again: does the same model.int8.onnx come out? The exit code is 0 where it does, else 1",
              [](const Invocation& i, const JobFlags& f) { return ReplayJob(i, f.job); });
  add_for_job("metrics", "Print the numbers of training: step, name, value", PrintMetrics)
      ->add_option("--prefix", flags->name_prefix, "Only names that start so, like alpha/");
  add_for_job("artifacts", "List a job's files", PrintArtifacts);
  CLI::App* download = add_for_job("download", "Download a job's files; continues where it was cut", DownloadFiles);
  download->add_option("--out", flags->folder, "Folder")->capture_default_str();
  download->add_option("--file", flags->files, "Only this file; repeatable")->allow_extra_args(false);
}

}  // namespace pactory
