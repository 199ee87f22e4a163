#include "client/retry.h"

#include "absl/time/clock.h"
#include "client/backoff.h"
#include "client/rpc_status.h"

namespace pactory {

absl::Status RetryTransient(const Cancellation& cancellation, absl::Duration patience,
                            const std::function<absl::Status()>& call) {
  Backoff backoff;
  const absl::Time start = absl::Now();
  while (true) {
    const absl::Status status = call();
    if (!IsTransient(status) || absl::Now() - start > patience) return status;
    if (cancellation.WaitFor(backoff.Next())) return status;
  }
}

}  // namespace pactory
