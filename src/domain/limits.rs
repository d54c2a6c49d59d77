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
/// Characters of whom a key acts for.
pub const ON_BEHALF_OF_CHARACTERS: usize = 200;
/// Characters of a role, and of an integration type.
pub const LABEL_CHARACTERS: usize = 64;
/// Roles, and integration types, that one policy lists.
pub const POLICY_LABELS: usize = 100;
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
/// Names in client certificates that are mapped to one service user.
pub const CERTIFICATE_IDENTITIES: usize = 8;
/// Names in client certificates that a replica remembers to have been taken away from their service users.
pub const TAKEN_IDENTITIES: usize = 10_000;
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
/// Reveals of one key within [`REVEAL_WINDOW`].
pub const REVEALS: usize = 5;
/// The time that reveals are counted in: any hour, not one by the clock.
pub const REVEAL_WINDOW: Span = Span::hours(1);
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

/// Headers that a gateway's clients may present their keys in.
pub const CREDENTIAL_HEADERS: usize = 8;
/// Proxies before a gateway that are believed about whom they were called by.
pub const TRUSTED_HOPS: u8 = 8;

/// How often the TLS files are looked at; a new certificate is in use after the second look that sees it.
pub const TLS_LOOK: Duration = Duration::from_secs(2);
/// Bytes of a file of certificates, or of a private key.
pub const TLS_FILE_BYTES: u64 = 1 << 20;
/// Names of one client certificate: a SPIFFE ID, and DNS names.
pub const PEER_NAMES: usize = 16;
/// Bytes of a name of a client certificate (SPIFFE-ID, 2.3).
pub const PEER_NAME_BYTES: usize = 2_048;
/// Bytes of the trust domain of a SPIFFE ID (SPIFFE-ID, 2.1).
pub const TRUST_DOMAIN_BYTES: usize = 255;
/// Bytes of a DNS name (RFC 1035, 2.3.4, as text).
pub const DNS_NAME_BYTES: usize = 253;

/// Bytes of a message of VerificationService, KeyService and UserGroupService, and of Envoy's Check: 1,000 of the longest
/// members fit, and all headers that Envoy takes.
pub const LARGE_MESSAGE_BYTES: usize = 1 << 20;
/// Bytes of a single Verify, and of a message of every other service.
pub const SMALL_MESSAGE_BYTES: usize = 64 << 10;
/// Bytes of the headers of one call, as HTTP/2 counts them (RFC 9113, 6.5.2).
pub const HEADER_BYTES: u32 = 16 << 10;

