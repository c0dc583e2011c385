DROP INDEX recordings_duration;
DROP INDEX recordings_size;
DROP INDEX recordings_node;
DROP INDEX recordings_problems;
DROP INDEX recordings_held;
