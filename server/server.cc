#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "server/blob_service.h"
#include "server/dataset_service.h"
#include "server/http_pages.h"
#include "server/job_service.h"
#include "server/listen_address.h"
#include "server/model_service.h"
#include "server/reaper.h"
#include "server/server_credentials.h"
#include "server/status_service.h"
#include "server/sweeper.h"
#include "server/worker_service.h"
#include "storage/migrator.h"
#include "storage/notification_listener.h"

namespace pactory {
namespace {

// Uploads come in messages of at most 2 MiB; nothing else is as large.
constexpr int kMaxMessageBytes = 4 << 20;
constexpr int kMaxStreamsPerConnection = 100;
// What a client may send ahead of the database's pace, in bytes. Left to itself gRPC grows this with the bandwidth, to
// tens of MiB per upload; with 4 MiB a path of 100 ms still carries 40 MiB/s.
constexpr int kLookaheadBytes = 4 << 20;
constexpr int kMinPingIntervalMs = 10000;
constexpr int kHandshakeTimeoutMs = 10000;

absl::Status CheckExposure(const ServerOptions& options) {
  PACTORY_ASSIGN_OR_RETURN(const ListenAddress grpc, ParseListenAddress(options.listen));
  if (!grpc.loopback && options.tls_cert_file.empty() &&
      options.exposure != ServerOptions::Exposure::kPublicWithoutTls) {
    return absl::FailedPreconditionError(
        absl::StrCat("--listen must be a loopback address unless the traffic is encrypted: ", grpc.host,
                     "; give --tls-cert and --tls-key, or --insecure-public if you accept that tokens and jobs can be "
                     "read on the network"));
  }
  PACTORY_ASSIGN_OR_RETURN(const ListenAddress http, ParseListenAddress(options.http_listen));
  if (!http.loopback && options.http_exposure != ServerOptions::Exposure::kPublicWithoutTls) {
    return absl::FailedPreconditionError(
        absl::StrCat("--http-listen must be a loopback address: ", http.host,
                     "; put a proxy with TLS before 127.0.0.1, or give --http-public if every machine that reaches the "
                     "address may see every tenant's jobs"));
  }
  return absl::OkStatus();
}

absl::Status CheckSchema(Database& database) {
  PACTORY_ASSIGN_OR_RETURN(const int version, SchemaVersion(database));
  const int wanted = static_cast<int>(EmbeddedMigrations().size());
  if (version == wanted) return absl::OkStatus();
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          "the database's schema must be at version ", wanted, ", and is at ", version,
          version < wanted ? "; run `pactory-server migrate`, or give --migrate" : "; use a newer server")),
      "SCHEMA_VERSION");
}

}  // namespace

// In the order of their making; what comes later uses what comes before, and is destroyed first.
struct Server::Parts {
  explicit Parts(const ServerOptions& options, std::unique_ptr<Database> opened)
      : options(options),
        database(std::move(opened)),
        chunks(database->connection_string(), options.blob_connections),
        tokens(database.get()),
        blobs(database.get(), &chunks),
        models(database.get()),
        datasets(database.get()),
        jobs(database.get()),
        leases(database.get(), options.lease_term, options.retry_wait),
        job_metrics(database.get()),
        workers(database.get()),
        status_store(database.get()),
        status(&status_store, &workers),
        authenticator(&tokens),
        admission(&models, &datasets, &workers),
        threads(options.database_threads, options.queue_limit),
        listener(database->connection_string(), kJobChannel,
                 [this](const std::string& job) {
                   if (job.empty()) return wakeups.SignalAll();
                   if (job == kJobsQueued) return wakeups.BeginTurn(kQueueTopic);
                   wakeups.Signal(job);
                 }),
        reaper({.leases = &leases, .wakeups = &wakeups, .metrics = &metrics}, options.reap_every,
               options.preempt_after),
        retention(database.get(), &blobs),
        sweeper(&retention, &metrics, options.retention, options.sweep_every),
        context{.threads = &threads, .authenticator = &authenticator, .metrics = &metrics},
        model_service(context, &models, &blobs),
        dataset_service(context, &datasets, &blobs),
        job_service(context, &jobs, &job_metrics, &admission, &wakeups),
        blob_service(context, {.blobs = &blobs, .leases = &leases, .max_bytes = options.max_blob_bytes}),
        worker_service(context, {.leases = &leases,
                                 .metrics = &job_metrics,
                                 .workers = &workers,
                                 .wakeups = &wakeups,
                                 .heartbeat_interval = options.heartbeat_interval}),
        status_service(context, &status) {}

