UPDATE job SET worker_id = NULL WHERE NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = job.worker_id);
ALTER TABLE job ADD CONSTRAINT job_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES worker (id) ON DELETE SET NULL;
