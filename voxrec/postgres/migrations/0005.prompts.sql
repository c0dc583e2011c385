-- Custom announcements.
-- depends: 0001.initial

-- The audio is stored as it was uploaded (10 MiB at most), so that every daemon has access to it. container is
-- libsndfile's name of its format.
CREATE TABLE prompts (
    id         uuid PRIMARY KEY,
    name       text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    duration   double precision,
    size       bigint,
    sha256     text,
    container  text,
    audio      bytea,
    CHECK (num_nulls(duration, size, sha256, container, audio) IN (0, 5))
);

CREATE INDEX prompts_newest_first ON prompts (created_at DESC, id DESC);
-- Compressing audio takes time and saves nothing.
ALTER TABLE prompts ALTER COLUMN audio SET STORAGE EXTERNAL;

-- Existing ids cannot refer to a prompt. Their Profiles play the default announcement.
UPDATE profiles SET record_prompt = 'default' WHERE record_prompt = 'custom';
UPDATE profiles SET record_prompt_custom_id = NULL WHERE record_prompt_custom_id IS NOT NULL;
ALTER TABLE profiles ADD CONSTRAINT profiles_prompt FOREIGN KEY (record_prompt_custom_id) REFERENCES prompts (id);
CREATE INDEX profiles_of_prompt ON profiles (record_prompt_custom_id) WHERE record_prompt_custom_id IS NOT NULL;

CREATE FUNCTION voxrec_tell_prompt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('voxrec_prompts', coalesce(NEW.id, OLD.id)::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER prompts_tell AFTER INSERT OR UPDATE OR DELETE ON prompts
    FOR EACH ROW EXECUTE FUNCTION voxrec_tell_prompt();
