-- Attempts are counted through this view, which lives in the writer's connection only, like the view
-- batch. The totals grow and the mark moves in one transaction, so that no attempt is counted twice.
-- The sums are JSON arrays with one object a group (count.rs).
create temp view if not exists counting (first, last, attempts, occupants) as select null, null, null, null;

create temp trigger if not exists count_attempts instead of insert on counting
when new.first = (select attempt_seq from counted) begin
    insert into attempt_day
    select
        (value ->> 'hour') / 24, value ->> 'pool', value ->> 'interface', value ->> 'protocol',
        value ->> 'port', value ->> 'uid', value ->> 'bound', value ->> 'lingering',
        value ->> 'in_use', value ->> 'not_permitted', value ->> 'address_not_available',
        value ->> 'failed', value ->> 'last_ms', value ->> 'last_refused_ms'
    from jsonb_each(new.attempts)
    where true
    on conflict do update set
        bound = bound + excluded.bound,
        lingering = lingering + excluded.lingering,
        in_use = in_use + excluded.in_use,
        not_permitted = not_permitted + excluded.not_permitted,
        address_not_available = address_not_available + excluded.address_not_available,
        failed = failed + excluded.failed,
        last_ms = max(last_ms, excluded.last_ms),
        last_refused_ms = coalesce(excluded.last_refused_ms, last_refused_ms);

    insert into attempt_hour
    select
        value ->> 'hour', value ->> 'pool', value ->> 'uid',
        sum(
            (value ->> 'bound') + (value ->> 'lingering') + (value ->> 'in_use')
            + (value ->> 'not_permitted') + (value ->> 'address_not_available')
            + (value ->> 'failed')
        ),
        sum(value ->> 'in_use'), min(value ->> 'first_seq'), max(value ->> 'last_seq')
    from jsonb_each(new.attempts)
    where true
    group by 1, 2, 3
    on conflict do update set
        attempts = attempts + excluded.attempts,
        in_use = in_use + excluded.in_use,
        first_seq = min(coalesce(first_seq, excluded.first_seq), excluded.first_seq),
        last_seq = max(coalesce(last_seq, 0), excluded.last_seq);

    insert into place_day
    select
        (value ->> 'hour') / 24, value ->> 'pool', value ->> 'interface', value ->> 'uid',
        sum(value ->> 'bound'), sum(value ->> 'lingering'), sum(value ->> 'in_use'),
        sum(value ->> 'not_permitted'), sum(value ->> 'address_not_available'),
        sum(value ->> 'failed'), max(value ->> 'last_ms'), max(value ->> 'last_refused_ms')
    from jsonb_each(new.attempts)
    where true
    group by 1, 2, 3, 4
    on conflict do update set
        bound = bound + excluded.bound,
        lingering = lingering + excluded.lingering,
        in_use = in_use + excluded.in_use,
        not_permitted = not_permitted + excluded.not_permitted,
        address_not_available = address_not_available + excluded.address_not_available,
        failed = failed + excluded.failed,
        last_ms = max(last_ms, excluded.last_ms),
        last_refused_ms = coalesce(excluded.last_refused_ms, last_refused_ms);

    insert into occupant_day
    select
        value ->> 'day', value ->> 'pool', value ->> 'protocol', value ->> 'port', value ->> 'uid',
        value ->> 'command', value ->> 'occupant_uid', value ->> 'attempts'
    from jsonb_each(new.occupants)
    where true
    on conflict do update set attempts = attempts + excluded.attempts;

    update counted set attempt_seq = new.last;
end;
