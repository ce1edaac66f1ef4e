-- The ledger beside the record (ledger-0 and ledger-1) has what is committed and not in the tables yet.
-- It repeats the id of its record. filled: number of its last entry that the tables have.
create table ledger (
    only integer primary key check (only = 1),
    id blob not null check (length(id) = 16),
    filled integer not null check (filled >= 0)
) strict;

insert into ledger values (1, randomblob(16), 0);

-- Entries that the tables refused, in the layout of src/store/entry.rs. There should be none.
create table refused_entry (
    number integer primary key,
    entry blob not null,
    error text not null
) strict;
