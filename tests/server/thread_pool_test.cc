#include "server/thread_pool.h"

#include <atomic>
#include <string>
#include <vector>

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
  wakeups.WaitOnce("a", absl::InfiniteFuture(), [&](int64_t) { ++woken; });
  wakeups.WaitOnce("b", absl::Now() + absl::Milliseconds(30), [&](int64_t) { due.Notify(); });
  wakeups.Signal("a");
  wakeups.Signal("a");
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(due.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST(WakeupsTest, ATurnWakesTheLongestWaiterAndIsPassedOnToThoseWhoWaitedOnly) {
  Wakeups wakeups;
  std::vector<std::string> woken;
  int64_t turn = 0;
  const auto wait = [&](const std::string& name) {
    wakeups.WaitForTurn("queue", wakeups.Moment(), absl::InfiniteFuture(), [&, name](int64_t given) {
      woken.push_back(name);
      turn = given;
    });
  };
  wait("first");
  wait("second");
  wakeups.BeginTurn("queue");
  EXPECT_EQ(woken, std::vector<std::string>({"first"}));
  wait("first again");
  wakeups.PassOn("queue", turn);
  EXPECT_EQ(woken.back(), "second");
  wakeups.PassOn("queue", turn);
  EXPECT_EQ(woken.size(), 2) << "who came after the turn began is no part of it";
  wakeups.BeginTurn("queue");
  EXPECT_EQ(woken.back(), "first again");
}

TEST(WakeupsTest, ATurnThatBeganBeforeTheWaitIsNotMissed) {
  Wakeups wakeups;
  const int64_t looked = wakeups.Moment();
  wakeups.BeginTurn("queue");
  absl::Notification woken;
  wakeups.WaitForTurn("queue", looked, absl::InfiniteFuture(), [&](int64_t) { woken.Notify(); });
  EXPECT_TRUE(woken.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST(WakeupsTest, AStopWakesThoseWhoWaitAndThoseWhoCome) {
  Wakeups wakeups;
  absl::Notification before;
  absl::Notification after;
  wakeups.WaitOnce("a", absl::InfiniteFuture(), [&](int64_t) { before.Notify(); });
  wakeups.Stop();
  EXPECT_TRUE(before.HasBeenNotified());
  wakeups.WaitOnce("a", absl::InfiniteFuture(), [&](int64_t) { after.Notify(); });
  EXPECT_TRUE(after.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

}  // namespace
}  // namespace pactory
