//! Occupants on record as a viewer may see them.

use super::viewer::Viewer;
use crate::domain::attempt::Occupant;
use crate::store::AttemptRecord;

/// The attempt as this viewer may see it: an occupant of another user stays unnamed.
pub fn shown(mut attempt: AttemptRecord, viewer: &Viewer) -> AttemptRecord {
    if let Some(occupant) = &mut attempt.occupant {
        veil(occupant, viewer);
    }
    attempt
}

/// Removes what only the occupant's own user may know.
pub fn veil(occupant: &mut Occupant, viewer: &Viewer) {
    occupant.veil(|uid| viewer.sees(uid));
}

/// Replaces the recorded words for an occupant of `uid` if this viewer may not see them.
pub fn veil_words(words: &mut String, uid: Option<u32>, viewer: &Viewer) {
    if !viewer.sees_program_of(uid) {
        let unnamed = Occupant {
            uid,
            ..Occupant::default()
        };
        *words = unnamed.to_string();
    }
}
