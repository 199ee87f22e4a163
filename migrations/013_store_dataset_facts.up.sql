-- pactory.v1.Dataset with what the inspection of the file found. Of datasets made before nothing is known here: what does not fit a model
-- is then the trainer's to find.
ALTER TABLE dataset ADD COLUMN facts bytea NOT NULL DEFAULT '';
ALTER TABLE dataset ALTER COLUMN facts DROP DEFAULT, DROP COLUMN sample_dims, DROP COLUMN labelled;
