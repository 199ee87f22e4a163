#include "storage/doctor_store.h"

#include <pqxx/pqxx>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/storage/queue_fixture.h"

namespace pactory {
namespace {

using testing::HasSubstr;
using Level = Finding::Level;

class DoctorTest : public QueueTest {
 protected:
  Finding Examine(const std::string& check, const DoctorLimits& limits = {}) {
    const auto findings = DoctorStore(database_.get()).Examine(limits);
    EXPECT_TRUE(findings.ok()) << findings.status();
    for (const Finding& finding : *findings) {
      if (finding.check == check) return finding;
    }
    ADD_FAILURE() << "no finding of " << check;
    return {};
  }
};

TEST_F(DoctorTest, AQueueAtWorkIsWell) {
  NewJob();
  NewJob();
  Claim();
  const auto findings = DoctorStore(database_.get()).Examine({});
  ASSERT_TRUE(findings.ok()) << findings.status();
  EXPECT_GE(findings->size(), 10);
  for (const Finding& finding : *findings) EXPECT_EQ(finding.level, Level::kOk) << finding.check << ": " << finding.text;
}

TEST_F(DoctorTest, AnOldSchemaIsTheOnlyFinding) {
  Sql("DELETE FROM schema_migration WHERE number = (SELECT max(number) FROM schema_migration)");
  const auto findings = DoctorStore(database_.get()).Examine({});
  ASSERT_EQ(findings->size(), 1);
  EXPECT_EQ(findings->front().level, Level::kProblem);
  EXPECT_THAT(findings->front().text, HasSubstr("pactory-server migrate"));
}

TEST_F(DoctorTest, ALeaseThatNobodyTakesBackIsAProblem) {
  NewJob();
  Claim();
  Sql("UPDATE job_lease SET lease_until = now() - interval '1 minute'");
  EXPECT_EQ(Examine("leases").level, Level::kOk);
  Sql("UPDATE job_lease SET lease_until = now() - interval '3 minutes'");
  EXPECT_EQ(Examine("leases").level, Level::kProblem);
  EXPECT_EQ(Examine("leases").value, 1);
}

TEST_F(DoctorTest, AJobInNoPlaceOrInTwoIsAProblem) {
  const std::string id = NewJob();
  EXPECT_EQ(Examine("jobs").level, Level::kOk);
  Sql("DELETE FROM job_ready");
  EXPECT_EQ(Examine("jobs").level, Level::kProblem);
  EXPECT_THAT(Examine("jobs").text, HasSubstr(id));
}

TEST_F(DoctorTest, AQueueWithoutAWorkerIsAProblem) {
  NewJob();
  Sql("UPDATE worker SET last_seen_time = now() - interval '1 hour'");
  EXPECT_EQ(Examine("queue").level, Level::kProblem);
  NewWorker();
  EXPECT_EQ(Examine("queue").level, Level::kOk);
  Sql("UPDATE job_ready SET ready_time = now() - interval '25 hours'");
  EXPECT_EQ(Examine("queue").level, Level::kWarning);
}

TEST_F(DoctorTest, BlobsThatTheSweepLeftAreAWarning) {
  NewBlob(tenant_, "nobody's");
  EXPECT_EQ(Examine("unused_blobs").level, Level::kOk);
  Sql("UPDATE blob SET use_time = now() - interval '3 days'");
  EXPECT_EQ(Examine("unused_blobs").level, Level::kWarning);
  EXPECT_EQ(Examine("unused_blobs").value, 1) << "the model's and the dataset's are referred to";
}

TEST_F(DoctorTest, ADamagedBlobIsNamed) {
  const std::string sha256 = NewBlob(tenant_, "rotten");
  Sql("UPDATE blob_chunk SET data = set_byte(data, 3, 1)");
  EXPECT_EQ(Examine("damaged_blobs").level, Level::kOk) << "nobody has read it";
  BlobChunks chunks(database_->connection_string(), 1);
  BlobStore blobs(database_.get(), &chunks);
  EXPECT_FALSE(blobs.ReadExactly(*blobs.Find(tenant_, sha256), 0, 1).ok());
  EXPECT_EQ(Examine("damaged_blobs").level, Level::kProblem);
  EXPECT_THAT(Examine("damaged_blobs").text, HasSubstr(sha256));
}

TEST_F(DoctorTest, AWrongCountOfRunningJobsIsMendedByTheStatementThatIsNamed) {
  NewJob();
  Claim();
  EXPECT_EQ(Examine("shares").level, Level::kOk);
  Sql("UPDATE tenant_share SET running = running + 2");
  const Finding finding = Examine("shares");
  EXPECT_EQ(finding.level, Level::kProblem);
  EXPECT_THAT(finding.text, HasSubstr("default"));
  Sql(finding.text.substr(finding.text.find("DELETE FROM")));
  EXPECT_EQ(Examine("shares").level, Level::kOk);
}

TEST_F(DoctorTest, ConnectionsThatRunShortAreAWarning) {
  const Finding few = Examine("connections");
  EXPECT_EQ(few.level, Level::kOk);
  EXPECT_THAT(few.text, HasSubstr("of " + Sql("SHOW max_connections")));
  std::vector<std::unique_ptr<pqxx::connection>> idle;
  const auto most = std::stoi(Sql("SHOW max_connections"));
  const auto reserved = std::stoi(Sql("SHOW superuser_reserved_connections"));
  while (static_cast<int>(idle.size() + few.value) < most * 9 / 10 + 1 && static_cast<int>(idle.size()) < most - reserved) {
    idle.push_back(std::make_unique<pqxx::connection>(database_->connection_string()));
  }
  EXPECT_EQ(Examine("connections").level, Level::kWarning);
}

TEST_F(DoctorTest, ATransactionHeldOpenIsNamedByItsPid) {
  pqxx::connection session(database_->connection_string());
  pqxx::work transaction(session);
  const auto pid = transaction.exec1("SELECT pg_backend_pid()")[0].as<std::string>();
  EXPECT_EQ(Examine("oldest_transaction").level, Level::kOk);
  DoctorLimits limits;
  limits.oldest_transaction = absl::ZeroDuration();
  const Finding finding = Examine("oldest_transaction", limits);
  EXPECT_EQ(finding.level, Level::kProblem);
  EXPECT_THAT(finding.text, HasSubstr("pg_terminate_backend(" + pid + ")"));
}

TEST_F(DoctorTest, AHotTableThatGrewIsAWarning) {
  DoctorLimits limits;
  limits.hot_table_bytes = 1;
  EXPECT_EQ(Examine("bloat_job_lease", limits).level, Level::kWarning);
  EXPECT_EQ(Examine("bloat_job_lease").level, Level::kOk);
}

}  // namespace
}  // namespace pactory
