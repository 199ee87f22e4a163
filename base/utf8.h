// Whether text from outside may go into protobuf strings. Stateless.
#pragma once

#include "absl/strings/string_view.h"

namespace pactory {

/// Whether `text` is well-formed UTF-8 (RFC 3629).
bool IsUtf8(absl::string_view text);

}  // namespace pactory
