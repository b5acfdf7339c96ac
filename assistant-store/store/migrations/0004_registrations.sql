-- Models registered at run time. They belong to the mesh, not to a tenant: a worker serves a name to
-- everybody. `body` is the ModelRegistration message as JSON without what has a column of its own.
CREATE TABLE registrations (
  name       text        NOT NULL PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  digest     text        NOT NULL,
  body       jsonb       NOT NULL,
  -- False until a worker has taken the model up: nobody is told of it before.
  accepted   boolean     NOT NULL DEFAULT false,
  -- Until then (by the database's clock) somebody is registering or replacing it, and everybody else
  -- leaves it alone, on the workers too.
  busy_until timestamptz
);

-- Every name and alias, in lower case: one model each.
CREATE TABLE registered_names (
  name         text NOT NULL PRIMARY KEY,
  registration text NOT NULL REFERENCES registrations (name) ON DELETE CASCADE
);
CREATE INDEX registered_names_by_registration ON registered_names (registration);

-- Work that one replica at a time does for all. Whoever holds the row does it, until it has been
-- silent for the length of its lease.
CREATE TABLE duties (
  duty        text        NOT NULL PRIMARY KEY,
  owner       text        NOT NULL,
  lease_until timestamptz NOT NULL
);
