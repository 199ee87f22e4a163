ALTER TABLE job_ready ADD CONSTRAINT job_ready_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE;
ALTER TABLE job_lease ADD CONSTRAINT job_lease_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE;
ALTER TABLE job_event ADD CONSTRAINT job_event_job_id_fkey FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE;
