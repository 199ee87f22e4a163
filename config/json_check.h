// Finds what does not fit a message in a JSON text, and says where by path. protobuf's parser stops at the same places but
// names only the last field. Stateless.
#pragma once

#include <google/protobuf/descriptor.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pactory {

/// Returns INVALID_ARGUMENT with the path of the first unknown field, unknown enum value or value of the wrong kind.
absl::Status CheckJsonAgainst(const google::protobuf::Descriptor& message, absl::string_view json);

}  // namespace pactory
