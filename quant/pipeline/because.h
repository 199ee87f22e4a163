// The reason that an error of a stage carries for machines. Used by the stages. Stateless.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// Returns `status` with a reason (base/error.h) where it has none of its own; OK and CANCELLED stay as they are.
absl::Status Because(const absl::Status& status, absl::string_view reason);

}  // namespace pactory::quant
