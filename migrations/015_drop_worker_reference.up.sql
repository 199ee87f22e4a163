-- A job keeps the name of its last worker also when that worker is forgotten. The reference cost each start a lock of the worker's
-- row, and the end of each forgotten worker a look at every job.
ALTER TABLE job DROP CONSTRAINT job_worker_id_fkey;
