#include "server/lease_poll.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "server/request_fields.h"

namespace pactory {
namespace {

constexpr Method kLease = {"WorkerService/LeaseJob", Access::kWorker, Traffic::kFrequent};

constexpr absl::Duration kMaxWait = absl::Seconds(60);

// How long a job may stand in the queue that this process was not told of.
constexpr absl::Duration kLeasePollEvery = absl::Seconds(1);

// One task at a time owns the poll: a try on the thread pool, or a wait in Wakeups, each of which starts the other.
class LeasePoll final : public grpc::ServerUnaryReactor, public std::enable_shared_from_this<LeasePoll> {
 public:
  LeasePoll(const CallContext& context, grpc::CallbackServerContext* grpc_context, const v1::LeaseJobRequest& request,
            v1::LeaseJobResponse* response, const LeasePollSources& sources)
      : context_(context),
        grpc_context_(grpc_context),
        response_(*response),
        sources_(sources),
        call_(context, grpc_context, kLease),
        worker_(request.worker()),
        wait_(absl::Seconds(request.wait().seconds()) + absl::Nanoseconds(request.wait().nanos())),
        deadline_(absl::Now() + std::min(wait_, kMaxWait)) {}

  // Keeps itself alive until gRPC is done with it.
  void Start() {
    self_ = shared_from_this();
    if (!context_.threads->TrySubmit([self = shared_from_this()] { self->Try(0); })) End(Overloaded());
  }

  // The next try sees the cancel, and it comes within kLeasePollEvery.
  void OnCancel() override {}
  void OnDone() override { self_.reset(); }

 private:
  void Wait(int64_t since) {
    sources_.wakeups->WaitForTurn(
        kQueueTopic, since, std::min(deadline_, absl::Now() + kLeasePollEvery), [self = shared_from_this()](int64_t turn) {
          // The queue is full: workers are the first that can wait.
          if (!self->context_.threads->TrySubmit([self, turn] { self->Try(turn); })) self->Wait(self->sources_.wakeups->Moment());
        });
  }

  // `turn`: of the wakeup that led here.
  void Try(int64_t turn) {
    const int64_t since = sources_.wakeups->Moment();
    std::optional<v1::Lease> lease;
    const absl::Status status = call_.Guard([&]() -> absl::Status {
      if (grpc_context_->IsCancelled()) return absl::CancelledError("the client left");
      const bool first = worker_id_.empty();
      PACTORY_RETURN_IF_ERROR(Begin());
      if (!first && turn == 0 && !sources_.glance->MayHoldJobs()) return absl::OkStatus();
      PACTORY_ASSIGN_OR_RETURN(lease, sources_.leases->Claim(worker_id_));
      return absl::OkStatus();
    });
    if (lease.has_value()) {
      Answer(*std::move(lease));
    } else if (!status.ok() || absl::Now() >= deadline_ || sources_.wakeups->stopping()) {
      End(status);
    } else {
      Wait(since);
    }
    if (turn != 0) PassOn(turn);
  }

  // A turn may be for several jobs, or for one that only another worker can run. Where none is left it is over.
  void PassOn(int64_t turn) {
    const absl::StatusOr<bool> left = sources_.leases->AnyReady();
    if (!left.ok() || *left) sources_.wakeups->PassOn(kQueueTopic, turn);
  }

  absl::Status Begin() {
    if (!worker_id_.empty()) return absl::OkStatus();
    PACTORY_RETURN_IF_ERROR(call_.Authenticate());
    PACTORY_ASSIGN_OR_RETURN(std::string id, ParseName("worker", "workers", worker_));
    if (wait_ < absl::ZeroDuration() || wait_ > kMaxWait) {
      return InvalidField("wait", absl::StrCat("must be 0 s to 60 s: ", absl::FormatDuration(wait_)));
    }
    worker_id_ = std::move(id);
    return absl::OkStatus();
  }

  void Answer(v1::Lease lease) {
    const std::string job = lease.job().name();
    if (grpc_context_->IsCancelled()) {
      // The worker left while the job was being leased: give it back now, not when the lease expires.
      const auto ref = ParseLease(lease.token());
      if (ref.ok() && sources_.leases->Release(*ref).ok()) sources_.wakeups->BeginTurn(kQueueTopic);
      return End(absl::CancelledError("the client left"));
    }
    spdlog::info("{} request={} leased {} to {} fence={}", kLease.name, call_.request_id(), job, worker_,
                 lease.token().fence());
    *response_.mutable_lease() = std::move(lease);
    sources_.wakeups->Signal(job.substr(sizeof("jobs/") - 1));
    End(absl::OkStatus());
  }

  void End(const absl::Status& status) { Finish(call_.End(status)); }

  const CallContext context_;
  grpc::CallbackServerContext* const grpc_context_;
  v1::LeaseJobResponse& response_;
  const LeasePollSources sources_;
  Call call_;
  const std::string worker_;
  const absl::Duration wait_;
  const absl::Time deadline_;
  // Set once the caller is known.
  std::string worker_id_;
  std::shared_ptr<LeasePoll> self_;
};

}  // namespace

grpc::ServerUnaryReactor* StartLeasePoll(const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                         const v1::LeaseJobRequest& request, v1::LeaseJobResponse* response,
                                         const LeasePollSources& sources) {
  auto poll = std::make_shared<LeasePoll>(context, grpc_context, request, response, sources);
  poll->Start();
  return poll.get();
}

}  // namespace pactory
