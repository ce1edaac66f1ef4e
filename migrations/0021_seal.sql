-- seal: checksum of a lease's row with the revision that it was made of (src/store/seal.rs), so that bytes
-- which changed on the disk are told from those that were written. Null: written before, or by hand.
alter table lease_row add column seal integer;

-- With its trigger, which names the columns now.
drop view lease;

create view lease as select
    id, allocation, name, scope_dir,
    (select text from word where id = pool) as pool,
    (select text from word where id = protocol) as protocol,
    port,
    (select text from word where id = addresses) as addresses,
    uid,
    (select text from word where id = handover) as handover,
    (select text from word where id = guard) as guard,
    (select text from word where id = state) as state,
    granted_at_ms, ended_at_ms,
    (select text from word where id = boot) as boot_id,
    claim_by_boot_ms, expires_boot_ms, ttl_ms, owner, coalesce(labels, '{}') as labels, trace_id,
    revision, span_id, moved, forgotten, idle_since_ms, by_hand, scope_device,
    pool as pool_word, state as state_word, seal
from lease_row;

create trigger lease_stored instead of insert on lease begin
    insert into word (text, day)
    select text, new.granted_at_ms / 86400000 from (
        select new.pool as text union all select new.protocol union all select new.addresses
        union all select new.handover union all select new.guard union all select new.state
        union all select new.boot_id
    ) as used
    where text is not null
    on conflict do update set day = excluded.day where day < excluded.day;
    insert into lease_row (
        id, allocation, name, scope_dir, pool, protocol, port, addresses, uid, handover, guard, state,
        granted_at_ms, ended_at_ms, boot, claim_by_boot_ms, expires_boot_ms, ttl_ms, owner, labels,
        trace_id, revision, span_id, moved, forgotten, idle_since_ms, by_hand, scope_device
    ) values (
        new.id, new.allocation, new.name, new.scope_dir,
        (select id from word where text = new.pool),
        (select id from word where text = new.protocol),
        new.port,
        (select id from word where text = new.addresses),
        new.uid,
        (select id from word where text = new.handover),
        (select id from word where text = new.guard),
        (select id from word where text = new.state),
        new.granted_at_ms, new.ended_at_ms,
        (select id from word where text = new.boot_id),
        new.claim_by_boot_ms, new.expires_boot_ms, new.ttl_ms, new.owner, nullif(new.labels, '{}'),
        new.trace_id, new.revision, new.span_id, new.moved, coalesce(new.forgotten, 0),
        new.idle_since_ms, coalesce(new.by_hand, 0), new.scope_device
    )
    on conflict (id) do update set
        guard = excluded.guard,
        state = excluded.state,
        ended_at_ms = excluded.ended_at_ms,
        boot = excluded.boot,
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
    where excluded.revision > lease_row.revision;
end;
