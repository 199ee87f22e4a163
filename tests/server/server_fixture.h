// A server in this process on a database of its own, and a channel to it, for the tests of the server.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "pactory/v1/blob.grpc.pb.h"
#include "pactory/v1/dataset.grpc.pb.h"
#include "pactory/v1/job.grpc.pb.h"
#include "pactory/v1/model.grpc.pb.h"
#include "pactory/v1/status.grpc.pb.h"
#include "pactory/v1/worker.grpc.pb.h"
#include "server/server.h"
#include "tests/postgres/test_database.h"
#include "tests/server/sample_files.h"

namespace pactory {

class ServerTest : public DatabaseTest {
 protected:
  void SetUp() override;
  void TearDown() override { server_.reset(); }

  /// Starts the server of options_, or starts it anew on the same port.
  void StartServer();

  /// Returns a context with a token and a deadline of 30 s.
  std::unique_ptr<grpc::ClientContext> Context(const std::string& token) const;

  /// Makes one unary call: `Call(&v1::ModelService::Stub::GetModel, *models_, user_, request, response)`.
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Stub& stub,
                    const std::string& token, const Request& request, Response& response) const {
    const auto context = Context(token);
    return (stub.*method)(context.get(), request, &response);
  }

  /// Uploads content in pieces of `piece` bytes and returns the answer.
  grpc::Status Upload(const std::string& token, const std::string& content, v1::WriteResponse& response,
                      size_t piece = 1 << 20);

  /// Uploads and makes a model, a dataset, a job; each must work. Returns its name.
  std::string NewModel(const std::string& token, const onnx::ModelProto& file = SmallModel());
  std::string NewDataset(const std::string& token, const std::string& file = SmallNpz(),
                         v1::Dataset::Format format = v1::Dataset::NPZ);
  v1::CreateJobRequest JobRequest(const std::string& token);
  std::string NewJob(const std::string& token);

  /// Registers a worker with these ops and returns its name.
  std::string NewWorker(const std::vector<std::string>& ops = {});
  /// Leases the next job; the answer has no lease where none came.
  v1::LeaseJobResponse Lease(const std::string& worker, int wait_seconds = 0);

  ServerOptions options_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  /// Tokens: of the default tenant, of another one, of a worker.
  std::string user_;
  std::string stranger_;
  std::string worker_token_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::DatasetService::Stub> datasets_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::BlobService::Stub> blobs_;
  std::unique_ptr<v1::StatusService::Stub> status_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
};

/// Returns the reason in a status' google.rpc.ErrorInfo, "" where there is none.
std::string ReasonOf(const grpc::Status& status);

/// Returns the field in a status' google.rpc.BadRequest, "" where there is none.
std::string FieldOf(const grpc::Status& status);

/// Whether a status tells when to try again.
bool HasRetryInfo(const grpc::Status& status);

}  // namespace pactory
