#include "server/queue_glance.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace pactory {
namespace {

TEST(QueueGlanceTest, AThousandWhoAskTogetherCostOneLook) {
  std::atomic<int> looks = 0;
  QueueGlance glance(
      [&]() -> absl::StatusOr<bool> {
        ++looks;
        return false;
      },
      absl::Hours(1));
  std::vector<std::thread> workers;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([&] {
      for (int j = 0; j < 125; ++j) glance.MayHoldJobs();
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(looks, 1);
  EXPECT_FALSE(glance.MayHoldJobs());
}

TEST(QueueGlanceTest, LooksAnewWhenTheLastLookIsOld) {
  bool holds = false;
  QueueGlance glance([&]() -> absl::StatusOr<bool> { return holds; }, absl::ZeroDuration());
  EXPECT_FALSE(glance.MayHoldJobs());
  holds = true;
  EXPECT_TRUE(glance.MayHoldJobs());
}

TEST(QueueGlanceTest, AFailedLookIsLeftToTheClaim) {
  QueueGlance glance([]() -> absl::StatusOr<bool> { return absl::UnavailableError("no database"); }, absl::Hours(1));
  EXPECT_TRUE(glance.MayHoldJobs());
}

}  // namespace
}  // namespace pactory