/// Deadline of Verify and BatchVerify.
pub const VERIFY_DEADLINE: Duration = Duration::from_millis(250);
/// Questions of one VerifyStream that are judged ahead of the answers that were read; then the stream waits.
pub const STREAM_IN_FLIGHT: usize = 256;
/// Questions of one VerifyStream that are read before the first of them is judged.
pub const STREAM_READ_AHEAD: usize = 32;
/// How often a stream's caller is judged again: at least once a second is promised, also when this is late.
pub const CALLER_CHECK: Duration = Duration::from_millis(500);
/// Revocations that are remembered for watchers that come back.
pub const REVOCATIONS_KEPT: usize = 65_536;
/// Revocations of one message of WatchRevocations.
pub const REVOCATIONS_PER_MESSAGE: usize = 1_000;
/// WatchRevocations that run at once; one more is OVERLOADED.
pub const WATCHES: usize = 1_000;
/// A watch without news sends a message this often: below the second that is promised.
pub const WATCH_HEARTBEAT: Duration = Duration::from_millis(900);
/// Messages of one watch that wait for their reader.
pub const WATCH_MESSAGES: usize = 4;
/// How long a watch waits for its reader to take a message.
pub const WATCH_PATIENCE: Duration = Duration::from_secs(10);
/// Deadline of every other call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Streams of one connection (tonic's own default is none: reliability.md R31).
pub const STREAMS_PER_CONNECTION: u32 = 200;
/// Bytes of one stream that may come before they are read. Of a VerifyStream that isn't read this must be less than what
/// h2 allows to lie around in small frames (RUSTSEC-2026-0258: 512 KiB, counting a frame as 256 bytes), or it would end the
/// connection instead of waiting.
pub const STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// Connections that the system keeps for us until we accept them; one more waits.
pub const BACKLOG: u32 = 1_024;
/// Connections of the server.
pub const CONNECTIONS: usize = 10_000;
/// Connections from one address.
pub const CONNECTIONS_PER_PEER: usize = 2_000;
/// Time a new connection has for its TLS handshake and to send the whole HTTP/2 preface.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection that has said nothing yet may hold up the end after SIGTERM: its client may have sent a call with
/// its first words. And how long one that was ended is still read from.
pub const LAST_HELLO: Duration = Duration::from_secs(1);
/// A connection without a call for this long is asked to leave.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(600);
/// How often a silent connection is pinged.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a ping may stay unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls may take to end after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long the end waits for the last export of spans, and for that of metrics.
pub const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Changes waiting for their turn in this process, and as many creates, which have a line of their own; one more is
/// OVERLOADED.
pub const WAITING_WRITERS: usize = 2_048;
/// Creates that have one turn together.
pub const CREATES_PER_TURN: usize = 32;
/// Statements that a connection keeps prepared. Those of a turn of creates have a text for each number of them, for which
/// PostgreSQL was seen to need 12 MB a writer's connection.
pub const PREPARED_STATEMENTS: usize = 256;
/// Changes of this process inside PostgreSQL at once, unless a setting says; they queue there for the revision row.
pub const POSTGRES_WRITERS: u32 = 4;
/// Connections for reading, on either engine, unless a setting says.
pub const READERS: u32 = 4;
/// Most readers, and most writers, that can be asked for.
pub const POOL: u32 = 64;
/// PostgreSQL `lock_timeout`, unless a setting says; always below the statement timeout, which would hide it.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// PostgreSQL `statement_timeout`, unless a setting says.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shortest timeout of the database that can be asked for.
pub const SHORTEST_DATABASE_TIMEOUT: Duration = Duration::from_millis(100);
/// How long one statement may take, getting a connection included, before its answer counts as swallowed by the network.
/// Below the calls' deadline, so that the caller still hears why; the timeouts of connecting and of a statement stay below.
pub const DATABASE_PATIENCE: Duration = Duration::from_secs(6);
/// How long a start may ask which peppers keys are stored under: a second for each million keys.
pub const SURVEY_TIMEOUT: Duration = Duration::from_secs(60);
/// PostgreSQL `idle_in_transaction_session_timeout`.
pub const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// Time to get a connection, from the pool or a new one, unless a setting says.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a PostgreSQL connection that comes back to the pool may take to say that it is alive.
pub const PING: Duration = Duration::from_secs(1);
/// A PostgreSQL connection this old is replaced: whoever moves the database's name need not cut what leads elsewhere.
pub const POSTGRES_CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// PostgreSQL connections are thrown away together, because the server takes no changes, at most this often.
pub const FAILOVER_SPACING: Duration = Duration::from_secs(1);
/// How long a change waits for its turn: below the call's deadline, so that it ends OVERLOADED and not too late.
pub const TURN_WAIT: Duration = Duration::from_secs(8);
/// How long one process waits for another's migration of the schema.
pub const MIGRATION_WAIT: Duration = Duration::from_secs(60);
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
/// Retired KEKs beside the current one.
pub const RETIRED_KEKS: usize = 15;
/// Data keys that are wrapped anew in one transaction.
pub const REWRAP_BATCH: u64 = 500;
/// Bytes of a file that holds KEKs; a longer one is another file.
pub const KEK_FILE_BYTES: u64 = 64 << 10;
/// Bytes of a file of settings, or of one that holds a setting's value or a secret.
pub const SETTINGS_FILE_BYTES: u64 = 64 << 10;

