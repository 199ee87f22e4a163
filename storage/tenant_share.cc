#include "storage/tenant_share.h"

#include <map>

namespace pactory {
namespace {

// A start costs something by itself: jobs shorter than a second count as one.
constexpr char kSettle[] = R"sql(
UPDATE tenant_share s SET running = s.running - 1,
  pass = s.pass + (greatest($3::double precision, 1) - $2::double precision) / t.weight,
  mean_seconds = 0.9 * s.mean_seconds + 0.1 * greatest($3::double precision, 1)
FROM tenant t WHERE t.id = s.tenant_id AND s.tenant_id = $1)sql";

}  // namespace

void SettleShares(pqxx::transaction_base& transaction, const std::vector<EndedAttempt>& ended) {
  // In one order for all, so that two reapers do not wait for each other.
  std::multimap<std::string, EndedAttempt> by_tenant;
  for (const EndedAttempt& attempt : ended) by_tenant.emplace(attempt.tenant_id, attempt);
  for (const auto& [tenant_id, attempt] : by_tenant) {
    transaction.exec_params0(kSettle, tenant_id, attempt.charged, attempt.ran);
  }
}

}  // namespace pactory
