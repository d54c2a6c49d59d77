//! The rules: pure and synchronous. Values and `now` go in, values or a [`Refusal`] come out.
//!
//! Knows no other module, no database, no network, no clock and no source of randomness. In reading order: [`limits`],
//! [`text`], [`ids`], [`secret_text`], [`secret`], [`pepper`], [`rights`], [`scope`], [`network`], [`key`], [`actor`],
//! [`key_group`], [`verifiable_key`], [`rotation`], [`seal`], [`kek`], [`reveals`], [`peer_name`],
//! [`certificate_identity`], [`owner`], [`calendar`], [`address`], [`user_group`], [`notification`], [`delivery`],
//! [`caller`], [`credential`], [`forwarded`], [`page`], [`unsubscribe`], [`ends`], [`audit`], [`replica`], [`refusal`].

pub mod actor;
pub mod address;
pub mod attributes;
pub mod audit;
pub mod base62;
pub mod calendar;
pub mod caller;
pub mod certificate_identity;
pub mod credential;
pub mod delivery;
pub mod ends;
pub mod forwarded;
pub mod ids;
pub mod kek;
pub mod key;
mod key_file;
pub mod key_group;
mod key_group_ids;
pub mod limits;
pub mod network;
pub mod notification;
pub mod owner;
pub mod page;
pub mod peer_name;
mod people_ids;
pub mod pepper;
pub mod policy;
pub mod refusal;
pub mod replica;
pub mod reveals;
pub mod rights;
pub mod rotation;
pub mod scope;
pub mod seal;
pub mod secret;
pub mod secret_text;
pub mod text;
pub mod unsubscribe;
pub mod user_group;
pub mod verifiable_key;

pub use refusal::Refusal;

/// An instant in UTC, cut to microseconds so that every database gives it back unchanged.
pub type Time = chrono::DateTime<chrono::Utc>;

/// A span of time.
pub type Span = chrono::TimeDelta;

/// The installation's change counter: every change takes the next one. Never negative.
pub type Revision = i64;
