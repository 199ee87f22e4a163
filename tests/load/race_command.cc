#include <barrier>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "tests/load/commands.h"

namespace pactory {
namespace {

struct Racer {
  std::string name;
  absl::Status status;
  int64_t retries = 0;
};

}  // namespace

absl::Status RunRace(const LoadTarget& target, int clients, int rounds) {
  const absl::Time start = absl::Now();
  std::vector<Racer> racers(clients);
  std::string request_id = NewUuid();
  int several = 0;
  absl::Status failure;
  // All start a round together; the last one to end it judges it.
  std::barrier begin(clients);
  std::barrier end(clients, [&]() noexcept {
    std::set<std::string> names;
    for (const Racer& racer : racers) {
      if (!racer.status.ok()) failure = racer.status;
      names.insert(racer.name);
    }
    several += names.size() != 1;
    request_id = NewUuid();
  });
  std::vector<std::thread> threads;
  for (Racer& racer : racers) {
    threads.emplace_back([&] {
      LoadSession session(target);
      for (int round = 0; round < rounds; ++round) {
        begin.arrive_and_wait();
        const auto job = session.CreateJob(session.JobRequest(request_id));
        racer.status = job.status();
        racer.name = job.ok() ? job->name() : "";
        end.arrive_and_wait();
      }
      racer.retries = session.retries();
    });
  }
  for (std::thread& thread : threads) thread.join();
  int64_t retries = 0;
  for (const Racer& racer : racers) retries += racer.retries;
  std::cout << nlohmann::ordered_json{{"clients", clients},
                                      {"rounds", rounds},
                                      {"rounds_with_several_jobs", several},
                                      {"calls_made_again", retries},
                                      {"seconds", absl::ToDoubleSeconds(absl::Now() - start)}}
                   .dump()
            << std::endl;
  return failure;
}

}  // namespace pactory
