#include "storage/metric_store.h"

#include <pqxx/pqxx>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "storage/job_rows.h"
#include "storage/statement.h"

namespace pactory {
namespace {

// The update of the lease's row serialises the writers of one job, so that its sequence numbers appear in order.
constexpr Statement kAppendMetrics = {"metric.append", R"sql(
WITH held AS MATERIALIZED (
  UPDATE job_lease SET metric_batch = $3 WHERE job_id = $1 AND fence = $2 AND metric_batch < $3 RETURNING job_id, fence
)
INSERT INTO job_metric (job_id, fence, batch, name, step, value, time)
SELECT held.job_id, held.fence, $3, m.name, m.step, m.value, timestamptz 'epoch' + m.micros * interval '1 microsecond'
FROM held, unnest($4::text[], $5::bigint[], $6::double precision[], $7::bigint[]) WITH ORDINALITY
  AS m (name, step, value, micros, place)
ORDER BY m.place)sql"};

// Only the days that the job may have metrics of are looked at.
#define PACTORY_DAYS_OF_JOB "m.day >= (SELECT (create_time AT TIME ZONE 'utc')::date FROM job WHERE id = $1) "

constexpr char kList[] =
    "SELECT m.name, m.step, m.value, " PACTORY_MICROS("m.time") ", m.sequence "
    "FROM job_metric m JOIN job j ON j.id = m.job_id AND j.fence = m.fence "
    "WHERE m.job_id = $1 AND " PACTORY_DAYS_OF_JOB "AND m.sequence > $2 AND starts_with(m.name, $4) ORDER BY m.sequence LIMIT $3";

constexpr Statement kSince = {
    "metric.since",
    "SELECT m.name, m.step, m.value, " PACTORY_MICROS("m.time") ", m.sequence FROM job_metric m "
    "WHERE m.job_id = $1 AND " PACTORY_DAYS_OF_JOB "AND m.sequence > $2 ORDER BY m.sequence LIMIT $3"};

v1::Metric MetricOf(const pqxx::row& row) {
  v1::Metric metric;
  metric.set_name(row[0].as<std::string>());
  metric.set_step(row[1].as<int64_t>());
  metric.set_value(row[2].as<double>());
  *metric.mutable_time() = TimestampOf(row[3]);
  return metric;
}

absl::Status CheckOwner(pqxx::transaction_base& statement, const std::string& tenant_id, const std::string& job_id) {
  const pqxx::result found =
      statement.exec_params("SELECT 1 FROM job WHERE tenant_id = $1 AND id = $2", tenant_id, job_id);
  return found.empty() ? JobNotFound(job_id) : absl::OkStatus();
}

}  // namespace

absl::Status MetricStore::Append(const LeaseRef& lease, const v1::ReportMetricsRequest& request) {
  std::vector<std::string> names;
  std::vector<std::string> steps;
  std::vector<std::string> values;
  std::vector<std::string> times;
  for (const v1::Metric& metric : request.metrics()) {
    names.push_back(metric.name());
    steps.push_back(absl::StrCat(metric.step()));
    values.push_back(absl::StrFormat("%.17g", metric.value()));
    times.push_back(absl::StrCat(metric.time().seconds() * 1000000 + metric.time().nanos() / 1000));
  }
  return database_.Query("metric.append", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result stored = Run(statement, kAppendMetrics, lease.job_id, lease.fence, request.batch(), ArrayOf(names),
                                    ArrayOf(steps), ArrayOf(values), ArrayOf(times));
    if (stored.affected_rows() > 0) return absl::OkStatus();
    // Nothing was stored: an empty batch or one that came before is fine, a lost lease is not.
    const pqxx::result held =
        statement.exec_params("SELECT 1 FROM job_lease WHERE job_id = $1 AND fence = $2", lease.job_id, lease.fence);
    return held.empty() ? LeaseLost(lease) : absl::OkStatus();
  });
}

absl::StatusOr<MetricsSince> MetricStore::ReadSince(const std::string& job_id, int64_t after_sequence, int limit) {
  MetricsSince since;
  since.sequence = after_sequence;
  PACTORY_RETURN_IF_ERROR(database_.Query("metric.since", [&](pqxx::transaction_base& statement) {
    const pqxx::result rows = Run(statement, kSince, job_id, after_sequence, limit);
    for (const auto& row : rows) {
      since.metrics.push_back(MetricOf(row));
      since.sequence = row[4].as<int64_t>();
    }
    return absl::OkStatus();
  }));
  return since;
}

absl::StatusOr<v1::ListMetricsResponse> MetricStore::List(const std::string& tenant_id, const std::string& job_id,
                                                          const PageRequest& page, const std::string& name_prefix) {
  if (!IsUuid(job_id)) return JobNotFound(job_id);
  const std::string scope = absl::StrCat("metrics|", tenant_id, "|", job_id, "|", name_prefix);
  PageCursor after;
  if (!page.token.empty()) {
    PACTORY_ASSIGN_OR_RETURN(after, DecodePageToken(page.token, scope));
  }
  v1::ListMetricsResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("metric.list", [&](pqxx::transaction_base& statement) -> absl::Status {
    PACTORY_RETURN_IF_ERROR(CheckOwner(statement, tenant_id, job_id));
    const pqxx::result rows = statement.exec_params(kList, job_id, after.position, page.size + 1, name_prefix);
    for (const auto& row : rows) {
      if (response.metrics_size() == page.size) {
        response.set_next_page_token(EncodePageToken({rows[page.size - 1][4].as<int64_t>(), ""}, scope));
        break;
      }
      *response.add_metrics() = MetricOf(row);
    }
    return absl::OkStatus();
  }));
  return response;
}

absl::StatusOr<v1::ListArtifactsResponse> MetricStore::ListArtifacts(const std::string& tenant_id,
                                                                     const std::string& job_id,
                                                                     const PageRequest& page) {
  if (!IsUuid(job_id)) return JobNotFound(job_id);
  const std::string scope = absl::StrCat("artifacts|", tenant_id, "|", job_id);
  PageCursor after;
  if (!page.token.empty()) {
    PACTORY_ASSIGN_OR_RETURN(after, DecodePageToken(page.token, scope));
  }
  v1::ListArtifactsResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("artifact.list", [&](pqxx::transaction_base& statement) -> absl::Status {
    PACTORY_RETURN_IF_ERROR(CheckOwner(statement, tenant_id, job_id));
    const pqxx::result rows = statement.exec_params(
        "SELECT a.name, b.sha256, b.size_bytes, a.media_type FROM artifact a JOIN blob b ON b.id = a.blob_id "
        "WHERE a.job_id = $1 AND a.name > $2 ORDER BY a.name LIMIT $3",
        job_id, after.id, page.size + 1);
    for (const auto& row : rows) {
      if (response.artifacts_size() == page.size) {
        response.set_next_page_token(EncodePageToken({0, rows[page.size - 1][0].as<std::string>()}, scope));
        break;
      }
      v1::Artifact& artifact = *response.add_artifacts();
      artifact.set_name(absl::StrCat("jobs/", job_id, "/artifacts/", row[0].as<std::string>()));
      artifact.set_blob(absl::StrCat("blobs/", row[1].as<std::string>()));
      artifact.set_size_bytes(row[2].as<int64_t>());
      artifact.set_media_type(row[3].as<std::string>());
    }
    return absl::OkStatus();
  }));
  return response;
}

}  // namespace pactory
