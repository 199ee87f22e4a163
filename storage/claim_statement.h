// The statement that leases the next job to a worker. Only for .cc files of storage/. Stateless.
#pragma once

#include "storage/tenant_share.h"

namespace pactory {

/// SQL, a recursive CTE: the first job of each line of the queue. Walks the index from one line's first job to the next (a loose
/// index scan), so its time does not depend on how many wait.
inline constexpr char kLines[] = R"sql(line AS (
  (SELECT tenant_id, worker_kind, memory_gib, priority, create_time, ready_time FROM job_ready
   ORDER BY tenant_id, worker_kind, memory_gib, priority, create_time, job_id LIMIT 1)
  UNION ALL
  SELECT next.* FROM line CROSS JOIN LATERAL (
    SELECT r.tenant_id, r.worker_kind, r.memory_gib, r.priority, r.create_time, r.ready_time FROM job_ready r
    WHERE (r.tenant_id, r.worker_kind, r.memory_gib) > (line.tenant_id, line.worker_kind, line.memory_gib)
    ORDER BY r.tenant_id, r.worker_kind, r.memory_gib, r.priority, r.create_time, r.job_id LIMIT 1) next
))sql";

/// SQL, CTEs after kLines: the claim for worker $1 with a lease of $2; kChargeTheStart and kStart stand after it.
///
/// One statement is one transaction: the job leaves the queue, starts, is leased and charged, or none of it. `fitting` keeps
/// the lines that the worker can serve in the order of turns, `first` locks the first free job of the first line that has one.
/// Claims of all servers come one after the other (kClaimsInTurn): two slots of a worker must not both count on its last memory.
inline constexpr char kClaimFirst[] = R"sql(
, me AS MATERIALIZED (
  SELECT w.gpu, w.job_memory_gib - (SELECT coalesce(sum(l.memory_gib), 0) FROM job_lease l WHERE l.worker_id = w.id) AS free_gib
  FROM worker w WHERE w.id = $1
), seen AS (
  UPDATE worker SET last_seen_time = now() WHERE id = $1 AND last_seen_time < now() - interval '30 s'
), fitting AS MATERIALIZED (
  SELECT line.*, s.mean_seconds AS charged
  FROM line CROSS JOIN me JOIN tenant_standing s ON s.tenant_id = line.tenant_id
  WHERE (line.worker_kind = 'ANY' OR (line.worker_kind = 'GPU') = me.gpu)
    AND (line.memory_gib = 0 OR line.memory_gib <= me.free_gib)
    AND (s.max_running IS NULL OR s.running < s.max_running)
  ORDER BY s.pass, line.tenant_id, line.priority, line.create_time
), first AS MATERIALIZED (
  SELECT free.job_id, fitting.tenant_id, fitting.charged FROM fitting CROSS JOIN LATERAL (
    SELECT r.job_id FROM job_ready r
    WHERE r.tenant_id = fitting.tenant_id AND r.worker_kind = fitting.worker_kind AND r.memory_gib = fitting.memory_gib
      AND r.ready_time <= now()
    ORDER BY r.priority, r.create_time, r.job_id LIMIT 1 FOR UPDATE SKIP LOCKED) free
  LIMIT 1
), )sql";

/// SQL, CTEs after kChargeTheStart: the job whose start was granted leaves the queue, is leased and starts. IS TRUE keeps the
/// planner from the index of states, which looks as good as that of ids where no statistics tell how many jobs wait. The lease's
/// times are counted from when the locks were had: now() may be long past by then.
inline constexpr char kStart[] = R"sql(
, taken AS (
  DELETE FROM job_ready USING first, granted
  WHERE job_ready.job_id = first.job_id AND granted.tenant_id = first.tenant_id RETURNING job_ready.job_id, first.charged
), started AS (
  UPDATE job SET state = 'RUNNING', attempt = attempt + 1, fence = fence + 1, worker_id = $1::uuid,
    start_time = clock_timestamp(), progress = NULL
  FROM taken WHERE job.id = taken.job_id AND (job.state = 'PENDING') IS TRUE RETURNING job.*, taken.charged
), leased AS (
  INSERT INTO job_lease (job_id, fence, tenant_id, worker_id, lease_until, deadline_time, stall, stall_time, memory_gib, charged)
  SELECT id, fence, tenant_id, worker_id, clock_timestamp() + $2::interval, start_time + deadline, stall, start_time + stall,
    memory_gib, charged
  FROM started
), logged AS (
  INSERT INTO job_event (job_id, kind, fence, worker_id) SELECT id, 'LEASED', fence, worker_id FROM started
)
)sql";

/// SQL that keeps the claims of all servers out of a transaction's way until its end. Those that one transaction makes for several
/// workers lock tenants' shares in the order of turns, which moves on meanwhile; without it two of them could deadlock.
inline constexpr char kClaimsInTurn[] = "SELECT pg_advisory_xact_lock(7021948350128)";

}  // namespace pactory
