-- A chunk's checksum was found wrong: the next upload of the content replaces the chunks.
ALTER TABLE blob ADD COLUMN damaged boolean NOT NULL DEFAULT false;
