-- Attempts by the hour, for rates over a day: one row an hour, pool and user, whatever was tried in
-- it. Counted together with the totals of days (0003), so the same mark tells how far that is.
create table attempt_hour (
    hour integer not null,
    pool text not null,
    -- who asked; -1 where no allocation tells
    uid integer not null,
    attempts integer not null,
    in_use integer not null,
    primary key (hour, pool, uid)
) strict, without rowid;

-- What is counted already and still on record.
insert into attempt_hour
select
    at_ms / 3600000, pool,
    coalesce((select uid from allocation where id = attempt.allocation), -1) as who,
    count(*), sum(outcome = 'in_use')
from attempt
where seq <= (select attempt_seq from counted)
group by 1, 2, who;
