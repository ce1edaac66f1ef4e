-- Rows without repetition. The tables hold numbers of words; the views `allocation`, `lease` and
-- `attempt` show the words, and take new rows. Rows of before stay in `old_...` until
-- src/store/convert.rs has moved all of them, a few in each transaction; then 0018 drops the tables.

-- Text that many rows share: pools, addresses, interfaces, boots, words of enumerations, and the
-- shared part of explanations.
create table word (
    id integer primary key,
    text text not null unique,
    -- UTC day, since 1970, of the latest row that uses it. Null: always kept.
    day integer
) strict;

-- A number up to 127 takes one byte, 1 takes none.
insert into word (id, text) values
    (1, 'bound'), (2, 'lingering'), (3, 'in_use'), (4, 'not_permitted'),
    (5, 'address_not_available'), (6, 'failed'), (7, 'tcp'), (8, 'udp'), (9, 'any'),
    (10, 'default'), (11, '0.0.0.0'), (12, '::'), (13, '127.0.0.1'), (14, '::1'), (15, 'learned'),
    (16, 'ordered'), (17, 'random'), (18, 'explicit'), (19, 'gate'), (20, 'fd'), (21, 'release'),
    (22, 'hold'), (23, 'owner'), (24, 'none'), (25, 'reserved'), (26, 'handed'), (27, 'active'),
    (28, 'degraded'), (29, 'lost'), (30, 'released'), (31, 'expired'), (32, 'unclaimed'),
    (33, 'owner_gone');

drop trigger allocation_counted;
drop trigger lease_counted;
drop trigger ended_lease_counted;
drop index lease_live;
drop index lease_name;
drop index allocation_retry;
drop index attempt_port;
drop index attempt_at;
drop index attempt_refused;
drop index attempt_errno;
drop index attempt_uid;
alter table allocation rename to old_allocation;
alter table lease rename to old_lease;
alter table attempt rename to old_attempt;

create table allocation_row (
    id blob primary key check (length(id) = 16),
    at_ms integer not null,
    uid integer not null,
    pool integer not null,
    -- null: granted; else the code of the refusal
    refusal integer,
    detail text,
    attempt_count integer not null check (attempt_count >= 0),
    duration_us integer not null check (duration_us >= 0),
    -- Layout in src/store/explained. `shared`: what most allocations of a pool have in common.
    shared integer,
    explanation blob not null,
    trace_id text,
    span_id text,
    retry_key text,
    -- seq of its attempts, which lie together.
    first_attempt integer,
    last_attempt integer
) strict, without rowid;

create index allocation_retry on allocation_row (uid, retry_key) where retry_key is not null;

create table lease_row (
    id blob primary key check (length(id) = 16),
    allocation blob not null check (length(allocation) = 16),
    name text,
    scope_dir text,
    pool integer not null,
    protocol integer not null,
    port integer not null check (port between 1 and 65535),
    addresses integer not null,
    uid integer not null,
    handover integer not null,
    guard integer not null,
    state integer not null,
    granted_at_ms integer not null,
    ended_at_ms integer,
    boot integer not null,
    claim_by_boot_ms integer,
    expires_boot_ms integer,
    ttl_ms integer,
    owner text check (owner is null or json_valid(owner)),
    -- null: {}
    labels text check (labels is null or json_valid(labels)),
    trace_id text,
    -- counts the changes: an older form never overwrites a newer one
    revision integer not null,
    span_id text,
    moved text check (moved is null or json_valid(moved)),
    forgotten integer not null check (forgotten in (0, 1)),
    idle_since_ms integer,
    by_hand integer not null check (by_hand in (0, 1)),
    scope_device integer
) strict, without rowid;

create index lease_live on lease_row (id) where ended_at_ms is null;
create index lease_of_name on lease_row (name, uid, id) where name is not null;
create index lease_of_allocation on lease_row (allocation);

