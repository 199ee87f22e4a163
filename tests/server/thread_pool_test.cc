#include "server/thread_pool.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/wakeups.h"

namespace pactory {
namespace {

TEST(ThreadPoolTest, AFullQueueRefusesAndAStopRunsWhatIsQueued) {
  std::atomic<int> ran = 0;
  absl::Notification started;
  absl::Notification release;
  {
    ThreadPool threads(1, 2);
    ASSERT_TRUE(threads.TrySubmit([&] {
      started.Notify();
      release.WaitForNotification();
    }));
    started.WaitForNotification();
    EXPECT_TRUE(threads.TrySubmit([&] { ++ran; }));
    EXPECT_TRUE(threads.TrySubmit([&] { ++ran; }));
    EXPECT_FALSE(threads.TrySubmit([&] { ++ran; }));
    EXPECT_EQ(threads.QueueLength(), 2);
    release.Notify();
  }
  EXPECT_EQ(ran, 2);
}

TEST(WakeupsTest, ASignalWakesItsTopicOnceAndTimeWakesTheRest) {
  Wakeups wakeups;
  std::atomic<int> woken = 0;
  absl::Notification due;
  wakeups.WaitOnce("a", absl::InfiniteFuture(), [&] { ++woken; });
  wakeups.WaitOnce("b", absl::Now() + absl::Milliseconds(30), [&] { due.Notify(); });
  wakeups.Signal("a");
  wakeups.Signal("a");
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(due.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST(WakeupsTest, AStopWakesThoseWhoWaitAndThoseWhoCome) {
  Wakeups wakeups;
  absl::Notification before;
  absl::Notification after;
  wakeups.WaitOnce("a", absl::InfiniteFuture(), [&] { before.Notify(); });
  wakeups.Stop();
  EXPECT_TRUE(before.HasBeenNotified());
  wakeups.WaitOnce("a", absl::InfiniteFuture(), [&] { after.Notify(); });
  EXPECT_TRUE(after.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

}  // namespace
}  // namespace pactory
