-- The user of the outsider, who alone may read its name beside root. Null: not known.
alter table late_conflict add column occupant_uid integer;
