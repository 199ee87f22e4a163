DROP INDEX job_end;
ALTER TABLE job_metric RESET (autovacuum_vacuum_insert_scale_factor);
ALTER TABLE job_event RESET (autovacuum_vacuum_insert_scale_factor);
ALTER TABLE job RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_analyze_scale_factor);
ALTER TABLE superseded_checkpoint RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE blob_upload RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE worker RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE job_lease RESET (autovacuum_vacuum_cost_delay, autovacuum_analyze_scale_factor,
  autovacuum_analyze_threshold);
ALTER TABLE job_ready RESET (autovacuum_vacuum_cost_delay, autovacuum_analyze_scale_factor,
  autovacuum_analyze_threshold);
