-- Profiles, Recordings, and the job queue.
-- depends:

CREATE TABLE profiles (
    id                      uuid PRIMARY KEY,
    name                    text,
    email                   text,
    remote_sip_uri          text,
    record                  boolean NOT NULL,
    record_format           text NOT NULL,
    record_channels         text NOT NULL CHECK (record_channels IN ('mono', 'dual')),
    record_beep_at_start    boolean NOT NULL,
    record_beep_interval    integer NOT NULL,
    record_prompt           text NOT NULL CHECK (record_prompt IN ('none', 'default', 'custom')),
    record_prompt_custom_id uuid,
    webhook_url             text,
    retention_days          integer,
    metadata                jsonb NOT NULL,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL
);

CREATE INDEX profiles_newest_first ON profiles (created_at DESC, id DESC);
CREATE INDEX profiles_remote_sip_uri ON profiles (remote_sip_uri);
-- The addresses in email, which may hold several, separated by commas. An address has no white space.
CREATE INDEX profiles_email ON profiles
    USING gin (string_to_array(lower(translate(email, E' \t\r\n', '')), ','));

-- A separate table, so that a number is unique among all Profiles.
CREATE TABLE profile_numbers (
    number     text PRIMARY KEY,
    profile_id uuid NOT NULL REFERENCES profiles ON DELETE CASCADE,
    position   integer NOT NULL
);

CREATE INDEX profile_numbers_profile ON profile_numbers (profile_id, position);

-- profile_id has no foreign key, since a Recording outlives its Profile.
-- snapshot_at is the updated_at of the newest snapshot of the call. A change by a user changes updated_at but not
-- snapshot_at, so that the next snapshot of the call is not mistaken for an old one.
CREATE TABLE recordings (
    id             uuid PRIMARY KEY,
    profile_id     uuid NOT NULL,
    call_id        uuid,
    state          text NOT NULL CHECK (state IN
                   ('pending', 'recording', 'paused', 'processing', 'completed', 'failed', 'absent')),
    format         text NOT NULL,
    channels       smallint NOT NULL CHECK (channels IN (1, 2)),
    started_at     timestamptz,
    ended_at       timestamptz,
    duration       double precision,
    size           bigint,
    sha256         text,
    "from"         text,
    from_name      text,
    "to"           text,
    remote_sip_uri text,
    hangup_cause   integer,
    timeline       jsonb NOT NULL,
    verdict        jsonb,
    metadata       jsonb NOT NULL,
    legal_hold     boolean NOT NULL,
    expires_at     timestamptz,
    path           text,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    snapshot_at    timestamptz
);

CREATE INDEX recordings_newest_first ON recordings (created_at DESC, id DESC);
CREATE INDEX recordings_profile ON recordings (profile_id, created_at DESC, id DESC);
CREATE INDEX recordings_from ON recordings ("from", created_at DESC, id DESC);
CREATE INDEX recordings_to ON recordings ("to", created_at DESC, id DESC);
CREATE INDEX recordings_metadata ON recordings USING gin (metadata jsonb_path_ops);
CREATE INDEX recordings_expiring ON recordings (expires_at) WHERE expires_at IS NOT NULL AND NOT legal_hold;
-- Nearly all Recordings are completed or absent. The others are queried after every start.
CREATE INDEX recordings_unfinished ON recordings (state, created_at DESC, id DESC)
    WHERE state NOT IN ('completed', 'absent');

-- Done jobs remain in the table, so that no job is enqueued twice.
CREATE TABLE jobs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL,
    recording_id uuid NOT NULL,
    attempts     integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    last_error   text,
    dead         boolean NOT NULL DEFAULT FALSE,
    done_at      timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (recording_id, kind)
);

CREATE INDEX jobs_due ON jobs (due_at, id) WHERE done_at IS NULL AND NOT dead;
CREATE INDEX jobs_dead ON jobs (id) WHERE dead;

-- Notifications for the daemons.

CREATE FUNCTION voxrec_tell_profile() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('voxrec_profiles', coalesce(NEW.id, OLD.id)::text);
    RETURN NULL;
END
$$;

CREATE FUNCTION voxrec_tell_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('voxrec_profiles', coalesce(NEW.profile_id, OLD.profile_id)::text);
    RETURN NULL;
END
$$;

CREATE FUNCTION voxrec_tell_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('voxrec_jobs', NEW.kind);
    RETURN NULL;
END
$$;

CREATE TRIGGER profiles_tell AFTER INSERT OR UPDATE OR DELETE ON profiles
    FOR EACH ROW EXECUTE FUNCTION voxrec_tell_profile();
CREATE TRIGGER profile_numbers_tell AFTER INSERT OR UPDATE OR DELETE ON profile_numbers
    FOR EACH ROW EXECUTE FUNCTION voxrec_tell_number();
CREATE TRIGGER jobs_tell_new AFTER INSERT ON jobs
    FOR EACH ROW EXECUTE FUNCTION voxrec_tell_job();
CREATE TRIGGER jobs_tell_moved AFTER UPDATE OF due_at ON jobs
    FOR EACH ROW WHEN (NEW.due_at IS DISTINCT FROM OLD.due_at) EXECUTE FUNCTION voxrec_tell_job();
