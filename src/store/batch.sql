-- What a group commit is written through. One insert into this view writes all three tables, in a
-- transaction of its own: each statement costs a round trip to SQLite's thread, so there is one.
-- The columns take JSON arrays with one array a row. Both live in the writer's connection alone.
create temp view batch (allocations, leases, attempts) as select null, null, null;

create temp trigger write_batch instead of insert on batch begin
    insert into allocation (
        id, at_ms, uid, pool, refusal, detail, attempt_count, duration_us, explanation, trace_id,
        span_id, retry_key
    )
    select
        unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
        value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11
    from jsonb_each(new.allocations);

    insert into lease (
        id, allocation, name, scope_dir, pool, protocol, port, addresses, uid, handover, guard, state,
        granted_at_ms, ended_at_ms, boot_id, claim_by_boot_ms, expires_boot_ms, ttl_ms, owner, labels,
        trace_id, revision, span_id, moved, forgotten, idle_since_ms, by_hand, scope_device
    )
    select
        unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5,
        value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
        value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18,
        value ->> 19, value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24,
        value ->> 25, value ->> 26, value ->> 27
    from jsonb_each(new.leases)
    where true
    on conflict (id) do update set
        guard = excluded.guard,
        state = excluded.state,
        ended_at_ms = excluded.ended_at_ms,
        boot_id = excluded.boot_id,
        claim_by_boot_ms = excluded.claim_by_boot_ms,
        expires_boot_ms = excluded.expires_boot_ms,
        ttl_ms = excluded.ttl_ms,
        owner = excluded.owner,
        handover = excluded.handover,
        labels = excluded.labels,
        moved = excluded.moved,
        forgotten = excluded.forgotten,
        idle_since_ms = excluded.idle_since_ms,
        by_hand = excluded.by_hand,
        scope_device = excluded.scope_device,
        revision = excluded.revision
    where excluded.revision > lease.revision;

    insert into attempt (
        allocation, at_ms, pool, interface, address, protocol, port, outcome, errno, duration_ns,
        occupant, trace_id, span_id, strategy, uid
    )
    select
        unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
        value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11,
        value ->> 12, value ->> 13, value ->> 14
    from jsonb_each(new.attempts);
end;
