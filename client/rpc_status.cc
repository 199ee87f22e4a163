#include "client/rpc_status.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace pactory {

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) return result;
  std::string reason;
  for (const auto& detail : details.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) {
      reason = info.reason();
    } else if (detail.UnpackTo(&bad_request) && bad_request.field_violations_size() > 0) {
      const auto& violation = bad_request.field_violations(0);
      // Details are cut shorter than the message, where that speaks of the field too.
      const std::string& message = status.error_message();
      absl::string_view problem = violation.description();
      if (problem.empty() || absl::StartsWith(message, absl::StrCat(violation.field(), ": "))) problem = message;
      // The field leads the message once, whether or not the server put it there.
      if (absl::ConsumePrefix(&problem, violation.field())) absl::ConsumePrefix(&problem, ": ");
      const absl::Status named = InvalidField(violation.field(), problem);
      result = absl::Status(result.code(), named.message());
      named.ForEachPayload([&result](absl::string_view url, const absl::Cord& payload) {
        result.SetPayload(url, payload);
      });
    }
  }
  return reason.empty() ? result : WithReason(std::move(result), reason);
}

bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return true;
    case absl::StatusCode::kResourceExhausted:
      // A tenant's limit does not pass as an overload does.
      return ReasonOf(status) != "QUOTA_EXCEEDED";
    case absl::StatusCode::kAborted:
      return !IsLeaseLost(status);
    default:
      return false;
  }
}

bool IsLeaseLost(const absl::Status& status) { return ReasonOf(status) == "LEASE_LOST"; }

}  // namespace pactory
