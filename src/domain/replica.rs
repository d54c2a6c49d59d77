//! A replica: one process among those that share a database.

use std::fmt;

use super::{base62, limits};

/// What one process is called for as long as it lives: its machine's name, and eight characters of chance, so that neither
/// a restart nor two processes on one machine share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(String);

/// Random bytes that [`ReplicaId::new`] takes.
pub const RANDOM_BYTES: usize = 6;
const RANDOM_CHARACTERS: usize = 8;

impl ReplicaId {
    /// Of a machine's name only letters, digits, `-` and `.` are kept, at most 63 of them.
    #[must_use]
    pub fn new(host_name: &str, random: [u8; RANDOM_BYTES]) -> Self {
        let harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let mut id: String = host_name.chars().filter(harmless).take(limits::HOST_NAME_CHARACTERS).collect();
        if id.is_empty() {
            id.push_str("replica");
        }
        id.push('-');
        let random = random.iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
        id.extend(base62::encode::<RANDOM_CHARACTERS>(random).map(char::from));
        Self(id)
    }

    /// As text, at most 72 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a change has got among the replicas. Ids are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Replicas that know the change.
    pub confirmed: Vec<String>,
    /// Replicas that may still answer as if it hadn't happened.
    pub unconfirmed: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_harmless_and_not_shared() {
        assert_eq!(ReplicaId::new("node-1.example", [0; RANDOM_BYTES]).as_str(), "node-1.example-00000000");
        assert_eq!(ReplicaId::new("", [0; RANDOM_BYTES]).as_str(), "replica-00000000");
        assert_eq!(ReplicaId::new("a b\n'é_c", [0; RANDOM_BYTES]).as_str(), "abc-00000000");
        let longest = ReplicaId::new(&"x".repeat(300), [0xff; RANDOM_BYTES]);
        assert_eq!(longest.as_str().len(), 72);
        assert_ne!(ReplicaId::new("a", [0, 0, 0, 0, 0, 1]), ReplicaId::new("a", [0, 0, 0, 0, 0, 2]));
    }
}
