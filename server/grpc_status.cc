#include "server/grpc_status.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace pactory {
namespace {

// A peer takes 8 KiB of headers, and each byte beyond ASCII travels as three.
constexpr size_t kMaxMessage = 2000;
constexpr size_t kMaxDetail = 300;

constexpr int kRetrySeconds = 1;

// Cuts at a character's start, so that the text stays UTF-8.
std::string Cut(absl::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

std::string ReasonOrCode(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return reason.empty() ? absl::StatusCodeToString(status.code()) : reason;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& request_id) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(Cut(status.message(), kMaxDetail));

  google::rpc::ErrorInfo info;
  info.set_reason(ReasonOrCode(status));
  info.set_domain("pactory");
  (*info.mutable_metadata())["request_id"] = request_id;
  const std::string field = FieldOf(status);
  if (!field.empty()) (*info.mutable_metadata())["field"] = Cut(field, kMaxDetail);
  details.add_details()->PackFrom(info);

  if (!field.empty()) {
    google::rpc::BadRequest bad_request;
    auto& violation = *bad_request.add_field_violations();
    violation.set_field(Cut(field, kMaxDetail));
    violation.set_description(Cut(status.message(), kMaxDetail));
    details.add_details()->PackFrom(bad_request);
  }
  if (absl::IsUnavailable(status) || (absl::IsResourceExhausted(status) && info.reason() != "QUOTA_EXCEEDED")) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kRetrySeconds);
    details.add_details()->PackFrom(retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Cut(status.message(), kMaxMessage),
                      details.SerializeAsString());
}

}  // namespace pactory