/// Characters of a machine's name in the id of a replica.
pub const HOST_NAME_CHARACTERS: usize = 63;
/// A replica says how far it is at least this often.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Two heartbeats of one replica are at least this far apart.
pub const HEARTBEAT_SPACING: Duration = Duration::from_millis(10);
/// How long a heartbeat, or another statement about replicas, may take.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a replica counts as answering beyond its staleness bound: its last look may be later than its last heartbeat
/// by the interval, a heartbeat that timed out and a new connection.
pub const HEARTBEAT_GRACE: Duration = Duration::from_secs(5);
/// How long the row of a replica that answers no more is kept, in hours.
pub const DEAD_REPLICAS_KEPT_HOURS: u32 = 1;
/// Longest `wait_for_replicas`.
pub const REPLICA_WAIT: Span = Span::seconds(5);
/// What is left of a call's deadline when it stops waiting for replicas.
pub const REPLICA_WAIT_MARGIN: Duration = Duration::from_millis(500);
/// First pause between two looks at the table of replicas while a call waits; each next one is half as long again.
pub const REPLICA_LOOK_FIRST: Duration = Duration::from_millis(20);
/// Longest such pause.
pub const REPLICA_LOOK_LONGEST: Duration = Duration::from_millis(100);
/// Looks of this process at the table of replicas are at least this far apart, however many calls wait.
pub const REPLICA_LOOK_SPACING: Duration = Duration::from_millis(5);
/// How long a connection that is to listen may take to be made.
pub const LISTEN_CONNECT: Duration = Duration::from_secs(3);
/// First pause before listening is tried again; each next one is twice as long until an echo was heard.
pub const LISTEN_RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest such pause.
pub const LISTEN_RETRY_LONGEST: Duration = Duration::from_secs(1);
/// Who listens sends itself an echo this often.
pub const ECHO_INTERVAL: Duration = Duration::from_millis(500);
/// How long an echo may take to come back.
pub const ECHO_WAIT: Duration = Duration::from_secs(1);
const _: () =
    assert!(ECHO_INTERVAL.as_millis() + ECHO_WAIT.as_millis() < 2_000, "a deaf listener is noticed within 2 s");
/// How long PostgreSQL keeps a listener that acknowledges nothing: its `tcp_user_timeout`.
pub const LISTENER_SILENCE: Duration = Duration::from_secs(10);

/// Distinct refusals counted in memory; more are counted together.
pub const DENIALS: usize = 10_000;
/// Counted refusals are written this often.
pub const DENIALS_INTERVAL: Duration = Duration::from_secs(60);
/// How long the token of a revision is kept after the next one: so long a replica may sleep and still tell that the database
/// lost writes.
pub const REVISION_TOKENS_KEPT: Span = Span::days(30);
/// Tokens of revisions purged in one change; each is a few bytes, and each change of a resource leaves one.
pub const PURGE_REVISION_TOKENS: u64 = 10_000;
/// Keys, or owners, ended again in one change after the database lost writes.
pub const ENDS_BATCH: usize = 500;
/// A mirror that saw nothing for this long is loaded anew: rows may have been purged meanwhile.
pub const RELOAD_AFTER: Span = Span::hours(24);
/// Rows purged in one change.
pub const PURGE_BATCH: u64 = 500;
/// User groups purged in one change: each may have 1,000 members.
pub const PURGE_GROUPS: u64 = 10;
/// Changes of one purge run; the rest waits for the next.
pub const PURGE_BATCHES: usize = 200;

/// Key groups of one tenant.
pub const KEY_GROUPS: u64 = 1_000;

