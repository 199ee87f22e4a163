#include "server/call.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "server/grpc_status.h"

namespace pactory {
namespace {

constexpr char kRequestIdHeader[] = "x-request-id";

// Only what can't break a log line is taken over from a client.
bool IsRequestId(const grpc::string_ref& text) {
  constexpr size_t kMaxLength = 64;
  if (text.empty() || text.size() > kMaxLength) return false;
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

std::string RequestIdOf(const grpc::CallbackServerContext& context) {
  const auto header = context.client_metadata().find(kRequestIdHeader);
  if (header != context.client_metadata().end() && IsRequestId(header->second)) {
    return std::string(header->second.data(), header->second.size());
  }
  return RandomHex(8);
}

absl::Status CheckAccess(Access access, TokenKind kind) {
  const bool allowed = access == Access::kUserOrLease || (access == Access::kUser) == (kind == TokenKind::kUser);
  if (allowed) return absl::OkStatus();
  return WithReason(
      absl::PermissionDeniedError(access == Access::kUser ? "this call needs a token of kind user, not worker"
                                                          : "this call needs a token of kind worker, not user"),
      "WRONG_TOKEN_KIND");
}

}  // namespace

Call::Call(const CallContext& context, grpc::CallbackServerContext* grpc_context, const Method& method)
    : context_(context),
      grpc_context_(grpc_context),
      method_(method),
      start_(absl::Now()),
      request_id_(RequestIdOf(*grpc_context)) {
  grpc_context_->AddTrailingMetadata(kRequestIdHeader, request_id_);
}

absl::Status Call::Authenticate() {
  PACTORY_ASSIGN_OR_RETURN(caller_, context_.authenticator->Authenticate(grpc_context_->client_metadata()));
  return CheckAccess(method_.access, caller_.kind);
}

absl::Status Call::Guard(const std::function<absl::Status()>& fn) const {
  const auto caught = [this](const char* what) {
    const std::string error_id = RandomHex(4);
    spdlog::error("{} request={} error_id={} exception: {}", method_.name, request_id_, error_id, what);
    return absl::InternalError(absl::StrCat("the server failed; its log says more under error_id=", error_id));
  };
  try {
    return fn();
  } catch (const std::exception& exception) {
    return caught(exception.what());
  } catch (...) {
    return caught("unknown");
  }
}

grpc::Status Call::End(const absl::Status& status) {
  const absl::Duration took = absl::Now() - start_;
  const std::string code = absl::StatusCodeToString(status.code());
  context_.metrics->AddRpc(method_.name, code, took);
  auto level = method_.traffic == Traffic::kFrequent ? spdlog::level::debug : spdlog::level::info;
  if (absl::IsInternal(status) || absl::IsDataLoss(status) || absl::IsUnknown(status)) level = spdlog::level::err;
  if (!status.ok() && level == spdlog::level::debug) level = spdlog::level::info;
  spdlog::log(level, "{} request={} tenant={} token={} code={} ms={:.1f}{}{}", method_.name, request_id_,
              caller_.tenant_id.empty() ? "-" : caller_.tenant_id,
              caller_.token_name.empty() ? "-" : caller_.token_name, code, absl::ToDoubleMilliseconds(took),
              status.ok() ? "" : " ", std::string(status.message()));
  return ToGrpcStatus(status, request_id_);
}

absl::Status Overloaded() {
  return WithReason(absl::ResourceExhaustedError("the server has too many calls waiting; try again in a moment"),
                    "OVERLOADED");
}

grpc::ServerUnaryReactor* RunUnary(const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                   const Method& method, std::function<absl::Status(const Call&)> handler) {
  grpc::ServerUnaryReactor* reactor = grpc_context->DefaultReactor();
  auto call = std::make_shared<Call>(context, grpc_context, method);
  const bool queued = context.threads->TrySubmit([call, reactor, grpc_context, handler = std::move(handler)] {
    // Nobody waits for the answer any more: leave the database alone.
    if (grpc_context->IsCancelled())
      return reactor->Finish(call->End(absl::CancelledError("the client gave the call up")));
    const absl::Status status = call->Guard([&] {
      PACTORY_RETURN_IF_ERROR(call->Authenticate());
      return handler(*call);
    });
    reactor->Finish(call->End(status));
  });
  if (!queued) reactor->Finish(call->End(Overloaded()));
  return reactor;
}

}  // namespace pactory
