// The statement that ends an attempt. Only for .cc files of storage/. Stateless.
#pragma once

#include "storage/tenant_share.h"

namespace pactory {

/// SQL: ends the attempt of job $1 under fence $2, whose job was seen in state $3, as a JobOutcome says; kSettleTheEnd stands
/// after it, and `SELECT ran FROM ended`, which is empty where nothing was changed: the lease is gone, the job's state is another
/// by now, or a blob of the artifacts (names $13, SHA-256 $14, media types $15) is not whole.
///
/// One statement is one transaction: the lease ends, and the job is published, ended or queued again, or none of it. The lease's
/// row is always locked before the job's; the other order could deadlock. Locked rows are looked at as they are by then, so a
/// cancel comes before or finds the job ended; IS TRUE is for the planner, as in kStart. An ended job resumes nothing, and one
/// with another batch starts anew: their checkpoint is put down for removal. Pauses have jitter, so that the jobs of a host that
/// failed do not come back together.
inline constexpr char kEndAttempt[] = R"sql(
WITH held AS MATERIALIZED (
  SELECT job_id, tenant_id, progress, charged FROM job_lease WHERE job_id = $1 AND fence = $2 FOR UPDATE
), brought AS MATERIALIZED (
  SELECT a.name, a.media_type, blob.id AS blob_id
  FROM held CROSS JOIN unnest($13::text[], $14::text[], $15::text[]) AS a (name, sha256, media_type)
  LEFT JOIN blob ON blob.tenant_id = held.tenant_id AND blob.sha256 = a.sha256 AND blob.complete_time IS NOT NULL
), locked AS MATERIALIZED (
  SELECT held.*, job.checkpoint_blob_id FROM held JOIN job ON job.id = held.job_id
  WHERE job.fence = $2 AND (job.state = $3::job_state) IS TRUE AND NOT EXISTS (SELECT 1 FROM brought WHERE blob_id IS NULL)
  FOR UPDATE OF job
), ended AS (
  UPDATE job SET state = $4::job_state, progress = coalesce(locked.progress, ''),
    error_reason = CASE WHEN $4 = 'FAILED' THEN $5 END, error_message = CASE WHEN $4 = 'FAILED' THEN nullif($6, '') END,
    lost_attempts = lost_attempts + $7::integer, failed_attempts = failed_attempts + $8::integer,
    end_time = CASE WHEN $4 <> 'PENDING' THEN now() END,
    spec = coalesce($9::bytea, spec), batch_halved = batch_halved OR $9::bytea IS NOT NULL,
    checkpoint_blob_id = CASE WHEN $4 = 'PENDING' AND $9::bytea IS NULL THEN job.checkpoint_blob_id END,
    checkpoint_step = CASE WHEN $4 = 'PENDING' AND $9::bytea IS NULL THEN checkpoint_step END
  FROM locked WHERE job.id = locked.job_id
  RETURNING job.*, locked.charged, extract(epoch FROM now() - start_time)::double precision AS ran
), dropped AS (
  DELETE FROM job_lease USING ended WHERE job_lease.job_id = ended.id
), published AS (
  INSERT INTO artifact (job_id, name, fence, blob_id, media_type)
  SELECT ended.id, brought.name, ended.fence, brought.blob_id, brought.media_type FROM ended CROSS JOIN brought
), superseded AS (
  INSERT INTO superseded_checkpoint (blob_id)
  SELECT locked.checkpoint_blob_id FROM locked JOIN ended ON ended.id = locked.job_id
  WHERE locked.checkpoint_blob_id IS NOT NULL AND ended.checkpoint_blob_id IS NULL
  ON CONFLICT (blob_id) DO UPDATE SET time = now()
), queued AS (
  INSERT INTO job_ready (job_id, tenant_id, worker_kind, memory_gib, priority, create_time, ready_time)
  SELECT id, tenant_id, worker_kind, memory_gib, priority, create_time, now() + $10::interval * (0.5 + random() / 2)
  FROM ended WHERE state = 'PENDING'
), logged AS (
  INSERT INTO job_event (job_id, kind, fence, worker_id, detail)
  SELECT id, $11, fence, worker_id, nullif($12, '') FROM ended
), )sql";

}  // namespace pactory
