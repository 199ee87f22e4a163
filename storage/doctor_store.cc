#include "storage/doctor_store.h"

#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "storage/blob_references.h"
#include "storage/migrator.h"
#include "storage/row_fields.h"

namespace pactory {
namespace {

using Level = Finding::Level;

constexpr char kOverdueLeases[] = "SELECT count(*) FROM job_lease WHERE lease_until < now() - $1::interval";

// A job stands in the queue, is leased, or has ended: each in its own table and no other.
constexpr char kAstrayJobs[] = R"sql(
SELECT count(*), coalesce(min(j.id::text), '') FROM job j
LEFT JOIN job_ready r ON r.job_id = j.id LEFT JOIN job_lease l ON l.job_id = j.id
WHERE (j.state = 'PENDING') <> (r.job_id IS NOT NULL)
  OR (j.state IN ('RUNNING', 'CANCELLING')) <> (l.job_id IS NOT NULL))sql";

// The counts that limits go by, against the rows they count.
constexpr char kWrongShares[] = R"sql(
SELECT count(*), coalesce(min(t.name), '') FROM tenant t JOIN tenant_standing s ON s.tenant_id = t.id
WHERE s.running <> (SELECT count(*) FROM job_lease l WHERE l.tenant_id = t.id))sql";

constexpr char kQueueHealth[] = R"sql(
SELECT count(*), coalesce(greatest(extract(epoch FROM now() - min(ready_time)), 0), 0),
  (SELECT count(*) FROM worker WHERE last_seen_time > now() - interval '5 minutes') FROM job_ready)sql";

constexpr char kBlobsLeft[] =
    "SELECT count(*), coalesce(sum(size_bytes), 0) FROM blob b WHERE b.use_time < now() - $1::interval "
    "AND " PACTORY_UNREFERENCED;

constexpr char kDamagedBlobs[] = "SELECT count(*), coalesce(min(sha256), '') FROM blob WHERE damaged";

constexpr char kHotTables[] = R"sql(
SELECT c.relname, coalesce(s.n_dead_tup, 0), coalesce(s.n_live_tup, 0), pg_total_relation_size(c.oid)
FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.oid = ANY (ARRAY['job_ready'::regclass, 'job_lease'::regclass, 'worker'::regclass, 'blob_upload'::regclass,
  'tenant_share'::regclass, 'share_settlement'::regclass])
ORDER BY c.relname)sql";

constexpr char kOldestTransaction[] = R"sql(
SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0),
  coalesce((array_agg(pid ORDER BY xact_start))[1], 0),
  coalesce((array_agg(application_name || ' ' || state ORDER BY xact_start))[1], '')
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL)sql";

constexpr char kConnections[] = R"sql(
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  current_setting('max_connections')::integer)sql";

std::string SecondsText(double seconds) {
  return absl::FormatDuration(absl::Seconds(static_cast<int64_t>(seconds + 0.5)));
}

Finding ExamineLeases(pqxx::transaction_base& statement, const DoctorLimits& limits) {
  const auto overdue =
      statement.exec_params1(kOverdueLeases, IntervalOf(limits.lease_overdue))[0].as<int64_t>();
  if (overdue == 0) return {"leases", Level::kOk, 0, "every lease is current or was taken back in time"};
  return {"leases", Level::kProblem, static_cast<double>(overdue),
          absl::StrCat(overdue, " lease(s) ended more than ", absl::FormatDuration(limits.lease_overdue),
                       " ago and were not taken back: is a pactory-server running? see its log for `reaper:`")};
}

Finding ExamineJobs(pqxx::transaction_base& statement) {
  const pqxx::row row = statement.exec_params1(kAstrayJobs);
  const auto astray = row[0].as<int64_t>();
  if (astray == 0) return {"jobs", Level::kOk, 0, "every job is queued, leased or ended"};
  return {"jobs", Level::kProblem, static_cast<double>(astray),
          absl::StrCat(astray, " job(s) whose state and place in the queue differ, like jobs/", row[1].as<std::string>(),
                       "; was the database changed by hand, or restored in parts?")};
}

Finding ExamineShares(pqxx::transaction_base& statement) {
  const pqxx::row row = statement.exec_params1(kWrongShares);
  const auto wrong = row[0].as<int64_t>();
  if (wrong == 0) return {"shares", Level::kOk, 0, "every tenant's count of running jobs is right"};
  return {"shares", Level::kProblem, static_cast<double>(wrong),
          absl::StrCat(wrong, " tenant(s) whose count of running jobs is wrong, like ", row[1].as<std::string>(),
                       "; with every server stopped: DELETE FROM share_settlement; UPDATE tenant_share s SET running = "
                       "(SELECT count(*) FROM job_lease l WHERE l.tenant_id = s.tenant_id)")};
}

Finding ExamineQueue(pqxx::transaction_base& statement, const DoctorLimits& limits) {
  const pqxx::row row = statement.exec_params1(kQueueHealth);
  const auto queued = row[0].as<int64_t>();
  const auto age = row[1].as<double>();
  const auto workers = row[2].as<int64_t>();
  const std::string text = absl::StrCat(queued, " job(s) queued, the oldest for ", SecondsText(age), "; ", workers,
                                        " worker(s) heard of in the last 5 minutes");
  if (queued > 0 && workers == 0) return {"queue", Level::kProblem, age, text + ": start a worker"};
  if (age > absl::ToDoubleSeconds(limits.oldest_queued)) return {"queue", Level::kWarning, age, text + ": add workers"};
  return {"queue", Level::kOk, age, text};
}

