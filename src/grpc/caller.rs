//! From metadata to a known caller: every handler's first line asks here for the right it needs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tonic::{Request, Status};

use crate::authority::{
    Authority, AuthorityError,
    call::{Call, own_event},
};
use crate::clock::{Clock, Moment};
use crate::domain::{
    Refusal, Time,
    audit::{Outcome, event_id},
    caller::Caller,
    ids::TenantId,
    network::fold_address,
    peer_name::{PeerName, PeerNames},
    rights::Right,
};
use crate::proto::v1::ErrorReason;
use crate::random;
use crate::verify::{
    NoVerdict, Verifier,
    identities::{Certified, Identity},
    verdict::{Question, Verdict},
};

use super::{recognised::Recognised, status};

/// The address of the other end of a connection, put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// What is known about the other end of a connection. Small, because it goes through every call.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: PeerAddress,
    /// The names of its client certificate, if it presented one that was verified and names somebody. Also an extension of
    /// each request that tonic gets.
    pub names: Option<PeerNames>,
}

/// The call's `x-request-id`, its own or the one it was given, put into each request by the layers.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// What a call says of itself before its message.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Its metadata.
    pub headers: &'a HeaderMap,
    /// The address that it came from, IPv4-mapped ones folded.
    pub address: Option<IpAddr>,
    /// The names of the client certificate that its connection was made with.
    pub names: Option<&'a PeerNames>,
    /// Its `x-request-id`; empty when it has none.
    pub request_id: &'a str,
}

impl<'a> Opening<'a> {
    /// What a request of tonic's says.
    #[must_use]
    pub fn of<T>(request: &'a Request<T>) -> Self {
        let extensions = request.extensions();
        Self {
            headers: request.metadata().as_ref(),
            address: extensions.get::<PeerAddress>().map(|peer| fold_address(peer.0.ip())),
            names: extensions.get::<PeerNames>(),
            request_id: extensions.get::<RequestId>().map_or("", |id| &id.0),
        }
    }

    /// What the caller shows: the token decides where there is one, and where something else is in its place nothing does.
    fn presented(&self, now: Time) -> Presented<'a> {
        let mut values = self.headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next(), self.names) {
            (Some(value), None, _) => bearer(value).map_or(Presented::Nothing, Presented::Bearer),
            (None, _, Some(names)) => Presented::Certificate(names.at(now)),
            (Some(_), Some(_), _) | (None, _, None) => Presented::Nothing,
        }
    }
}

