//! Every number of the product, with its unit. A bound that isn't here doesn't exist.

use std::time::Duration;

use super::Span;

/// Live keys of one service user.
pub const LIVE_KEYS: usize = 10;

/// Characters of a resource id.
pub const ID_CHARACTERS: usize = 63;
/// Characters of a display name.
pub const DISPLAY_NAME_CHARACTERS: usize = 100;
/// Characters of a description.
pub const DESCRIPTION_CHARACTERS: usize = 1_000;
/// Characters of a revoke reason.
pub const REVOKE_REASON_CHARACTERS: usize = 200;
/// Characters of somebody's text that an error quotes, after escaping.
pub const QUOTED_CHARACTERS: usize = 64;
/// Characters of an `x-request-id` that is taken over; a longer one is replaced.
pub const REQUEST_ID_CHARACTERS: usize = 64;

/// Scopes of one key, and scopes one Verify may require.
pub const SCOPES: usize = 100;
/// Segments of one scope.
pub const SCOPE_SEGMENTS: usize = 8;
/// Characters of one segment of a scope.
pub const SCOPE_SEGMENT_CHARACTERS: usize = 32;
/// Networks of one key.
pub const NETWORKS: usize = 64;
/// Paths of one update mask.
pub const MASK_PATHS: usize = 16;

/// Longest lifetime of a key: 100 years of 365 days.
pub const LIFETIME: Span = Span::days(36_500);
/// Shortest `ttl` of a key.
pub const SHORTEST_LIFETIME: Span = Span::seconds(1);
/// Longest grace period of a rotation.
pub const GRACE_PERIOD: Span = Span::days(30);
/// Grace period of a rotation that doesn't say.
pub const DEFAULT_GRACE_PERIOD: Span = Span::hours(24);
/// How long a deleted resource can still be listed, and its id stays taken.
pub const PURGE_AFTER: Span = Span::days(30);
/// How long the mirror still tells REVOKED and EXPIRED apart from UNKNOWN.
pub const DEAD_KEYS_REMEMBERED: Span = Span::days(30);
/// `expiring_soon` of Verify.
pub const EXPIRING_SOON: Span = Span::days(14);
/// How long a `request_id` answers the same key and secret again.
pub const REPLAY_WINDOW: Span = Span::minutes(10);

/// Entries of a page that doesn't say.
pub const DEFAULT_PAGE_SIZE: u64 = 100;
/// Most entries of a page.
pub const PAGE_SIZE: u64 = 500;
/// Bytes of the entries of a page; a longer one is cut, below what every client takes by default.
pub const PAGE_BYTES: usize = 960 << 10;
/// Characters of a page token.
pub const PAGE_TOKEN_CHARACTERS: usize = 512;
/// Questions of one BatchVerify.
pub const BATCH: usize = 1_000;

/// Bytes of a message of VerificationService and KeyService.
pub const LARGE_MESSAGE_BYTES: usize = 1 << 20;
/// Bytes of a single Verify, and of a message of every other service.
pub const SMALL_MESSAGE_BYTES: usize = 64 << 10;
/// Bytes of the headers of one call, as HTTP/2 counts them (RFC 9113, 6.5.2).
pub const HEADER_BYTES: u32 = 16 << 10;

/// Deadline of Verify and BatchVerify.
pub const VERIFY_DEADLINE: Duration = Duration::from_millis(250);
/// Deadline of every other call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Streams of one connection (tonic's own default is none: reliability.md R31).
pub const STREAMS_PER_CONNECTION: u32 = 200;
/// Connections of the server.
pub const CONNECTIONS: usize = 10_000;
/// Connections from one address.
pub const CONNECTIONS_PER_PEER: usize = 2_000;
/// Time a new connection has to send the whole HTTP/2 preface.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection without a call for this long is asked to leave.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(600);
/// How often a silent connection is pinged.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls may take to end after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Changes waiting for their turn in this process; one more is OVERLOADED.
pub const WAITING_WRITERS: usize = 2_048;
/// Changes of this process inside PostgreSQL at once; they queue there for the revision row.
pub const POSTGRES_WRITERS: u32 = 4;
/// Connections for reading, on either engine.
pub const READERS: u32 = 4;
/// PostgreSQL `lock_timeout`.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// PostgreSQL `statement_timeout`.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// PostgreSQL `idle_in_transaction_session_timeout`.
pub const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// Time to get a connection, from the pool or a new one.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a PostgreSQL connection that comes back to the pool may take to say that it is alive.
pub const PING: Duration = Duration::from_secs(1);
/// How long a change waits for its turn: below the call's deadline, so that it ends OVERLOADED and not too late.
pub const TURN_WAIT: Duration = Duration::from_secs(8);
/// How long one process waits for another's migration of the schema.
pub const MIGRATION_WAIT: Duration = Duration::from_secs(60);
/// Audit events written by one statement.
pub const AUDIT_EVENTS_PER_STATEMENT: usize = 500;
/// SQLite `busy_timeout`; only a foreign process (a backup) can make us wait.
pub const SQLITE_BUSY: Duration = Duration::from_secs(5);

/// Rows of one feed page.
pub const FEED_PAGE: u64 = 1_000;
/// A look at the feed happens at least this often.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Two looks at the feed are at least this far apart.
pub const POLL_SPACING: Duration = Duration::from_millis(5);
/// How long a secret that doesn't match waits for a refresh: below the deadline, so that the answer is "the store can't be
/// asked" rather than "too late".
pub const MISS_WAIT: Duration = Duration::from_millis(200);
/// How long a change waits to be in this replica's own mirror before it answers.
pub const OWN_MIRROR_WAIT: Duration = Duration::from_secs(1);
/// Offset to the database's clock that raises an alarm.
pub const CLOCK_OFFSET_ALARM: Span = Span::seconds(2);
/// Keys re-hashed under the current pepper in one change, at most one change a second.
pub const REHASH_BATCH: usize = 500;
/// Keys waiting to be re-hashed; more are left for their next verify.
pub const REHASH_QUEUE: usize = 10_000;
/// Retired peppers beside the current one.
pub const RETIRED_PEPPERS: usize = 15;

/// Distinct refusals counted in memory; more are counted together.
pub const DENIALS: usize = 10_000;
/// Counted refusals are written this often.
pub const DENIALS_INTERVAL: Duration = Duration::from_secs(60);
/// Rows purged in one change.
pub const PURGE_BATCH: u64 = 500;
/// Changes of one purge run; the rest waits for the next.
pub const PURGE_BATCHES: usize = 200;
