-- What attempts are counted through; in the writer's connection alone, like the view batch. The
-- totals grow and the mark moves in one transaction, so that nobody counts an attempt twice.
create temp view counting (first, last, attempts, occupants) as select null, null, null, null;

create temp trigger count_attempts instead of insert on counting
when new.first = (select attempt_seq from counted) begin
    -- An attempt comes with its hour.
    insert into attempt_day
    select
        (value ->> 0) / 24, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
        value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
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
        value ->> 0, value ->> 1, value ->> 5,
        sum(
            (value ->> 6) + (value ->> 7) + (value ->> 8) + (value ->> 9) + (value ->> 10)
            + (value ->> 11)
        ),
        sum(value ->> 8)
    from jsonb_each(new.attempts)
    where true
    group by 1, 2, 3
    on conflict do update set
        attempts = attempts + excluded.attempts,
        in_use = in_use + excluded.in_use;

    insert into place_day
    select
        (value ->> 0) / 24, value ->> 1, value ->> 2, value ->> 5, sum(value ->> 6), sum(value ->> 7),
        sum(value ->> 8), sum(value ->> 9), sum(value ->> 10), sum(value ->> 11), max(value ->> 12),
        max(value ->> 13)
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
        value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
        value ->> 7
    from jsonb_each(new.occupants)
    where true
    on conflict do update set attempts = attempts + excluded.attempts;

    update counted set attempt_seq = new.last;
end;
