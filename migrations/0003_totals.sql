-- Counts that outlive the rows they were counted from: attempts, allocations and ended leases are
-- deleted after their time, and what they add up to stays. Days and hours are numbers of UTC days
-- and hours since 1970.
--
-- Attempts are many, so they are counted a moment later and many at once, in the order of seq;
-- counted tells how far that is. Allocations and ends of leases are counted by triggers.

create table counted (
    only integer primary key check (only = 1),
    attempt_seq integer not null
) strict;

insert into counted values (1, 0);

create table attempt_day (
    day integer not null,
    pool text not null,
    interface text not null,
    protocol text not null,
    port integer not null,
    -- who asked; -1 where no allocation tells
    uid integer not null,
    bound integer not null,
    lingering integer not null,
    in_use integer not null,
    not_permitted integer not null,
    address_not_available integer not null,
    failed integer not null,
    last_ms integer not null,
    last_refused_ms integer,
    primary key (day, pool, interface, protocol, port, uid)
) strict, without rowid;

create index attempt_day_port on attempt_day (port, protocol);

-- The same without ports, for questions about all of them.
create table place_day (
    day integer not null,
    pool text not null,
    interface text not null,
    uid integer not null,
    bound integer not null,
    lingering integer not null,
    in_use integer not null,
    not_permitted integer not null,
    address_not_available integer not null,
    failed integer not null,
    last_ms integer not null,
    last_refused_ms integer,
    primary key (day, pool, interface, uid)
) strict, without rowid;

-- Who was in the way. command and occupant_uid: '' and -1 where the kernel did not tell.
create table occupant_day (
    day integer not null,
    pool text not null,
    protocol text not null,
    port integer not null,
    uid integer not null,
    command text not null,
    occupant_uid integer not null,
    attempts integer not null,
    primary key (day, pool, protocol, port, uid, command, occupant_uid)
) strict, without rowid;

create index occupant_day_port on occupant_day (port, protocol);

create table allocation_hour (
    hour integer not null,
    pool text not null,
    uid integer not null,
    granted integer not null,
    refused integer not null,
    -- of those whose explanation tells what random would have met: how many there are, the sum of
    -- it, and how many candidate ports were refused to them
    weighed integer not null,
    random_would_meet real not null,
    met integer not null,
    primary key (hour, pool, uid)
) strict, without rowid;

-- By the day on which they ended. lifetime_ms is rounded to two digits, so that there are few.
create table lease_day (
    day integer not null,
    pool text not null,
    uid integer not null,
    state text not null,
    lifetime_ms integer not null,
    leases integer not null,
    primary key (day, pool, uid, state, lifetime_ms)
) strict, without rowid;

create trigger allocation_counted after insert on allocation begin
    insert into allocation_hour
    select
        new.at_ms / 3600000, new.pool, new.uid, new.refusal is null, new.refusal is not null,
        chance is not null, coalesce(cast(chance as real), 0.0),
        iif(
            chance is null, 0,
            max(0, new.attempt_count - coalesce(json_array_length(new.explanation, '$.granted'), 0))
        )
    from (select new.explanation ->> '$.random_would_meet' as chance)
    where true
    on conflict do update set
        granted = granted + excluded.granted,
        refused = refused + excluded.refused,
        weighed = weighed + excluded.weighed,
        random_would_meet = random_would_meet + excluded.random_would_meet,
        met = met + excluded.met;
end;

create trigger lease_counted after update of ended_at_ms on lease
when old.ended_at_ms is null and new.ended_at_ms is not null begin
    insert into lease_day values (
        new.ended_at_ms / 86400000, new.pool, new.uid, new.state,
        cast(cast(format('%.1e', max(0, new.ended_at_ms - new.granted_at_ms)) as real) as integer), 1
    )
    on conflict do update set leases = leases + 1;
end;

create trigger ended_lease_counted after insert on lease when new.ended_at_ms is not null begin
    insert into lease_day values (
        new.ended_at_ms / 86400000, new.pool, new.uid, new.state,
        cast(cast(format('%.1e', max(0, new.ended_at_ms - new.granted_at_ms)) as real) as integer), 1
    )
    on conflict do update set leases = leases + 1;
end;

-- What is on record already.
insert into allocation_hour
select
    at_ms / 3600000, pool, uid, sum(refusal is null), sum(refusal is not null),
    sum(chance is not null), coalesce(sum(cast(chance as real)), 0.0),
    sum(iif(chance is null, 0, max(0, attempt_count - coalesce(granted, 0))))
from (
    select
        *, explanation ->> '$.random_would_meet' as chance,
        json_array_length(explanation, '$.granted') as granted
    from allocation
)
group by 1, 2, 3;

insert into lease_day
select
    ended_at_ms / 86400000, pool, uid, state,
    cast(cast(format('%.1e', max(0, ended_at_ms - granted_at_ms)) as real) as integer), count(*)
from lease
where ended_at_ms is not null
group by 1, 2, 3, 4, 5;

-- For questions about a time, and about what was refused, which is rare among what was not.
create index attempt_at on attempt (at_ms);
create index attempt_refused on attempt (outcome) where outcome not in ('bound', 'lingering');
create index attempt_errno on attempt (errno) where errno is not null;

-- An old allocation stays while a lease of it does.
create index lease_allocation on lease (allocation);
