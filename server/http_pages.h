// The server's pages over HTTP: /healthz, /readyz, /metrics, /status and a page for people. They need no token and show
// every tenant's jobs, so they are for the operator: by default on the loopback address only. Each answers within 3 s, whatever
// the database does. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/fresh_answer.h"
#include "server/thread_pool.h"
#include "server/server_metrics.h"
#include "server/status_service.h"
#include "storage/blob_chunks.h"
#include "storage/database.h"

namespace httplib {
class Server;
}

namespace pactory {

class HttpPages {
 public:
  struct Parts {
    StatusReader* status = nullptr;
    StatusStore* status_store = nullptr;
    Database* database = nullptr;
    BlobChunks* chunks = nullptr;
    ServerMetrics* metrics = nullptr;
    ThreadPool* threads = nullptr;
  };

  /// Serves on `host:port`, 0 for any free port, until destruction. INVALID_ARGUMENT for an address that is none,
  /// UNAVAILABLE where the port is taken.
  static absl::StatusOr<std::unique_ptr<HttpPages>> Start(const Parts& parts, const std::string& address);
  ~HttpPages();

  /// Address as it is, like `127.0.0.1:7448`.
  const std::string& address() const { return address_; }

 private:
  explicit HttpPages(const Parts& parts);
  void AddRoutes();
  bool Ready() { return ready_.Get().ok(); }
  /// An error where the database does not answer.
  absl::StatusOr<v1::GetStatusResponse> Status();
  std::string MetricsText();

  const Parts parts_;
  std::string address_;
  FreshAnswer<bool> ready_;
  FreshAnswer<v1::GetStatusResponse> status_;
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
};

}  // namespace pactory
