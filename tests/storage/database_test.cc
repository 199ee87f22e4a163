#include "storage/database.h"

#include <pqxx/pqxx>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/synchronization/mutex.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "storage/job_store.h"
#include "storage/notification_listener.h"
#include "storage/sql_state.h"
#include "tests/postgres/temporary_postgres.h"
#include "tests/postgres/test_database.h"

namespace pactory {
namespace {

using DatabaseErrorTest = DatabaseTest;

absl::Status Exec(Database& database, const std::string& sql) {
  return database.Query("test", [&](pqxx::transaction_base& statement) {
    statement.exec(sql);
    return absl::OkStatus();
  });
}

TEST_F(DatabaseErrorTest, ViolationsHaveCodesOfTheirOwn) {
  EXPECT_TRUE(absl::IsAlreadyExists(Exec(*database_, "INSERT INTO tenant (name) VALUES ('default')")));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Exec(*database_, "INSERT INTO blob (tenant_id, sha256, size_bytes) VALUES (gen_random_uuid(), 'x', 1)")));
  const absl::Status bad = Exec(*database_, "SELECT secret FROM nowhere");
  EXPECT_TRUE(absl::IsInternal(bad));
  EXPECT_EQ(bad.message().find("nowhere"), std::string::npos) << "SQL must not reach the client: " << bad;
}

TEST_F(DatabaseErrorTest, WorkThatFailsIsRolledBack) {
  const absl::Status status = database_->Transact("test", [](pqxx::transaction_base& transaction) -> absl::Status {
    transaction.exec("INSERT INTO tenant (name) VALUES ('half')");
    return absl::CancelledError("no");
  });
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_EQ(Sql("SELECT count(*) FROM tenant WHERE name = 'half'"), "0");
}

TEST_F(DatabaseErrorTest, AKilledConnectionIsReplaced) {
  const absl::Status killed = Exec(*database_, "SELECT pg_terminate_backend(pg_backend_pid())");
  EXPECT_TRUE(absl::IsUnavailable(killed)) << killed;
  EXPECT_EQ(ReasonOf(killed), "DATABASE_UNAVAILABLE");
  EXPECT_TRUE(Exec(*database_, "SELECT 1").ok());
}

TEST_F(DatabaseErrorTest, AStatementThatMustNotBeRepeatedIsInDoubtWhereItWasSentAndNotWhereItWasNot) {
  const auto once = [](Database& database, const std::string& sql) {
    return database.QueryOnce("test", [&](pqxx::transaction_base& statement) {
      statement.exec(sql);
      return absl::OkStatus();
    });
  };
  EXPECT_TRUE(absl::IsUnknown(once(*database_, "SELECT pg_terminate_backend(pg_backend_pid())")));
  EXPECT_TRUE(once(*database_, "SELECT 1").ok());
  const auto nowhere = Database::Open({.url = "postgresql://127.0.0.1:1/none", .pool_size = 1});
  EXPECT_EQ(ReasonOf(once(**nowhere, "SELECT 1")), "DATABASE_UNAVAILABLE");
}

