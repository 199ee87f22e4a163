#include "base/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

constexpr char kReasonUrl[] = "pactory/reason";
constexpr char kFieldUrl[] = "pactory/field";

std::string Payload(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  if (!status.ok()) status.SetPayload(kReasonUrl, absl::Cord(reason));
  return status;
}

std::string ReasonOf(const absl::Status& status) { return Payload(status, kReasonUrl); }

absl::Status InvalidField(absl::string_view field, absl::string_view problem) {
  absl::Status status =
      WithReason(absl::InvalidArgumentError(absl::StrCat(field, ": ", problem)), "INVALID_FIELD");
  status.SetPayload(kFieldUrl, absl::Cord(field));
  return status;
}

std::string FieldOf(const absl::Status& status) { return Payload(status, kFieldUrl); }

absl::Status Prefixed(const absl::Status& status, absl::string_view prefix) {
  absl::Status result(status.code(), absl::StrCat(prefix, status.message()));
  status.ForEachPayload([&result](absl::string_view url, const absl::Cord& payload) {
    result.SetPayload(url, payload);
  });
  return result;
}

}  // namespace pactory
