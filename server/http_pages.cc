#include "server/http_pages.h"

#include <google/protobuf/util/json_util.h>
#include <httplib.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/listen_address.h"
#include "server/prometheus_text.h"
#include "server/status_page.h"

namespace pactory {
namespace {

constexpr int kThreads = 4;

// Of a large queue it takes longer to count the jobs than to say that the database is there.
constexpr std::chrono::minutes kStatusGoodFor(1);

constexpr char kText[] = "text/plain; charset=utf-8";

}  // namespace

HttpPages::HttpPages(const Parts& parts)
    : parts_(parts),
      ready_(
          [this]() -> absl::StatusOr<bool> {
            PACTORY_RETURN_IF_ERROR(parts_.status_store->Ping());
            return true;
          },
          {}),
      status_([this] { return parts_.status->Read(""); }, {.good_for = kStatusGoodFor}),
      server_(std::make_unique<httplib::Server>()) {}

HttpPages::~HttpPages() {
  server_->stop();
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::unique_ptr<HttpPages>> HttpPages::Start(const Parts& parts, const std::string& address) {
  PACTORY_ASSIGN_OR_RETURN(const ListenAddress listen, ParseListenAddress(address));
  std::unique_ptr<HttpPages> pages(new HttpPages(parts));
  httplib::Server& server = *pages->server_;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  pages->AddRoutes();
  const int port = listen.port == 0 ? server.bind_to_any_port(listen.host.c_str())
                                    : (server.bind_to_port(listen.host.c_str(), listen.port) ? listen.port : -1);
  if (port <= 0)
    return absl::UnavailableError(absl::StrCat("the HTTP address can't be listened on; is it in use? ", address));
  pages->address_ = JoinHostPort(listen.host, port);
  pages->thread_ = std::thread([&server] { server.listen_after_bind(); });
  // A stop before the thread listens would be lost, and the thread never end.
  while (!server.is_running()) std::this_thread::yield();
  return pages;
}

void HttpPages::AddRoutes() {
  server_->set_default_headers(
      {{"X-Content-Type-Options", "nosniff"}, {"X-Frame-Options", "DENY"}, {"Cache-Control", "no-store"}});
  server_->Get("/healthz",
               [](const httplib::Request&, httplib::Response& response) { response.set_content("ok\n", kText); });
  server_->Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
    const bool ready = Ready();
    response.status = ready ? 200 : 503;
    response.set_content(ready ? "ready\n" : "the database does not answer\n", kText);
  });
  server_->Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(MetricsText(), "text/plain; version=0.0.4; charset=utf-8");
  });
  server_->Get("/status", [this](const httplib::Request&, httplib::Response& response) {
    const auto status = Status();
    google::protobuf::util::JsonPrintOptions options;
    options.always_print_primitive_fields = true;
    options.preserve_proto_field_names = true;
    std::string json;
    const auto printed = google::protobuf::util::MessageToJsonString(
        status.ok() ? *status : parts_.status->WithoutDatabase(), &json, options);
    if (!printed.ok()) response.status = 500;
    response.set_content(json, "application/json");
  });
  server_->Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_header(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'");
    response.set_content(kStatusPage, "text/html; charset=utf-8");
  });
}

absl::StatusOr<v1::GetStatusResponse> HttpPages::Status() {
  PACTORY_RETURN_IF_ERROR(ready_.Get().status());
  return status_.Get();
}

std::string HttpPages::MetricsText() {
  std::string text;
  AppendGauge(text, "pactory_database_up", "Whether the database answers.", Ready() ? 1 : 0);
  const auto status = Status();
  if (status.ok()) AppendStatusMetrics(text, *status);
  AppendPoolMetrics(text, "metadata", parts_.database->Stats());
  AppendPoolMetrics(text, "blobs", parts_.chunks->Stats());
  AppendGauge(text, "pactory_executor_queue_length", "Calls that wait for a thread.", parts_.threads->QueueLength());
  parts_.metrics->AppendTo(text);
  return text;
}

}  // namespace pactory
