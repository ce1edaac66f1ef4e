-- The order of candidates of its allocation, so that no search reads an explanation for each attempt.
alter table attempt add column strategy text;

update attempt set strategy = (
    select explanation ->> '$.strategy' from allocation where id = attempt.allocation
);
