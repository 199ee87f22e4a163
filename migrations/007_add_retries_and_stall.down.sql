DROP TABLE superseded_checkpoint;
ALTER TABLE job_event DROP COLUMN detail;
ALTER TABLE job_lease DROP COLUMN stall, DROP COLUMN stall_time;
ALTER TABLE job DROP COLUMN failed_attempts, DROP COLUMN batch_halved, DROP COLUMN stall;
