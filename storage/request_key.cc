#include "storage/request_key.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace pactory {

absl::Status RequestIdReused(const RequestKey& key) {
  return InvalidField("request_id", absl::StrCat("must be new for a request with other content: ", key.id));
}

}  // namespace pactory
