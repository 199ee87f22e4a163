#include "workers/agent/checkpoint_sender.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <utility>

#include "base/ids.h"
#include "base/status_macros.h"
#include "client/blob_upload.h"
#include "client/retry.h"
#include "client/rpc_status.h"

namespace pactory {

HeldCheckpoint::~HeldCheckpoint() { std::remove(path_.c_str()); }

CheckpointSender::CheckpointSender(ServerConnection& server, v1::LeaseToken lease, JobStop& stop)
    : server_(server), lease_(std::move(lease)), stop_(stop), thread_([this] { Run(); }) {}

CheckpointSender::~CheckpointSender() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  closed_.Cancel();
  thread_.join();
}

void CheckpointSender::Offer(std::shared_ptr<const HeldCheckpoint> checkpoint) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(checkpoint);
}

void CheckpointSender::Drain(absl::Duration time) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &CheckpointSender::IsIdle), time);
}

void CheckpointSender::Run() {
  while (true) {
    std::shared_ptr<const HeldCheckpoint> checkpoint;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CheckpointSender::HasWork));
      if (closing_) return;
      checkpoint = std::exchange(next_, nullptr);
      sending_ = true;
    }
    const absl::Status status = Send(*checkpoint);
    {
      absl::MutexLock lock(&mutex_);
      sending_ = false;
    }
    if (IsLeaseLost(status)) {
      stop_.Request(StopReason::kLeaseLost);
      return;
    }
    // The job goes on without this one: a rescue then starts from an older checkpoint.
    if (!status.ok() && !closed_.cancelled()) {
      spdlog::warn("{}: checkpoint of step {} not stored: {}", lease_.job(), checkpoint->step(), status.ToString());
    }
  }
}

absl::Status CheckpointSender::Send(const HeldCheckpoint& checkpoint) {
  PACTORY_ASSIGN_OR_RETURN(const FileContent file, ExamineFile(checkpoint.path()));
  v1::CommitCheckpointRequest request;
  *request.mutable_lease() = lease_;
  request.mutable_checkpoint()->set_step(checkpoint.step());
  PACTORY_ASSIGN_OR_RETURN(*request.mutable_checkpoint()->mutable_blob(),
                           UploadBlob(server_.Transfer(lease_, closed_), file, NewUuid()));
  PACTORY_RETURN_IF_ERROR(RetryTransient(closed_, absl::InfiniteDuration(),
                                         [&] { return server_.CommitCheckpoint(request, closed_); }));
  spdlog::info("{}: checkpoint of step {} stored, {} bytes", lease_.job(), checkpoint.step(), file.size_bytes);
  return absl::OkStatus();
}

}  // namespace pactory