Finding ExamineBlobs(pqxx::transaction_base& statement, const DoctorLimits& limits) {
  const pqxx::row row = statement.exec_params1(kBlobsLeft, IntervalOf(limits.unused_blobs));
  const auto count = row[0].as<int64_t>();
  if (count == 0) return {"unused_blobs", Level::kOk, 0, "no blob is kept that nothing refers to"};
  const double mib = row[1].as<double>() / (1 << 20);
  return {"unused_blobs", Level::kWarning, static_cast<double>(count),
          absl::StrFormat("%d blob(s), %.1f MiB, that nothing refers to and nothing used for %s: run `pactory-server gc`",
                          count, mib, absl::FormatDuration(limits.unused_blobs))};
}

Finding ExamineDamage(pqxx::transaction_base& statement) {
  const pqxx::row row = statement.exec_params1(kDamagedBlobs);
  const auto count = row[0].as<int64_t>();
  if (count == 0) return {"damaged_blobs", Level::kOk, 0, "no blob was found damaged"};
  return {"damaged_blobs", Level::kProblem, static_cast<double>(count),
          absl::StrCat(count, " blob(s) with a chunk whose checksum is wrong, like blobs/", row[1].as<std::string>(),
                       ": look after the disk, and upload the same file again, which mends it")};
}

std::vector<Finding> ExamineHotTables(pqxx::transaction_base& statement, const DoctorLimits& limits) {
  std::vector<Finding> findings;
  for (const auto& row : statement.exec(kHotTables)) {
    const auto table = row[0].as<std::string>();
    const auto dead = row[1].as<int64_t>();
    const auto live = row[2].as<int64_t>();
    const auto bytes = row[3].as<int64_t>();
    Finding finding = {absl::StrCat("bloat_", table), Level::kOk, static_cast<double>(dead),
                       absl::StrFormat("%d dead row(s), %d live, %.1f MiB", dead, live,
                                       static_cast<double>(bytes) / (1 << 20))};
    if (dead > 2 * live + limits.dead_rows || bytes > limits.hot_table_bytes) {
      finding.level = Level::kWarning;
      absl::StrAppend(&finding.text, ": vacuum can't keep up; look for an old transaction, then `VACUUM FULL ", table,
                      "` in a quiet minute");
    }
    findings.push_back(std::move(finding));
  }
  return findings;
}

Finding ExamineTransactions(pqxx::transaction_base& statement, const DoctorLimits& limits) {
  const pqxx::row row = statement.exec_params1(kOldestTransaction);
  const auto age = row[0].as<double>();
  if (age <= absl::ToDoubleSeconds(limits.oldest_transaction)) {
    return {"oldest_transaction", Level::kOk, age, absl::StrCat("the oldest open transaction is ", SecondsText(age), " old")};
  }
  return {"oldest_transaction", Level::kProblem, age,
          absl::StrCat("a transaction has been open for ", SecondsText(age), " and keeps vacuum from its work: pid=",
                       row[1].as<int>(), " (", row[2].as<std::string>(), "); end it with SELECT pg_terminate_backend(",
                       row[1].as<int>(), ")")};
}

Finding ExamineConnections(pqxx::transaction_base& statement) {
  const pqxx::row row = statement.exec_params1(kConnections);
  const auto used = row[0].as<int64_t>();
  const auto most = row[1].as<int64_t>();
  Finding finding = {"connections", Level::kOk, static_cast<double>(used),
                     absl::StrCat(used, " of ", most, " connections are in use")};
  if (used * 10 > most * 9) {
    finding.level = Level::kWarning;
    absl::StrAppend(&finding.text, ": close idle clients or raise max_connections");
  }
  return finding;
}

}  // namespace

absl::StatusOr<std::vector<Finding>> DoctorStore::Examine(const DoctorLimits& limits) {
  const int wanted = static_cast<int>(EmbeddedMigrations().size());
  PACTORY_ASSIGN_OR_RETURN(const int version, SchemaVersion(database_));
  if (version != wanted) {
    return std::vector<Finding>{{"schema", Level::kProblem, static_cast<double>(version),
                                 absl::StrCat("the schema is at version ", version, ", this program's is ", wanted,
                                              version < wanted ? ": run `pactory-server migrate`" : ": use a newer server")}};
  }
  std::vector<Finding> findings = {
      {"schema", Level::kOk, static_cast<double>(version), absl::StrCat("the schema is at version ", version)}};
  PACTORY_RETURN_IF_ERROR(database_.Query("doctor", [&](pqxx::transaction_base& statement) {
    findings.push_back(ExamineLeases(statement, limits));
    findings.push_back(ExamineJobs(statement));
    findings.push_back(ExamineShares(statement));
    findings.push_back(ExamineQueue(statement, limits));
    findings.push_back(ExamineBlobs(statement, limits));
    findings.push_back(ExamineDamage(statement));
    for (Finding& finding : ExamineHotTables(statement, limits)) findings.push_back(std::move(finding));
    findings.push_back(ExamineTransactions(statement, limits));
    findings.push_back(ExamineConnections(statement));
    return absl::OkStatus();
  }));
  return findings;
}

}  // namespace pactory
