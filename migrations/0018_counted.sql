-- Everything is moved (0017). From here on new rows are counted again, as in 0003.
drop table old_attempt;
drop table old_lease;
drop table old_allocation;

create trigger allocation_counted instead of insert on allocation begin
    insert into allocation_hour
    values (
        new.at_ms / 3600000, new.pool, new.uid, new.refusal is null, new.refusal is not null,
        new.random_would_meet is not null, coalesce(new.random_would_meet, 0.0),
        iif(
            new.random_would_meet is null, 0,
            max(0, new.attempt_count - coalesce(new.granted_count, 0))
        )
    )
    on conflict do update set
        granted = granted + excluded.granted,
        refused = refused + excluded.refused,
        weighed = weighed + excluded.weighed,
        random_would_meet = random_would_meet + excluded.random_would_meet,
        met = met + excluded.met;
end;

create trigger lease_counted after update of ended_at_ms on lease_row
when old.ended_at_ms is null and new.ended_at_ms is not null begin
    insert into lease_day values (
        new.ended_at_ms / 86400000, (select text from word where id = new.pool), new.uid,
        (select text from word where id = new.state),
        cast(cast(format('%.1e', max(0, new.ended_at_ms - new.granted_at_ms)) as real) as integer), 1
    )
    on conflict do update set leases = leases + 1;
end;

create trigger ended_lease_counted after insert on lease_row when new.ended_at_ms is not null begin
    insert into lease_day values (
        new.ended_at_ms / 86400000, (select text from word where id = new.pool), new.uid,
        (select text from word where id = new.state),
        cast(cast(format('%.1e', max(0, new.ended_at_ms - new.granted_at_ms)) as real) as integer), 1
    )
    on conflict do update set leases = leases + 1;
end;

-- Attempts that are counted already.
update attempt_hour set first_seq = found.first_seq, last_seq = found.last_seq
from (
    select
        at_ms / 3600000 as hour, (select text from word where id = pool) as pool, uid,
        min(seq) as first_seq, max(seq) as last_seq
    from attempt_row
    where seq <= (select attempt_seq from counted)
    group by 1, 2, 3
) as found
where attempt_hour.hour = found.hour and attempt_hour.pool = found.pool
    and attempt_hour.uid = found.uid;
