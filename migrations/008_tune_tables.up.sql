-- What changes all the time is vacuumed after few changes and without pauses, so that a queue's tables stay as small as
-- the queue; what only grows, after a share of it.
ALTER TABLE job_ready SET (autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 500);
ALTER TABLE job_lease SET (autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 500);
ALTER TABLE worker SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
ALTER TABLE blob_upload SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
ALTER TABLE superseded_checkpoint SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
ALTER TABLE job SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200,
  autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE job_event SET (autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE job_metric SET (autovacuum_vacuum_insert_scale_factor = 0.05);

-- For the sweep: jobs in the order of their end.
CREATE INDEX job_end ON job (end_time) WHERE end_time IS NOT NULL;
