// Random identifiers. Thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace pactory {

/// Returns a random UUID (version 4) in its canonical lower-case form.
std::string NewUuid();

/// Whether `text` is a UUID in canonical form, lower or upper case.
bool IsUuid(absl::string_view text);

/// Returns `bytes` random bytes from the system's generator as lower-case hex.
std::string RandomHex(int bytes);

/// Returns the id of a resource name: `("jobs", "jobs/abc")` gives `abc`; "" where the name is not of that collection.
std::string IdOf(absl::string_view collection, absl::string_view name);

}  // namespace pactory
