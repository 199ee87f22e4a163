// How tenants share the workers: whoever had least slot time by its weight comes next (stride scheduling, Waldspurger 1995). A
// start is charged the tenant's mean length, and the attempt's end corrects the charge to what it took. Only for .cc files
// of storage/: it pulls libpqxx in. Stateless.
#pragma once

#include <pqxx/pqxx>
#include <string>
#include <vector>

namespace pactory {

/// SQL, a CTE for the statement that queues a job of tenant $1 by a CTE `made`: a tenant that comes back from a pause starts
/// level with the one that is least far, so that nobody saves up slot time. Changes nothing for a tenant that waits or runs.
inline constexpr char kJoinTheLine[] = R"sql(joined AS (
  INSERT INTO tenant_share (tenant_id, pass)
  SELECT $1::uuid, coalesce(
    (SELECT min(s.pass) FROM tenant_share s WHERE s.tenant_id <> $1::uuid
      AND (s.running > 0 OR EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = s.tenant_id))),
    (SELECT max(s.pass) FROM tenant_share s), 0)
  FROM made
  WHERE NOT EXISTS (SELECT 1 FROM job_ready r WHERE r.tenant_id = $1::uuid)
    AND NOT EXISTS (SELECT 1 FROM tenant_share s WHERE s.tenant_id = $1::uuid AND s.running > 0)
  ON CONFLICT (tenant_id) DO UPDATE SET pass = greatest(tenant_share.pass, excluded.pass)
))sql";

/// SQL, a CTE after a CTE `leased` (tenant_id, charged) of at most one row: charges the start. `within` tells whether the
/// tenant's running jobs are still within its limit, as the row's lock makes certain.
inline constexpr char kChargeTheStart[] = R"sql(share AS (
  INSERT INTO tenant_share (tenant_id, pass, running)
  SELECT leased.tenant_id, leased.charged / tenant.weight, 1 FROM leased JOIN tenant ON tenant.id = leased.tenant_id
  ON CONFLICT (tenant_id) DO UPDATE SET pass = tenant_share.pass + excluded.pass, running = tenant_share.running + 1
  RETURNING tenant_id, running
))sql";

/// An attempt whose lease is gone.
struct EndedAttempt {
  std::string tenant_id;
  /// Slot seconds charged at its start.
  double charged = 0;
  /// Slot seconds it took.
  double ran = 0;
};

/// Corrects the charges of ended attempts. The last statement of its transaction: others wait for these rows.
void SettleShares(pqxx::transaction_base& transaction, const std::vector<EndedAttempt>& ended);

}  // namespace pactory
