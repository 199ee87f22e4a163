#include "storage/joint_statement.h"

#include <future>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "tests/postgres/test_database.h"

namespace pactory {
namespace {

using Answer = std::future<absl::StatusOr<pqxx::result>>;

// Transactions that wait for a lock which the test holds, so that it is known who comes meanwhile.
class JointStatementTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    Sql("CREATE TABLE probe (value integer)");
    gate_ = std::make_unique<pqxx::connection>(url_);
    Close();
  }
  void Close() { pqxx::nontransaction(*gate_).exec("SELECT pg_advisory_lock(1)"); }
  void Open() { pqxx::nontransaction(*gate_).exec("SELECT pg_advisory_unlock(1)"); }

  Answer Come(int value) {
    return std::async(std::launch::async, [this, value] { return joint_->Run({absl::StrCat(value)}); });
  }
  // A first caller, whose transaction is under way.
  Answer First(int value) {
    Answer first = Come(value);
    AwaitThat([this] { return Sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"; });
    return first;
  }
  std::vector<Answer> Others(const std::vector<int>& values) {
    std::vector<Answer> others;
    for (const int value : values) others.push_back(Come(value));
    AwaitThat([&] { return joint_->waiting() == values.size(); });
    return others;
  }
  static void AwaitThat(const std::function<bool()>& holds) {
    const absl::Time limit = absl::Now() + absl::Seconds(20);
    while (!holds()) ASSERT_LT(absl::Now(), limit);
  }

  std::unique_ptr<pqxx::connection> gate_;
  std::unique_ptr<JointStatement> joint_;
};

TEST_F(JointStatementTest, ThoseWhoComeWhileOneIsUnderWayShareATransaction) {
  joint_ = std::make_unique<JointStatement>(
      database_.get(), "test.joint",
      "INSERT INTO probe VALUES ($1) RETURNING value, pg_current_xact_id()::text, (SELECT count(*) FROM probe)",
      "SELECT pg_advisory_xact_lock(1)");
  Answer first = First(100);
  std::vector<Answer> others = Others({3, 1, 2});
  Open();
  const auto alone = first.get();
  ASSERT_TRUE(alone.ok()) << alone.status();
  std::set<std::string> transactions = {(*alone)[0][1].as<std::string>()};
  for (int i = 0; i < 3; ++i) {
    const auto rows = others[i].get();
    ASSERT_TRUE(rows.ok()) << rows.status();
    const int value = std::vector<int>{3, 1, 2}[i];
    EXPECT_EQ((*rows)[0][0].as<int>(), value) << "each its own rows";
    EXPECT_EQ((*rows)[0][2].as<int>(), value) << "in the order of their parameters, each after those before it";
    transactions.insert((*rows)[0][1].as<std::string>());
  }
  EXPECT_EQ(transactions.size(), 2);
}

TEST_F(JointStatementTest, WhoComesAloneWaitsForNobody) {
  joint_ = std::make_unique<JointStatement>(database_.get(), "test.joint", "SELECT $1::text");
  const auto rows = joint_->Run({"it's \\ \"quoted\""});
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0][0].as<std::string>(), "it's \\ \"quoted\"");
}

TEST_F(JointStatementTest, ParametersArriveAsTheyAre) {
  joint_ = std::make_unique<JointStatement>(database_.get(), "test.joint", "SELECT $1::text, $2::bytea = '\\x275c00'",
                                            "SELECT 1");
  const auto rows = joint_->Run({"it's \\ \"quoted\"; $1", "\\x275c00"});
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0][0].as<std::string>(), "it's \\ \"quoted\"; $1");
  EXPECT_TRUE((*rows)[0][1].as<bool>());
}

TEST_F(JointStatementTest, AFailureIsOnlyTheCallersOwn) {
  joint_ = std::make_unique<JointStatement>(database_.get(), "test.joint", "INSERT INTO probe VALUES (60 / $1::integer) RETURNING value",
                                            "SELECT pg_advisory_xact_lock_shared(1)");
  Answer first = First(60);
  std::vector<Answer> others = Others({1, 0, 2});
  Open();
  EXPECT_TRUE(first.get().ok());
  EXPECT_EQ((*others[0].get())[0][0].as<int>(), 60);
  EXPECT_TRUE(absl::IsInternal(others[1].get().status()));
  EXPECT_EQ((*others[2].get())[0][0].as<int>(), 30);
  EXPECT_EQ(Sql("SELECT count(*) FROM probe"), "3");
}

TEST_F(JointStatementTest, WhereTheDatabaseIsLostEverybodyHearsOfIt) {
  joint_ = std::make_unique<JointStatement>(database_.get(), "test.joint", "INSERT INTO probe VALUES ($1)",
                                            "SELECT pg_advisory_xact_lock(1)");
  Answer first = First(0);
  std::vector<Answer> others = Others({1, 2, 3});
  Open();
  EXPECT_TRUE(first.get().ok());
  for (Answer& other : others) EXPECT_TRUE(other.get().ok());

  Close();
  first = First(4);
  others = Others({5, 6});
  const std::string waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> ";
  const std::string pid = Sql("SELECT pid FROM pg_locks WHERE NOT granted");
  Sql("SELECT pg_terminate_backend(" + pid + ")");
  EXPECT_EQ(ReasonOf(first.get().status()), "DATABASE_UNAVAILABLE");
  // The next transaction has a new connection, and two callers.
  AwaitThat([&] { return Sql(waits + pid) == "1"; });
  Sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted");
  for (Answer& other : others) EXPECT_EQ(ReasonOf(other.get().status()), "DATABASE_UNAVAILABLE");
  EXPECT_EQ(Sql("SELECT count(*) FROM probe"), "4");
  Open();
  EXPECT_TRUE(joint_->Run({"7"}).ok());
}

// Of a deferred constraint the database tells at the end of the transaction, when it has answered the statements.
TEST_F(JointStatementTest, AFailureOfTheCommitTakesNobodysRows) {
  Sql("CREATE TABLE once (value integer UNIQUE DEFERRABLE INITIALLY DEFERRED)");
  joint_ = std::make_unique<JointStatement>(database_.get(), "test.joint", "INSERT INTO once VALUES ($1)",
                                            "SELECT pg_advisory_xact_lock_shared(1)");
  Answer first = First(0);
  std::vector<Answer> others = Others({1, 0, 2});
  Open();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(others[0].get().ok());
  EXPECT_FALSE(others[1].get().ok());
  EXPECT_TRUE(others[2].get().ok());
  EXPECT_EQ(Sql("SELECT string_agg(value::text, ',' ORDER BY value) FROM once"), "0,1,2");
}

}  // namespace
}  // namespace pactory
