-- By what its client asks again after an answer that got lost (Idempotency-Key).
alter table allocation add column retry_key text;

create index allocation_retry on allocation (uid, retry_key) where retry_key is not null;
