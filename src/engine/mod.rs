//! The story: a request becomes candidates, attempts, a hold, a lease; a lease lives and ends.

pub mod books;
