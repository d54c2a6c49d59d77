//! # Claviger: the key authority
//!
//! Issues API keys to service users, answers "is this key good?" from memory, and keeps a trail of who changed what. This
//! page is the map: what is where, what always holds, and three walks through the code.
//!
//! ## Where things are, in reading order
//!
//! | module | question it answers |
//! |---|---|
//! | [`domain`] | What are the rules? Pure and synchronous; knows nobody. |
//! | [`store`] | How are changes kept? The only user of sea-orm. |
//! | [`verify`] | Is this key good? Mirror, refresh, verdict, last use. |
//! | [`authority`] | Who may change what, and what happens then? One file per resource. |
//! | [`grpc`] | How do callers speak to us? The only user of tonic's server. |
//! | [`http`] | How do probes, Prometheus and unsubscribe links reach us? The only user of axum. |
//! | [`app`] | What is started and stopped in which order? |
//! | [`config`], [`data_folder`], [`telemetry`], [`metrics`], [`jobs`], [`clock`], [`random`] | The edges: settings, files, logs, counts, bells, time, chance. |
//! | [`proto`] | The contract, generated from `proto/`. |
//!
//! Data flows one way: bytes → `grpc::convert` → `domain` → `authority` → `store` → database; and back by another road:
//! `store::Feed` → `verify::refresh` → `verify::mirror` → Verify. `grpc` never reads the database; Verify never writes.
//! `tests/it/architecture.rs` fails when an import breaks this.
//!
//! ## What always holds
//!
//! 1. **Ten.** A service user never has more than ten live keys. [`store::Store::write`] bumps the one revision row first,
//!    so writers are in line and counting is exact; and each live key occupies one of ten slots that the schema makes unique.
//! 2. **Whole or not at all.** A change, its audit event and its revision are one transaction, and a change runs to its end
//!    even when its caller has gone.
//! 3. **No holes.** Revision order is commit order; the mirror's revision is only what it has seen up to; a row replaces
//!    another only when it is newer.
//! 4. **No guess.** UNKNOWN is said only after a look at the store that started after the question. What can't be known is
//!    UNAVAILABLE.
//! 5. **Dead at the instant.** `now >= expire_time` is dead, on every path, by [`domain::key::is_expired`]; jobs only
//!    record it.
//! 6. **No climbing.** Nobody gives, keeps alive or gets at a right that they don't hold.
//! 7. **One answer for foreign and missing.** Both leave through the same arm of [`grpc::status::from_refusal`].
//! 8. **No secret but once.** A secret leaves in the answer that made it. Stored is an HMAC under a pepper that is not in the
//!    database; [`domain::secret::Secret`] can't be printed.
//! 9. **Nothing unbounded.** Every loop, list, queue, message and wait has its bound in [`domain::limits`].
//!
//! ## Walk: CreateKey
//!
//! [`grpc::server`] takes the connection, [`grpc::layers`] gives the call a request id, a span and a deadline,
//! [`grpc::caller::Gate::admit`] turns the credential into a caller through the same verdict as any key, and asks for the
//! right. [`grpc::convert::keys::create`] parses every field or names every wrong one. [`authority::Authority::create_key`]
//! checks that nothing is handed out which the caller hasn't got, makes id and secret, and starts the change in a task of its
//! own: [`store::Store::write`] (turn, transaction, revision), the owner must exist, [`store::Write::free_slot`] or
//! KEY_LIMIT_REACHED, insert, audit event, commit. Then the change waits until this replica's mirror has it, and answers with
//! the secret, once.
//!
//! ## Walk: Verify
//!
//! [`domain::secret::Secret::parse`] refuses what cannot be a key: MALFORMED, without a look-up.
//! [`verify::mirror::Mirror::look_up`] joins key, service user and tenant under one short lock. The digest is compared in
//! constant time. If nothing matched, [`verify::refresh::Refresher::refresh`] waits for one look at the feed that everybody
//! shares, and the mirror is asked again. [`verify::verdict::judge`] decides, purely, in the order of the contract. A VALID
//! verdict is noted in memory; [`verify::usage`] writes it later, beside the key.
//!
//! ## Walk: a change on another replica
//!
//! It commits under revision n. Within a second, or at once when somebody asks about a secret it doesn't know, this
//! replica's [`verify::refresh`] task looks: revision row (and PostgreSQL's clock, which [`clock::Clock`] follows), then the
//! rows above what it has seen, owners before keys, page by page. A row that can't be understood is put aside with an alarm
//! and stops nobody. When all are in, the position moves to n, and `as_of` to the start of the look.
#![forbid(unsafe_code)]

pub mod app;
pub mod authority;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod domain;
pub mod grpc;
pub mod http;
pub mod jobs;
pub mod metrics;
pub mod notify;
pub mod proto;
pub mod random;
pub mod store;
pub mod telemetry;
pub mod verify;
