#include "storage/metric_store.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tests/storage/queue_fixture.h"

namespace pactory {
namespace {

class MetricStoreTest : public QueueTest {
 protected:
  static v1::ReportMetricsRequest Batch(int64_t number, const std::vector<std::pair<std::string, double>>& metrics) {
    v1::ReportMetricsRequest request;
    request.set_batch(number);
    for (const auto& [name, value] : metrics) {
      v1::Metric& metric = *request.add_metrics();
      metric.set_name(name);
      metric.set_step(number);
      metric.set_value(value);
      metric.mutable_time()->set_seconds(1700000000 + number);
      metric.mutable_time()->set_nanos(250000000);
    }
    return request;
  }
};

TEST_F(MetricStoreTest, MetricsComeBackInOrderAndExact) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  const double infinite = std::numeric_limits<double>::infinity();
  ASSERT_TRUE(
      metrics_
          ->Append(lease, Batch(1, {{"train/loss", 0.1}, {"alpha/\"q\\uote\" {,}", -infinite}, {"nan", std::nan("")}}))
          .ok());
  ASSERT_TRUE(metrics_->Append(lease, Batch(2, {{"train/loss", 1e-300}})).ok());
  const auto since = metrics_->ReadSince(id, 0, 100);
  ASSERT_TRUE(since.ok()) << since.status();
  ASSERT_EQ(since->metrics.size(), 4);
  EXPECT_EQ(since->metrics[0].value(), 0.1);
  EXPECT_EQ(since->metrics[0].time().nanos(), 250000000);
  EXPECT_EQ(since->metrics[1].name(), "alpha/\"q\\uote\" {,}");
  EXPECT_EQ(since->metrics[1].value(), -infinite);
  EXPECT_TRUE(std::isnan(since->metrics[2].value()));
  EXPECT_EQ(since->metrics[3].value(), 1e-300);
  EXPECT_TRUE(metrics_->ReadSince(id, since->sequence, 100)->metrics.empty());
  EXPECT_EQ(metrics_->ReadSince(id, 0, 3)->metrics.size(), 3);
}

TEST_F(MetricStoreTest, ABatchSentAgainIsDropped) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(metrics_->Append(lease, Batch(1, {{"a", 1}})).ok());
  ASSERT_TRUE(metrics_->Append(lease, Batch(1, {{"a", 1}})).ok());
  ASSERT_TRUE(metrics_->Append(lease, Batch(2, {{"a", 2}})).ok());
  EXPECT_EQ(metrics_->ReadSince(id, 0, 100)->metrics.size(), 2);
}

TEST_F(MetricStoreTest, ListsTheNewestAttemptByPrefixInPages) {
  const std::string id = NewJob();
  const LeaseRef lost = Claim();
  ASSERT_TRUE(metrics_->Append(lost, Batch(1, {{"train/loss", 9}})).ok());
  Expire(lost);
  ASSERT_TRUE(leases_->Reap().ok());
  const LeaseRef lease = Claim();
  // A new lease counts its batches anew.
  ASSERT_TRUE(
      metrics_->Append(lease, Batch(1, {{"train/loss", 1}, {"eval/top1", 0.5}, {"train/loss", 2}, {"train/loss", 3}}))
          .ok());
  std::vector<double> values;
  PageRequest page = {.size = 2, .token = ""};
  do {
    const auto response = metrics_->List(tenant_, id, page, "train/");
    ASSERT_TRUE(response.ok()) << response.status();
    for (const v1::Metric& metric : response->metrics()) values.push_back(metric.value());
    page.token = response->next_page_token();
  } while (!page.token.empty());
  EXPECT_EQ(values, (std::vector<double>{1, 2, 3}));
}

}  // namespace
}  // namespace pactory
