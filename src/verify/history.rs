//! The history that a mirror was read from, and how to notice that the database continues another one.
//!
//! Each revision has a random token. Whoever has seen (revision, token) and later finds another token there, none, or a lower
//! current revision, knows that the database lost writes: a standby was promoted that lagged behind, or an old backup was
//! restored. It can't be noticed when every replica that saw the lost writes was restarted in between: what was seen is kept
//! in memory alone.

use crate::domain::{Revision, Span, limits};
use crate::store::Look;

/// The last revision that was seen, with its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) revision: Revision,
    token: Option<String>,
}

impl Seen {
    pub(super) fn of(look: &Look) -> Self {
        Self { revision: look.revision, token: look.token.clone() }
    }

    /// Whether the database that answered `look`, asked about this very revision, no longer has what was seen. `age`: how
    /// long ago that was; tokens are purged, so after a long sleep a missing one proves nothing.
    pub(super) fn was_lost(&self, look: &Look, age: Span) -> bool {
        let unknown = look.seen_token.is_none() && age >= limits::REVISION_TOKENS_KEPT - Span::days(1);
        look.revision < self.revision || (look.seen_token != self.token && !unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(revision: Revision, token: &str, seen_token: Option<&str>) -> Look {
        let seen_token = seen_token.map(str::to_owned);
        Look { revision, token: Some(token.to_owned()), owners: revision, seen_token, database_time: None }
    }

    #[test]
    fn a_lower_revision_another_token_and_none_tell_of_lost_writes() {
        let seen = Seen::of(&look(7, "seven", None));
        for (next, age, lost) in [
            (look(7, "seven", Some("seven")), 1, false),
            (look(9, "nine", Some("seven")), 1, false),
            (look(6, "six", None), 1, true),
            (look(6, "six", None), 40 * 86_400, true),
            (look(7, "other", Some("other")), 1, true),
            (look(9, "nine", Some("other")), 40 * 86_400, true),
            (look(9, "nine", None), 1, true),
            (look(9, "nine", None), 40 * 86_400, false),
        ] {
            assert_eq!(seen.was_lost(&next, Span::seconds(age)), lost, "{next:?} after {age} s");
        }
    }
}