create table attempt_row (
    seq integer primary key,
    allocation blob not null,
    at_ms integer not null,
    pool integer not null,
    interface integer not null,
    address integer not null,
    protocol integer not null,
    port integer not null check (port between 1 and 65535),
    outcome integer not null,
    errno integer,
    duration_ns integer not null check (duration_ns >= 0),
    occupant text check (occupant is null or json_valid(occupant)),
    span_id text,
    strategy integer,
    uid integer not null
) strict;

-- The attempts on a port, block by block of 4096: a round changes the pages of the last block alone,
-- however long the past is. Queries name the blocks (src/store/filter.rs).
create index attempt_port on attempt_row (seq >> 12, port);
create index attempt_uid on attempt_row (uid);
create index attempt_refused on attempt_row (outcome) where outcome not in (1, 2);
create index attempt_errno on attempt_row (errno) where errno is not null;

-- Attempts of an hour lie between these, so that times are found without an index.
alter table attempt_hour add column first_seq integer;
alter table attempt_hour add column last_seq integer;

create view allocation as select
    id, at_ms, uid,
    (select text from word where id = pool) as pool,
    (select text from word where id = refusal) as refusal,
    detail, attempt_count, duration_us,
    (select text from word where id = shared) as shared,
    explanation, trace_id, span_id, retry_key, first_attempt, last_attempt,
    -- Taken for the totals only; stored within the explanation.
    null as random_would_meet, null as granted_count
from allocation_row;

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
    pool as pool_word, state as state_word
from lease_row;

create view attempt as select
    seq, allocation, at_ms,
    (select text from word where id = pool) as pool,
    (select text from word where id = interface) as interface,
    (select text from word where id = address) as address,
    (select text from word where id = protocol) as protocol,
    port,
    (select text from word where id = outcome) as outcome,
    errno, duration_ns, occupant,
    (select trace_id from allocation_row where id = attempt_row.allocation) as trace_id,
    span_id,
    (select text from word where id = strategy) as strategy,
    uid,
    pool as pool_word, interface as interface_word, protocol as protocol_word,
    outcome as outcome_word, strategy as strategy_word
from attempt_row;

create trigger allocation_stored instead of insert on allocation begin
    insert into word (text, day)
    select text, new.at_ms / 86400000 from (
        select new.pool as text union all select new.refusal union all select new.shared
    ) as used
    where text is not null
    on conflict do update set day = excluded.day where day < excluded.day;
    insert into allocation_row values (
        new.id, new.at_ms, new.uid,
        (select id from word where text = new.pool),
        (select id from word where text = new.refusal),
        new.detail, new.attempt_count, new.duration_us,
        (select id from word where text = new.shared),
        cast(new.explanation as blob), new.trace_id, new.span_id, new.retry_key,
        new.first_attempt, new.last_attempt
    );
end;

create trigger lease_stored instead of insert on lease begin
    insert into word (text, day)
    select text, new.granted_at_ms / 86400000 from (
        select new.pool as text union all select new.protocol union all select new.addresses
        union all select new.handover union all select new.guard union all select new.state
        union all select new.boot_id
    ) as used
    where text is not null
    on conflict do update set day = excluded.day where day < excluded.day;
    insert into lease_row values (
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

create trigger attempt_stored instead of insert on attempt begin
    insert into word (text, day)
    select text, new.at_ms / 86400000 from (
        select new.pool as text union all select new.interface union all select new.address
        union all select new.protocol union all select new.outcome union all select new.strategy
    ) as used
    where text is not null
    on conflict do update set day = excluded.day where day < excluded.day;
    insert into attempt_row values (
        new.seq, new.allocation, new.at_ms,
        (select id from word where text = new.pool),
        (select id from word where text = new.interface),
        (select id from word where text = new.address),
        (select id from word where text = new.protocol),
        new.port,
        (select id from word where text = new.outcome),
        new.errno, new.duration_ns, new.occupant, new.span_id,
        (select id from word where text = new.strategy),
        coalesce(new.uid, -1)
    );
    update allocation_row set
        first_attempt = min(coalesce(first_attempt, last_insert_rowid()), last_insert_rowid()),
        last_attempt = max(coalesce(last_attempt, 0), last_insert_rowid())
    where id = new.allocation;
end;