  absl::Status StartGrpc();
  absl::Status StartHttp();

  const ServerOptions options;
  const std::unique_ptr<Database> database;
  BlobChunks chunks;
  TokenStore tokens;
  BlobStore blobs;
  ModelStore models;
  DatasetStore datasets;
  JobStore jobs;
  LeaseStore leases;
  MetricStore job_metrics;
  WorkerStore workers;
  StatusStore status_store;
  StatusReader status;
  ServerMetrics metrics;
  Authenticator authenticator;
  JobAdmission admission;
  Wakeups wakeups;
  ThreadPool threads;
  NotificationListener listener;
  Reaper reaper;
  RetentionStore retention;
  Sweeper sweeper;
  const CallContext context;
  ModelService model_service;
  DatasetService dataset_service;
  JobService job_service;
  BlobService blob_service;
  WorkerService worker_service;
  StatusService status_service;
  std::unique_ptr<grpc::Server> grpc_server;
  std::string grpc_address;
  std::unique_ptr<HttpPages> pages;
};

absl::Status Server::Parts::StartGrpc() {
  PACTORY_ASSIGN_OR_RETURN(const ListenAddress listen, ParseListenAddress(options.listen));
  PACTORY_ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(options.tls_cert_file, options.tls_key_file));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  // Two servers on one port would share its calls without anybody noticing.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int port = 0;
  builder.AddListeningPort(JoinHostPort(listen.host, listen.port), credentials, &port);
  builder.RegisterService(&model_service);
  builder.RegisterService(&dataset_service);
  builder.RegisterService(&job_service);
  builder.RegisterService(&blob_service);
  builder.RegisterService(&worker_service);
  builder.RegisterService(&status_service);
  grpc_server = builder.BuildAndStart();
  if (grpc_server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("the gRPC address can't be listened on; is it in use? ", options.listen));
  }
  grpc_address = JoinHostPort(listen.host, port);
  return absl::OkStatus();
}

absl::Status Server::Parts::StartHttp() {
  PACTORY_ASSIGN_OR_RETURN(pages, HttpPages::Start({.status = &status,
                                                    .status_store = &status_store,
                                                    .database = database.get(),
                                                    .chunks = &chunks,
                                                    .metrics = &metrics,
                                                    .threads = &threads},
                                                   options.http_listen));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  PACTORY_RETURN_IF_ERROR(CheckExposure(options));
  PACTORY_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                           Database::Open({.url = options.database_url, .pool_size = options.database_threads + 2}));
  PACTORY_RETURN_IF_ERROR(CheckSchema(*database));
  auto parts = std::make_unique<Parts>(options, std::move(database));
  PACTORY_RETURN_IF_ERROR(parts->retention.MakeMetricDays());
  PACTORY_RETURN_IF_ERROR(parts->StartHttp());
  PACTORY_RETURN_IF_ERROR(parts->StartGrpc());
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() { Stop(); }

void Server::Stop() {
  if (parts_->grpc_server == nullptr) return;
  parts_->grpc_server->GetHealthCheckService()->Shutdown();
  parts_->wakeups.Stop();
  parts_->grpc_server->Shutdown(absl::ToChronoTime(absl::Now() + parts_->options.shutdown_grace));
  parts_->grpc_server->Wait();
  parts_->grpc_server.reset();
  parts_->pages.reset();
}

const std::string& Server::grpc_address() const { return parts_->grpc_address; }

const std::string& Server::http_address() const { return parts_->pages->address(); }

}  // namespace pactory
