//! Users in words.

use crate::domain::attempt::printable;
use crate::host::process::user_name;

/// A user by name if the host knows one, and by uid.
pub fn called(uid: u32) -> String {
    match user_name(uid) {
        Some(name) => format!("{} (uid {uid})", printable(&name)),
        None => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_users_have_a_number() {
        assert_eq!(called(0), "root (uid 0)");
        assert_eq!(called(4_000_000_007), "uid 4000000007");
    }
}