/// A copy from SQLite tells how far it is after so many rows of a table.
pub const COPY_PROGRESS: u64 = 10_000;
/// Rows written, or named, by one statement.
pub const ROWS_PER_STATEMENT: usize = 500;
/// User groups of one tenant.
pub const USER_GROUPS: u64 = 100;
/// Members of one user group.
pub const USER_GROUP_MEMBERS: usize = 1_000;
/// Members that one page of user groups holds; the rest is on the next.
pub const USER_GROUP_PAGE_MEMBERS: usize = 4_000;
/// Characters of a mail address (RFC 5321, 4.5.3.1.3, less the angle brackets).
pub const ADDRESS_CHARACTERS: usize = 254;
/// Characters of a mail address before the `@` (RFC 5321, 4.5.3.1.1).
pub const ADDRESS_LOCAL_CHARACTERS: usize = 64;
/// How long notifications and deliveries are kept.
pub const WARNINGS_KEPT: Span = Span::days(90);
/// Longest span that one PreviewWarnings looks at.
pub const PREVIEW: Span = Span::days(31);
/// Span that a PreviewWarnings without `to` looks at.
pub const DEFAULT_PREVIEW: Span = Span::days(14);
/// Subscribers that a preview names; the rest is counted.
pub const PREVIEW_RECIPIENTS: u64 = 1_000;
/// Keys that a mail or a day of a preview lists; the rest is counted.
pub const DIGEST_KEYS: usize = 100;
/// Pages of keys that are read to fill one mail: more than one only for rows that can't be understood.
pub const PAGES_OF_WARNED_KEYS: usize = 100;
/// Keys, or subscribers, planned in one transaction.
pub const PLAN_PAGE: u64 = 500;
/// Pages of tenants that one run looks at; the rest waits for the next.
pub const PLAN_TENANT_PAGES: usize = 200;
/// How long a replica that plans a tenant keeps the others from planning it too.
pub const PLAN_LEASE: Span = Span::minutes(5);
/// How long a delivery belongs to who claimed it. Longer than [`SEND_TIMEOUT`], so that nobody repeats what still runs.
pub const DELIVERY_LEASE: Span = Span::seconds(60);
/// How long one attempt to send a mail may take, all commands together.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// First pause before a mail is tried again; each next one is twice as long.
pub const RETRY_FIRST: Span = Span::minutes(1);
/// Longest pause before a mail is tried again.
pub const RETRY_LONGEST: Span = Span::hours(1);
/// Days in a row on which an address may be refused for good before it gets no mail any more.
pub const REFUSALS: i16 = 3;
/// Characters of a mail server's answer that are kept.
pub const ANSWER_CHARACTERS: usize = 500;
/// Failures in a row that no recipient is to blame for, after which a run sends nothing more.
pub const FAILURES: usize = 16;
/// How long a connection to the mail server may take to be made.
pub const SMTP_CONNECT: Duration = Duration::from_secs(10);
/// How long the outcome of an attempt is tried to be written while the database is away; then the claim lapses.
pub const SETTLE_PATIENCE: Duration = Duration::from_secs(900);
/// How long one run may plan, and after that send; the rest waits for the next.
pub const RUN: Duration = Duration::from_secs(50);
/// A time of the next look, or attempt, further ahead than this is the trace of a clock that was wrong.
pub const FURTHEST_LOOK: Span = Span::hours(50);
/// As [`FURTHEST_LOOK`], for attempts to send a mail.
pub const FURTHEST_ATTEMPT: Span = Span::hours(2);
/// Tenants whose RunWarnings go on at once; of one tenant, one.
pub const RUNS: usize = 16;
/// How old the count of a tenant's expiring keys may be that a mail gives for those that it doesn't list.
pub const COUNT_AGE: Duration = Duration::from_secs(30);
/// How long a tenant counts as one without subscribers after it was looked at.
pub const LOOK_REMEMBERED: Span = Span::hours(25);
/// How long a RunWarnings may send: below its deadline, so that the report is still answered.
pub const RUN_WARNINGS: Duration = Duration::from_secs(560);
/// Tenants without subscribers that are told apart in the metric; more are not counted.
pub const TENANTS_WITHOUT_SUBSCRIBERS: usize = 10_000;
/// Most connections to the mail server at once that can be asked for.
pub const MAIL_CONNECTIONS: usize = 64;
/// Characters of the base of links.
pub const PUBLIC_URL_CHARACTERS: usize = 200;
/// A run is expected this often.
pub const WARNING_PERIOD: Duration = Duration::from_secs(60);
/// Deadline of RunWarnings.
pub const RUN_WARNINGS_DEADLINE: Duration = Duration::from_secs(600);
/// Keys whose end is recorded in one change.
pub const EXPIRY_BATCH: u64 = 500;
/// Changes of one run that records ends; the rest waits for the next.
pub const EXPIRY_BATCHES: usize = 200;
/// A key's last use is written at most this often.
pub const USAGE_INTERVAL: Span = Span::minutes(5);
/// Many last uses that are due at once are written within this time.
pub const USAGE_SPREAD: Duration = Duration::from_secs(120);
/// Last uses written by one statement.
pub const USAGE_BATCH: usize = 500;

/// Connections of the HTTP port; one more waits.
pub const HTTP_CONNECTIONS: usize = 256;
/// Time to send the headers of one HTTP request, and to begin the next one on a connection.
pub const HTTP_HEADERS: Duration = Duration::from_secs(5);
/// Bytes of request line and headers of one HTTP request.
pub const HTTP_HEADER_BYTES: usize = 16 << 10;
/// Headers of one HTTP request.
pub const HTTP_HEADER_COUNT: usize = 64;
/// Bytes of the body of one HTTP request.
pub const HTTP_BODY_BYTES: usize = 8 << 10;
/// Deadline of one HTTP request, its body included.
pub const HTTP_DEADLINE: Duration = Duration::from_secs(10);
/// An HTTP connection this old is asked to leave; one that reads no answers ends [`HTTP_DEADLINE`] later.
pub const HTTP_CONNECTION_LIFE: Duration = Duration::from_secs(120);
/// After how long an HTTP request that couldn't be served may be tried again.
pub const HTTP_RETRY_AFTER: Duration = Duration::from_secs(10);
