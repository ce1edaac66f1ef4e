-- The user of its allocation, so that who may see attempts of their own alone is shown them without a
-- look at the allocation of each. -1: not known, as in the totals.
alter table attempt add column uid integer not null default -1;

update attempt set uid = coalesce((select uid from allocation where id = attempt.allocation), -1);

create index attempt_uid on attempt (uid);
