#include "server/job_watch.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "server/request_fields.h"

namespace pactory {
namespace {

constexpr Method kWatch = {"JobService/WatchJob", Access::kUser};

// How long a change may go unseen that this process was not told of.
constexpr absl::Duration kWatchPollEvery = absl::Seconds(1);

// Bounds a message: metrics beyond it follow in the next one.
constexpr int kMetricsPerMessage = 1000;

bool IsFinal(v1::Job::State state) {
  return state == v1::Job::SUCCEEDED || state == v1::Job::FAILED || state == v1::Job::CANCELLED;
}

// One task at a time owns the watch: a step on the thread pool, a write, or a wait in Wakeups, each of which starts the
// next.
class JobWatch final : public grpc::ServerWriteReactor<v1::WatchJobResponse>,
                       public std::enable_shared_from_this<JobWatch> {
 public:
  JobWatch(const CallContext& context, grpc::CallbackServerContext* grpc_context, const v1::WatchJobRequest& request,
           const JobWatchSources& sources)
      : context_(context),
        grpc_context_(grpc_context),
        sources_(sources),
        call_(context, grpc_context, kWatch),
        name_(request.name()),
        topic_(absl::AsciiStrToLower(IdOf("jobs", name_))),
        sequence_(request.after_sequence()) {}

  // Keeps itself alive until gRPC is done with it.
  void Start() {
    self_ = shared_from_this();
    Schedule();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client left"));
    if (last_message_) return End(absl::OkStatus());
    Schedule();
  }

  // Finish may come only from the task that owns the watch; it looks for the cancel itself, as soon as it is woken.
  void OnCancel() override { sources_.wakeups->Signal(topic_); }

  void OnDone() override { self_.reset(); }

 private:
  enum class Step { kWrite, kWait };

  void Schedule() {
    const bool queued = context_.threads->TrySubmit([self = shared_from_this()] { self->Run(); });
    // The queue is full: a watcher is the first that can wait.
    if (!queued) Wait();
  }

  void Wait() {
    sources_.wakeups->WaitOnce(topic_, absl::Now() + kWatchPollEvery,
                               [self = shared_from_this()](int64_t) { self->Schedule(); });
  }

  void Run() {
    if (grpc_context_->IsCancelled()) return End(absl::CancelledError("the client left"));
    if (sources_.wakeups->stopping()) {
      return End(WithReason(absl::UnavailableError("the server is stopping; watch again"), "SHUTTING_DOWN"));
    }
    Step step = Step::kWait;
    const absl::Status status = call_.Guard([&]() -> absl::Status {
      if (id_.empty()) {
        PACTORY_RETURN_IF_ERROR(call_.Authenticate());
        PACTORY_ASSIGN_OR_RETURN(id_, ParseName("name", "jobs", name_));
        if (sequence_ < 0) return InvalidField("after_sequence", "must not be negative");
      }
      PACTORY_ASSIGN_OR_RETURN(step, Read());
      return absl::OkStatus();
    });
    if (!status.ok()) return End(status);
    if (step == Step::kWait) return Wait();
    StartWrite(&message_);
  }

  // Reads what is new into `message_`. The job comes before the metrics: when it is final, all its metrics are there.
  absl::StatusOr<Step> Read() {
    PACTORY_ASSIGN_OR_RETURN(v1::Job job, sources_.jobs->Get(call_.caller().tenant_id, id_));
    PACTORY_ASSIGN_OR_RETURN(MetricsSince since, sources_.metrics->ReadSince(id_, sequence_, kMetricsPerMessage));
    const std::string seen = job.SerializeAsString();
    // Of an ended job a message without metrics is the last one, where those before it were full.
    if (since.metrics.empty() && seen_ == seen && !IsFinal(job.state())) return Step::kWait;
    seen_ = seen;
    last_message_ = IsFinal(job.state()) && static_cast<int>(since.metrics.size()) < kMetricsPerMessage;
    sequence_ = since.sequence;
    message_.Clear();
    *message_.mutable_job() = std::move(job);
    for (v1::Metric& metric : since.metrics) *message_.add_metrics() = std::move(metric);
    message_.set_sequence(sequence_);
    return Step::kWrite;
  }

  void End(const absl::Status& status) { Finish(call_.End(status)); }

  const CallContext context_;
  grpc::CallbackServerContext* const grpc_context_;
  const JobWatchSources sources_;
  Call call_;
  const std::string name_;
  const std::string topic_;
  // Set once the caller is known.
  std::string id_;
  int64_t sequence_;
  std::optional<std::string> seen_;
  bool last_message_ = false;
  v1::WatchJobResponse message_;
  std::shared_ptr<JobWatch> self_;
};

}  // namespace

grpc::ServerWriteReactor<v1::WatchJobResponse>* StartJobWatch(const CallContext& context,
                                                              grpc::CallbackServerContext* grpc_context,
                                                              const v1::WatchJobRequest& request,
                                                              const JobWatchSources& sources) {
  auto watch = std::make_shared<JobWatch>(context, grpc_context, request, sources);
  watch->Start();
  return watch.get();
}

}  // namespace pactory
