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
//! | [`grpc`] | How do callers speak to us, and an Envoy? The only user of tonic's server. |
//! | [`http`] | How do probes, Prometheus and unsubscribe links reach us? The only user of axum. |
//! | [`tls`] | What protects both ports, and whom may clients say they are? The only user of rustls. |
//! | [`replicas`] | Who are we among the replicas, and how far is each? |
//! | [`app`] | What is started and stopped in which order? |
//! | [`config`], [`data_folder`], [`files`], [`telemetry`], [`metrics`], [`jobs`], [`clock`], [`random`] | The edges: settings, files, logs, counts, bells, time, chance. |
//! | [`proto`] | The contract, generated from `proto/`. |
//! | [`client`] | How does a backend ask, from memory of its own? Knows only the contract; can be built alone. |
//!
//! Data flows one way: bytes → `grpc::convert` → `domain` → `authority` → `store` → database; and back by another road:
//! `store::Feed` → `verify::refresh` → `verify::mirror` → Verify. `grpc` never reads the database; Verify never writes.
//! `tests/it/architecture.rs` fails when an import breaks this.
//!
//! ## What always holds
//!
//! 1. **Ten.** A service user never has more than ten live keys. [`store::Store::write`] bumps the one revision row first,
//!    so writers are in line and counting is exact; and each live key occupies one of ten slots that the schema makes unique.
//! 2. **Whole or not at all.** A change, its audit event and its revision are one transaction, which several creates may
//!    share, and a change runs to its end even when its caller has gone.
//! 3. **No holes.** Revision order is commit order; the mirror's revision is only what it has seen up to; a row replaces
//!    another only when it is newer.
//! 4. **No guess.** UNKNOWN is said only after a look at the store that started after the question. What can't be known is
//!    UNAVAILABLE.
//! 5. **Dead at the instant.** `now >= expire_time` is dead, on every path, by [`domain::key::is_expired`]; jobs only
//!    record it.
//! 6. **No climbing.** Nobody gives, keeps alive or gets at a right that they don't hold.
//! 7. **One answer for foreign and missing.** Both leave through the same arm of [`grpc::status::from_refusal`].
//! 8. **No secret but once.** A secret leaves in the answer that made it; a retrievable one, which is kept sealed under a
//!    KEK ([`domain::kek`]), also from RevealKey. Stored is an HMAC under a pepper; neither pepper nor KEK is in the
//!    database, and [`domain::secret::Secret`] can't be printed.
//! 9. **Nothing unbounded.** Every loop, list, queue, message and wait has its bound in [`domain::limits`].
//!
//! ## Walk: CreateKey
//!
//! [`grpc::server`] takes the connection, [`tls`] encrypts it when there is a certificate, [`grpc::layers`] gives the call
//! a request id, a span and a deadline, [`grpc::caller::Gate::admit`] turns the credential into a caller, a key through the
//! same verdict as any, a certificate by the name in it that is mapped to a service user ([`verify::identities`]), and asks
//! for the right. [`grpc::convert::keys::create`] parses every field or names every wrong one.
//! [`authority::Authority::create_key`] checks that nothing is handed out which the caller hasn't got, makes id and secret,
//! and joins the line of creates (`authority::line`). One leader fetches a turn for all that wait, in a task of its own:
//! [`store::Store::write`] (turn, transaction, revision). In it (`authority::creations`) the store says at once of all of
//! them whether the callers are what they were and the owners are there; each gets a [`store::Write::free_slot`] or
//! KEY_LIMIT_REACHED; all that are left are inserted with their audit events by one statement, each under a revision of its
//! own, and committed. Then each call waits until this replica's mirror has its key, and answers with the secret, once.
//!
//! ## Walk: Verify
//!
//! [`grpc::server`] has handed the connection to one of the cores, each a thread with a runtime of its own, which carries a
//! Verify from its bytes to its answer: no router, no other task, no lock held across anything. [`grpc::caller::Gate`]
//! knows the caller by the same look-up as any key. What came in one burst is announced before the first of it is judged,
//! so that its memory is fetched meanwhile ([`verify::lookahead`]). [`domain::secret::PresentedSecret::parse`] refuses what
//! cannot be a key: MALFORMED, without a look-up. [`verify::mirror::Mirror::look_up`] finds the key's [`verify::record`],
//! one allocation, and through it the cells of its [`verify::owners`] and its [`verify::claims`]. A secret that has
//! opened the key before is recognised ([`verify::recogniser`]); any other is digested, and the digest compared in constant
//! time. If nothing matched, [`verify::refresh::Refresher::refresh`] waits for one look at the feed that everybody shares,
//! and the mirror is asked again. [`verify::verdict::judge`] decides, purely, in the order of the contract.
//! [`verify::tally`] counts for each core apart. A VALID verdict is noted in memory; [`verify::usage`] writes it later,
//! beside the key. Calls that reach the database run beside, in the runtime that accepts.
//!
//! Envoy's Check takes the same road: [`grpc::convert::check`] finds the secret among the headers of somebody's request, and
//! [`grpc::convert::decision`] writes what Envoy does with the request.
//!
//! ## Walk: a change on another replica
//!
//! It commits under revision n. Within a second, or at once when somebody asks about a secret it doesn't know, this
//! replica's [`verify::refresh`] task looks: revision row (and PostgreSQL's clock, which [`clock::Clock`] follows), then the
//! rows above what it has seen, owners before keys, page by page; each page goes in only after the database was asked
//! whether it still has what this replica saw before (if not, it lost writes: [`verify::refresh`]). A row that can't be
//! understood is put aside with an alarm and stops nobody. When all are in, the position moves to n, and `as_of` to the start
//! of the look.
//!
//! ## Features
//!
//! `client` is the client alone (`default-features = false, features = ["client"]`), with nothing of the server and its
//! database, mail and telemetry; `server` is everything else, and the program.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "server"), allow(rustdoc::broken_intra_doc_links, reason = "the map is of the whole house"))]

#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod authority;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod data_folder;
#[cfg(feature = "server")]
pub mod domain;
#[cfg(feature = "server")]
pub mod files;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod jobs;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod notify;
pub mod proto;
pub mod random;
#[cfg(feature = "server")]
pub mod replicas;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod verify;
