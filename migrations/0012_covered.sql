-- How far a round of writing gets is known before it takes its counts, by whoever writes them.
alter table history_state drop column pending_seq;
