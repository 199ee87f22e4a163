#include "storage/worker_store.h"

#include <algorithm>
#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "storage/row_fields.h"
#include "storage/statement.h"

namespace pactory {
namespace {

constexpr char kRegister[] = R"sql(
INSERT INTO worker (id, display_name, capabilities, gpu, job_memory_gib, slots) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name, capabilities = excluded.capabilities,
  gpu = excluded.gpu, job_memory_gib = excluded.job_memory_gib, slots = excluded.slots, register_time = now(),
  last_seen_time = now())sql";

constexpr char kListLive[] =
    "SELECT w.id, w.display_name, w.capabilities, " PACTORY_MICROS("w.last_seen_time")
    ", (SELECT string_agg('jobs/' || l.job_id, ',' ORDER BY l.job_id) FROM job_lease l WHERE l.worker_id = w.id) "
    "FROM worker w WHERE w.last_seen_time > now() - $1::interval ORDER BY w.display_name, w.id";

constexpr Statement kLiveCapabilities = {
    "worker.capabilities", "SELECT DISTINCT capabilities FROM worker WHERE last_seen_time > now() - $1::interval"};

std::string LiveFor() { return IntervalOf(kWorkerLiveFor); }

}  // namespace

absl::Status WorkerUnknown(const std::string& id) {
  return WithReason(
      absl::NotFoundError(absl::StrCat("the worker is not known; call RegisterWorker first: workers/", id)),
      "WORKER_UNKNOWN");
}

absl::Status WorkerStore::Register(const std::string& id, const v1::Worker& worker) {
  return database_.Query("worker.register", [&](pqxx::transaction_base& statement) {
    const v1::WorkerCapabilities& capabilities = worker.capabilities();
    statement.exec_params0(kRegister, id, worker.display_name(), BytesOf(capabilities), !capabilities.gpus().empty(),
                           capabilities.job_memory_gib(), std::max(1, capabilities.slots()));
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<v1::Worker>> WorkerStore::ListLive() {
  std::vector<v1::Worker> workers;
  PACTORY_RETURN_IF_ERROR(database_.Query("worker.list_live", [&](pqxx::transaction_base& statement) -> absl::Status {
    for (const auto& row : statement.exec_params(kListLive, LiveFor())) {
      v1::Worker worker;
      worker.set_name(absl::StrCat("workers/", row[0].as<std::string>()));
      worker.set_display_name(row[1].as<std::string>());
      if (!ParseBytes(row[2], *worker.mutable_capabilities()))
        return absl::DataLossError("a stored worker can't be read");
      *worker.mutable_last_seen_time() = TimestampOf(row[3]);
      for (const absl::string_view job : absl::StrSplit(TextOr(row[4]), ',', absl::SkipEmpty()))
        worker.add_jobs(std::string(job));
      workers.push_back(std::move(worker));
    }
    return absl::OkStatus();
  }));
  return workers;
}

absl::StatusOr<std::vector<v1::WorkerCapabilities>> WorkerStore::LiveCapabilities() {
  std::vector<v1::WorkerCapabilities> live;
  PACTORY_RETURN_IF_ERROR(database_.Query("worker.capabilities", [&](pqxx::transaction_base& statement) -> absl::Status {
    for (const auto& row : Run(statement, kLiveCapabilities, LiveFor())) {
      if (!ParseBytes(row[0], live.emplace_back())) return absl::DataLossError("a stored worker can't be read");
    }
    return absl::OkStatus();
  }));
  return live;
}

}  // namespace pactory
