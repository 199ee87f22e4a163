#include "storage/lease_ref.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace pactory {

absl::Status LeaseLost(const LeaseRef& lease) {
  return WithReason(absl::AbortedError(absl::StrCat("the lease is no longer yours; stop the job's trainer: job=jobs/",
                                                    lease.job_id, " fence=", lease.fence)),
                    "LEASE_LOST");
}

}  // namespace pactory
