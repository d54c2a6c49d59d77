//! The secrets of the keys that a benchmark seeds, made again from their number alone wherever they are needed.

use claviger::domain::{ids::KeyId, secret::Secret};

use crate::Outcome;

/// A family of secrets: the same number gives another secret in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Of keys in the database.
    Seeded = 0x5eed,
    /// Of no key at all.
    Unknown = 0xbad,
}

/// A source of numbers that look random (splitmix64), the same ones for the same start.
pub struct Numbers(u64);

impl Numbers {
    /// Starts anywhere.
    pub fn from_start(start: u64) -> Self {
        Self(start)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The secret of this number.
pub fn secret(family: Family, number: u64) -> Outcome<Secret> {
    let mut numbers = Numbers::from_start(number.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ ((family as u64) << 48));
    let mut id = [0; 16];
    numbers.fill(&mut id);
    Secret::generate(KeyId::from_random(id), |bytes| {
        numbers.fill(bytes);
        Outcome::Ok(())
    })
}

/// A text that only just isn't a secret: its last check character is another one.
pub fn malformed(number: u64) -> Outcome<String> {
    let mut text = secret(Family::Seeded, number)?.reveal().to_owned();
    let last = text.pop();
    text.push(if last == Some('0') { '1' } else { '0' });
    Ok(text)
}