// What the server closes while a connection is idle costs no caller an error.
TEST_F(DatabaseErrorTest, IdleConnectionsThatDiedAreNotLent) {
  const auto other = Database::Open({.url = url_, .pool_size = 1});
  Sql("SELECT 1");
  ASSERT_TRUE(Exec(**other,
                   "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid "
                   "<> pg_backend_pid()")
                  .ok());
  // A backend that was told to end takes a moment; its own connection is the only one left then.
  const auto count_others = [&] {
    int others = -1;
    EXPECT_TRUE((*other)
                    ->Query("test",
                            [&](pqxx::transaction_base& statement) {
                              others = statement
                                           .exec1(
                                               "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                                               "current_database() AND pid <> pg_backend_pid()")[0]
                                           .as<int>();
                              return absl::OkStatus();
                            })
                    .ok());
    return others;
  };
  while (count_others() != 0) std::this_thread::yield();
  EXPECT_TRUE(Exec(*database_, "SELECT 1").ok());
}

TEST_F(DatabaseErrorTest, APoolIsBounded) {
  const auto small = Database::Open({.url = url_, .pool_size = 1, .pool_wait = absl::Milliseconds(50)});
  absl::Notification holding;
  absl::Notification release;
  std::thread holder([&] {
    (void)(*small)->Query("hold", [&](pqxx::transaction_base&) {
      holding.Notify();
      release.WaitForNotification();
      return absl::OkStatus();
    });
  });
  holding.WaitForNotification();
  EXPECT_TRUE(absl::IsResourceExhausted(Exec(**small, "SELECT 1")));
  EXPECT_EQ((*small)->Stats().in_use, 1);
  release.Notify();
  holder.join();
  EXPECT_TRUE(Exec(**small, "SELECT 1").ok());
}

TEST(DatabaseUrlTest, ABadUrlIsRefusedWithoutBeingRepeated) {
  const auto database = Database::Open({.url = "mysql://me:secret@host/x y"});
  EXPECT_TRUE(absl::IsInvalidArgument(database.status()));
  EXPECT_EQ(database.status().message().find("secret"), std::string::npos);
}

TEST(DatabaseUrlTest, AnUnreachableServerIsUnavailable) {
  const auto database = Database::Open({.url = "postgresql:///x?host=/nonexistent"});
  ASSERT_TRUE(database.ok());
  EXPECT_TRUE(absl::IsUnavailable(Exec(**database, "SELECT 1")));
}

TEST(SqlStateTest, PassingTroubleIsUnavailable) {
  for (const char* state : {"57P01", "53300", "08006", "57014", "55P03"})
    EXPECT_TRUE(absl::IsUnavailable(StatusOfSqlState("q", state, ""))) << state;
  EXPECT_EQ(ReasonOf(StatusOfSqlState("q", "40P01", "")), "CONFLICT");
}

using NotificationListenerTest = DatabaseTest;

TEST_F(NotificationListenerTest, HearsNotificationsAndSaysWhenItMayHaveMissedSome) {
  absl::Mutex mutex;
  std::vector<std::string> heard;
  NotificationListener listener(database_->connection_string(), kJobChannel, [&](const std::string& payload) {
    absl::MutexLock lock(&mutex);
    heard.push_back(payload);
  });
  const auto wait_for = [&](size_t count) {
    const auto enough = [&] { return heard.size() >= count; };
    absl::MutexLock lock(&mutex);
    return mutex.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
  };
  ASSERT_TRUE(wait_for(1));
  Sql("SELECT pg_notify('pactory_job', 'abc')");
  ASSERT_TRUE(wait_for(2));
  Sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = "
      "current_database()");
  ASSERT_TRUE(wait_for(3));
  absl::MutexLock lock(&mutex);
  EXPECT_EQ(heard, (std::vector<std::string>{"", "abc", ""}));
}

TEST_F(NotificationListenerTest, OneAnnouncementIsForAllJobsQueuedBeforeIt) {
  JobStore jobs(database_.get());
  absl::Notification connected;
  absl::Notification queued;
  NotificationListener listener(database_->connection_string(), kJobChannel, [&](const std::string& payload) {
    if (payload.empty()) connected.Notify();
    if (payload == kJobsQueued) queued.Notify();
  });
  ASSERT_TRUE(connected.WaitForNotificationWithTimeout(absl::Seconds(10)));
  EXPECT_TRUE(jobs.WantsAnnouncement());
  EXPECT_FALSE(jobs.WantsAnnouncement()) << "the first is about to";
  ASSERT_TRUE(jobs.Announce().ok());
  EXPECT_TRUE(queued.WaitForNotificationWithTimeout(absl::Seconds(10)));
  EXPECT_TRUE(jobs.WantsAnnouncement()) << "who comes later is not covered";
}

}  // namespace
}  // namespace pactory
