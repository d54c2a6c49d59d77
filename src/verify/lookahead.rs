//! Fetches what verdicts will read into the core's cache, before they read it.
//!
//! Of a million keys nearly none is in a cache, and a verdict follows a chain: the table says where the record is, the record
//! where its owner and its claims are, the owner where its name is. Each link is a wait of a few hundred nanoseconds, together
//! as much as everything else that a verdict costs. So whoever has several questions announces each before the first is
//! judged; an announcement takes one key a link further and waits for nothing. It is a hint: what isn't announced, or is
//! announced in vain, is judged all the same.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::secret::{id_end_in, id_in};

use super::mirror::Mirror;
use super::record::Record;

/// A link of the chain, given the record, which the steps before have fetched.
type Step = fn(&Record);
const STEPS: [Step; 3] = [
    Record::prefetch,
    |record| {
        record.owner().prefetch();
        record.claims().prefetch();
    },
    |record| record.owner().prefetch_text(),
];

/// Announcements after which a key is there as a whole.
pub const DEPTH: usize = STEPS.len() + 1;

/// The keys that were announced last. One for whoever judges in turn; a clone begins anew.
#[derive(Default)]
pub struct Lookahead {
    /// How the id of the last one ends.
    last: AtomicU64,
    /// Where they are, the last one first.
    places: [AtomicU64; STEPS.len()],
}

impl Clone for Lookahead {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Lookahead {
    /// Announces a text that will be judged after the next few.
    pub fn announce(&self, text: &[u8], mirror: &Mirror) {
        let Some(end) = id_end_in(text).map(u64::from_le_bytes) else { return };
        if self.last.load(Ordering::Relaxed) == end {
            // Of a key that is asked about again and again everything is there.
            return;
        }
        let Some(id) = id_in(text) else { return };
        self.last.store(end, Ordering::Relaxed);
        let mut place = mirror.place_of(id);
        mirror.prefetch(place);
        for (kept, step) in self.places.iter().zip(STEPS) {
            // The one before takes its next step.
            let before = kept.load(Ordering::Relaxed);
            kept.store(place, Ordering::Relaxed);
            place = before;
            mirror.peek(place, step);
        }
    }
}
