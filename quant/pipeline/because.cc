#include "quant/pipeline/because.h"

#include "base/error.h"

namespace pactory::quant {

absl::Status Because(const absl::Status& status, absl::string_view reason) {
  if (status.ok() || absl::IsCancelled(status) || !ReasonOf(status).empty()) return status;
  return WithReason(status, reason);
}

}  // namespace pactory::quant