/// What a caller shows.
enum Presented<'a> {
    /// One bearer token.
    Bearer(&'a str),
    /// A client certificate with these names; none when it has expired meanwhile.
    Certificate(&'a [PeerName]),
    /// Neither, or not exactly one token.
    Nothing,
}

/// The scheme's name may be in any case (RFC 9110, 11.1); the token is taken as it is.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A call of VerificationService that was let in.
pub struct Admitted {
    /// Who called.
    pub caller: Recognised,
    /// When the call came.
    pub arrival: Moment,
}

/// Lets calls in.
#[derive(Clone)]
pub struct Gate {
    verifier: Arc<Verifier>,
    authority: Authority,
    clock: Clock,
}

impl Gate {
    /// A gate that recognises callers by `verifier` and counts refusals with `authority`.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>, authority: Authority, clock: Clock) -> Self {
        Self { verifier, authority, clock }
    }

    /// Lets a call in whose caller has at least one of `rights`; or refuses it and counts that.
    pub async fn admit(&self, opening: Opening<'_>, method: &'static str, rights: &[Right]) -> Result<Call, Status> {
        let arrival = self.clock.moment();
        let caller = self.recognise(opening, method, arrival).await?;
        let call = self.call(opening, caller.caller(opening.address), method)?;
        match rights.iter().any(|&right| call.caller.holds(right)) {
            true => Ok(call),
            false => {
                let lowest = rights.last().copied().unwrap_or(Right::Admin);
                Err(self.refuse(&call, &Refusal::RightMissing(lowest).into()))
            }
        }
    }

    /// Lets a call of VerificationService in, without all that only a change needs; or refuses it and counts that.
    pub async fn admit_verification(&self, opening: Opening<'_>, method: &'static str) -> Result<Admitted, Status> {
        let arrival = self.clock.moment();
        let caller = self.recognise(opening, method, arrival).await?;
        if !caller.holds(Right::Verify) {
            Box::pin(self.admit(opening, method, &[Right::Verify])).await?;
        }
        Ok(Admitted { caller, arrival })
    }

    /// Now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Whose key is good, or whose certificate is mapped, here and now.
    async fn recognise(
        &self,
        opening: Opening<'_>,
        method: &'static str,
        arrival: Moment,
    ) -> Result<Recognised, Status> {
        let address = opening.address;
        let recognised = match opening.presented(arrival.time) {
            Presented::Bearer(secret) => {
                let question = Question { client_ip: address, ..Question::default() };
                let answer = self.verifier.verify(secret, &question, arrival).await.map_err(status::from_no_verdict)?;
                answer.key.filter(|_| answer.verdict == Verdict::Valid).map(Recognised::Key)
            }
            Presented::Certificate(names) => {
                let certified = self.certify(names, arrival).await.map_err(status::from_no_verdict)?;
                certified.map(Recognised::Certificate)
            }
            Presented::Nothing => {
                self.count_unknown(method, address, ErrorReason::CallerMissing);
                return Err(status::caller_missing());
            }
        };
        recognised.ok_or_else(|| {
            self.count_unknown(method, address, ErrorReason::CallerInvalid);
            status::caller_invalid()
        })
    }

    /// What one of these names is mapped to. Why nobody may call by them is for the log alone.
    async fn certify(&self, names: &[PeerName], arrival: Moment) -> Result<Option<Arc<Identity>>, NoVerdict> {
        let refused = |why| {
            tracing::debug!(why, names = ?names.iter().map(PeerName::as_str).collect::<Vec<_>>(), "a client certificate was refused");
            Ok(None)
        };
        if names.is_empty() {
            return refused("it has expired");
        }
        match self.verifier.certify(names, arrival).await? {
            Certified::Good(identity) => Ok(Some(identity)),
            Certified::OwnerDisabled => refused("its service user, or the tenant, is disabled"),
            Certified::Ambiguous => refused("several of its names are mapped"),
            Certified::Missing => refused("none of its names is mapped"),
        }
    }

    /// The status of a use case that didn't do it; a denial is counted for the audit trail.
    #[must_use]
    pub fn refuse(&self, call: &Call, error: &AuthorityError) -> Status {
        if let Some(reason) = status::denial(error) {
            let mut event = call.event(&call.caller.credential.owner().tenant, String::new());
            event.outcome = Outcome::Denied(status::name(reason).to_owned());
            self.authority.denials().count(event);
        }
        status::from_authority(error)
    }

    fn call(&self, opening: Opening<'_>, caller: Caller, method: &'static str) -> Result<Call, Status> {
        let now = self.clock.now();
        let random = random::bytes().map_err(|error| status::from_authority(&error.into()))?;
        let request_id = opening.request_id.to_owned();
        Ok(Call { caller, method, request_id, now, event: event_id(now, random) })
    }

    /// Refusals of unknown callers belong to nobody's tenant; `system` sees them.
    fn count_unknown(&self, method: &'static str, address: Option<IpAddr>, reason: ErrorReason) {
        let Ok(random) = random::bytes() else { return };
        let now = self.clock.now();
        let mut event = own_event(event_id(now, random), TenantId::system(), String::new(), now);
        event.method = method.to_owned();
        event.address = address.map_or_else(String::new, |address| address.to_string());
        event.outcome = Outcome::Denied(status::name(reason).to_owned());
        self.authority.denials().count(event);
    }
}
