-- Whether parties that join a recorded call by a transfer hear the announcement, too.
-- depends: 0022.required_prompts

ALTER TABLE profiles ADD COLUMN record_prompt_on_transfer boolean NOT NULL DEFAULT true;
