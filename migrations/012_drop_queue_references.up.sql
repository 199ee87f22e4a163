-- Rows that come and go with every attempt no longer refer to their job: each such insert would lock the job's row. The statements
-- that end a job or remove it take these rows along.
ALTER TABLE job_ready DROP CONSTRAINT job_ready_job_id_fkey;
ALTER TABLE job_lease DROP CONSTRAINT job_lease_job_id_fkey;
ALTER TABLE job_event DROP CONSTRAINT job_event_job_id_fkey;
