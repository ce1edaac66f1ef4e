-- A group commit is written through this view. One insert into it writes all three tables, in a
-- transaction of its own: each statement costs a round trip to SQLite's thread, so there is one.
-- Each column takes a JSON array with one object a row (batch.rs); a member that is missing is null.
-- View and trigger live in the writer's connection only.
create temp view batch (allocations, leases, attempts) as select null, null, null;

create temp trigger write_batch instead of insert on batch begin
    insert into allocation (
        id, at_ms, uid, pool, refusal, detail, attempt_count, duration_us, explanation, trace_id,
        span_id, retry_key
    )
    select
        unhex(value ->> 'id'), value ->> 'at_ms', value ->> 'uid', value ->> 'pool',
        value ->> 'refusal', value ->> 'detail', value ->> 'attempt_count', value ->> 'duration_us',
        value ->> 'explanation', value ->> 'trace_id', value ->> 'span_id', value ->> 'retry_key'
    from jsonb_each(new.allocations);

    insert into lease (
        id, allocation, name, scope_dir, pool, protocol, port, addresses, uid, handover, guard, state,
        granted_at_ms, ended_at_ms, boot_id, claim_by_boot_ms, expires_boot_ms, ttl_ms, owner, labels,
        trace_id, revision, span_id, moved, forgotten, idle_since_ms, by_hand, scope_device
    )
    select
        unhex(value ->> 'id'), unhex(value ->> 'allocation'), value ->> 'name',
        value ->> 'scope_dir', value ->> 'pool', value ->> 'protocol', value ->> 'port',
        value ->> 'addresses', value ->> 'uid', value ->> 'handover', value ->> 'guard',
        value ->> 'state', value ->> 'granted_at_ms', value ->> 'ended_at_ms', value ->> 'boot_id',
        value ->> 'claim_by_boot_ms', value ->> 'expires_boot_ms', value ->> 'ttl_ms',
        value ->> 'owner', value ->> 'labels', value ->> 'trace_id', value ->> 'revision',
        value ->> 'span_id', value ->> 'moved', value ->> 'forgotten', value ->> 'idle_since_ms',
        value ->> 'by_hand', value ->> 'scope_device'
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
        unhex(value ->> 'allocation'), value ->> 'at_ms', value ->> 'pool', value ->> 'interface',
        value ->> 'address', value ->> 'protocol', value ->> 'port', value ->> 'outcome',
        value ->> 'errno', value ->> 'duration_ns', value ->> 'occupant', value ->> 'trace_id',
        value ->> 'span_id', value ->> 'strategy', value ->> 'uid'
    from jsonb_each(new.attempts);
end;
