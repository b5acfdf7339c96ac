-- Assistants. `body` is the proto message as JSON without what has a column of its own.
-- Every key of every table starts with the tenant.
CREATE TABLE assistants (
  tenant_id  text        NOT NULL,
  id         text        NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  body       jsonb       NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX assistants_by_time ON assistants (tenant_id, created_at, id);
