// The wrapper around every RPC: request id, authentication, log line, latency, and the last net for exceptions.
// Used by every service; a handler never runs without it. Thread-safe, but for one Call, which one task at a time uses.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/authentication.h"
#include "server/thread_pool.h"
#include "server/server_metrics.h"

namespace pactory {

/// Who may call a method.
enum class Access {
  kUser,
  kWorker,
  /// Users for themselves; workers under a lease, in the name of the job's tenant.
  kUserOrLease,
};

/// How often a method is called: what comes every few seconds is logged at level debug.
enum class Traffic { kRare, kFrequent };

/// What the wrapper knows of a method.
struct Method {
  /// Like `JobService/CreateJob`.
  const char* name;
  Access access;
  Traffic traffic = Traffic::kRare;
};

/// What every call needs. Shared by all services of a server.
struct CallContext {
  ThreadPool* threads = nullptr;
  Authenticator* authenticator = nullptr;
  ServerMetrics* metrics = nullptr;
};

/// One call, from its start to its status.
class Call {
 public:
  /// Takes the request id from metadata `x-request-id` where the client sent one, and sends it back as trailing
  /// metadata.
  Call(const CallContext& context, grpc::CallbackServerContext* grpc_context, const Method& method);

  /// Finds out who calls, and whether the caller may. Blocks on the database.
  absl::Status Authenticate();

  /// Runs `fn`; an exception becomes INTERNAL with an error id that the log explains.
  absl::Status Guard(const std::function<absl::Status()>& fn) const;

  /// Logs and counts the call; returns what the client gets. Once per call.
  grpc::Status End(const absl::Status& status);

  const Caller& caller() const { return caller_; }
  const std::string& request_id() const { return request_id_; }

 private:
  const CallContext context_;
  grpc::CallbackServerContext* const grpc_context_;
  const Method method_;
  const absl::Time start_;
  std::string request_id_;
  Caller caller_;
};

/// Returns RESOURCE_EXHAUSTED: the thread pool's queue is full.
absl::Status Overloaded();

/// Runs a unary handler on the thread pool: authentication, then `handler`, then the status.
grpc::ServerUnaryReactor* RunUnary(const CallContext& context, grpc::CallbackServerContext* grpc_context,
                                   const Method& method, std::function<absl::Status(const Call&)> handler);

}  // namespace pactory
