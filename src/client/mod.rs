//! The Rust client: is this key good?, answered from memory while the authority can still take it back.
//!
//! [`Verifier`] asks Claviger and remembers what is VALID. It follows WatchRevocations: a key that is revoked, disabled,
//! deleted, superseded or narrowed, or whose owner is, is forgotten as soon as that is told. Cut off from the watch for
//! longer than [`Options::staleness_bound`], it forgets everything and asks each time, until the watch is back; so a revoked
//! key is never VALID for longer than that. [`RequireKeyLayer`] puts a verifier before a tonic or axum service.
//!
//! ```no_run
//! use claviger::client::{Options, Verifier, VerifyError};
//! use tonic::transport::Endpoint;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let own_secret = std::fs::read_to_string("gateway.key")?;
//! let channel = Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
//! let verifier = Verifier::new(channel, own_secret.trim_end(), &Options::default())?;
//!
//! match verifier.verify("cvg_…", None, &["invoices:read"]).await {
//!     Ok(identity) => println!("welcome, {}", identity.service_user),
//!     Err(VerifyError::Refused { verdict, .. }) => println!("refused: {}", verdict.as_str_name()),
//!     Err(error) => println!("try again: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | question it answers |
//! |---|---|
//! | `verifier` | What does the user call? |
//! | `layer`, `rejection` | How is a service protected, and what does a refused request get? |
//! | `cache` | Which answers are remembered, and when do they count? Pure. |
//! | `watch` | How is the watch kept alive? |
//! | `server_clock`, `boot_time` | What can the server's clock show now? |
//! | `fingerprint`, `identity`, `caller`, `error`, `limits` | What is a question, an answer, our own way there, a failure, a number? |

mod boot_time;
mod cache;
mod caller;
mod error;
mod fingerprint;
mod identity;
mod layer;
mod limits;
mod rejection;
mod server_clock;
mod verifier;
mod watch;

pub use crate::proto::v1::Verdict;
pub use error::{StartError, VerifyError};
pub use identity::Identity;
pub use layer::{RequireKey, RequireKeyLayer};
pub use verifier::{Options, Verifier};
