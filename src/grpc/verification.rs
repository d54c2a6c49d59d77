//! VerificationService.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{
    FutureExt, Stream,
    future::{BoxFuture, join_all},
};
use hyper::body::{Bytes, Incoming};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::clock::Moment;
use crate::domain::{Refusal, credential::Presented, limits, refusal::FieldViolation, scope::RequiredScope};
use crate::proto::envoy::service::auth::v3::CheckRequest;
use crate::proto::v1::{
    BatchVerifyRequest, BatchVerifyResponse, BatchVerifyResult, VerifyRequest, VerifyResponse, VerifyStreamRequest,
    VerifyStreamResponse, WatchRevocationsRequest, batch_verify_result::Result as BatchItem,
    verification_service_server::VerificationService,
};
use crate::verify::{
    Answer, NoVerdict, Verifier,
    lookahead::{self, Lookahead},
    tally::Tally,
    verdict::{Question, Verdict},
};

use super::{
    caller::{Admitted, Gate, Opening},
    convert::{
        check::{Asked, Reading},
        decision::{self, DECISION_BYTES, Denial},
        verification,
    },
    fast_lane::{FastCall, FastLane, framed},
    recognised::Recognised,
    status,
    stream_end::StreamEnd,
    streams::Answers,
    told::{Told, ToldCodec},
    watch::{Messages, Watches},
};

/// What became of a question.
pub type Judged = Result<Answer, Status>;

/// Longer than most answers, so that most are written without moving.
const ANSWER_BYTES: usize = 384;

/// How a VerifyRequest begins: the key of its first field, a text.
const SECRET: u8 = 0x0a;

/// The service. Cheap to clone. All but WatchRevocations have a road of their own, and never come to tonic's.
#[derive(Clone)]
pub struct Verification {
    gate: Gate,
    verifier: Arc<Verifier>,
    tally: Arc<Tally>,
    watches: Watches,
    /// How Envoy's questions are read.
    reading: Arc<Reading>,
    leaving: CancellationToken,
    /// Of the calls of Verify that one core has.
    lookahead: Lookahead,
}

impl Verification {
    /// A service that answers from `verifier`, and counts its verdicts; its streams end with `leaving`.
    #[must_use]
    pub fn new(
        gate: Gate,
        verifier: Arc<Verifier>,
        tally: Arc<Tally>,
        watches: Watches,
        reading: Arc<Reading>,
        leaving: CancellationToken,
    ) -> Self {
        Self { gate, verifier, tally, watches, reading, leaving, lookahead: Lookahead::default() }
    }

    /// As [`judge`](Self::judge), for whoever can't wait: answers when memory alone can. `None`: ask there.
    pub fn judge_now(&self, caller: &Recognised, request: &VerifyRequest, arrival: Moment) -> Option<Judged> {
        let question = match read(caller, request) {
            Ok(question) => question,
            Err(refusal) => return Some(Err(status::from_refusal(&refusal))),
        };
        self.verifier.verify_now(&request.secret, &question, arrival).ok().map(|answer| self.counted(answer))
    }

    /// Announces a question that will be judged soon.
    pub fn announce(&self, request: &VerifyRequest, lookahead: &Lookahead) {
        self.verifier.announce(request.secret.as_bytes(), lookahead);
    }

    /// Judges one question, which came at `arrival`.
    pub async fn judge(&self, caller: &Recognised, request: &VerifyRequest, arrival: Moment) -> Judged {
        let question = read(caller, request).map_err(|refusal| status::from_refusal(&refusal))?;
        self.counted(self.verifier.verify(&request.secret, &question, arrival).await)
    }

    /// Now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.gate.moment()
    }

    async fn admit<T>(&self, request: &Request<T>, method: &'static str) -> Result<Admitted, Status> {
        self.gate.admit_verification(Opening::of(request), method).await
    }

    fn counted(&self, answer: Result<Answer, NoVerdict>) -> Judged {
        self.count(&answer);
        answer.map_err(status::from_no_verdict)
    }

    fn count(&self, answer: &Result<Answer, NoVerdict>) {
        self.tally.count(&answer.as_ref().map(|answer| answer.verdict).map_err(|why| *why));
    }
}

impl FastLane for Verification {
    fn announce(&self, message: &[u8]) {
        // Unless somebody writes the fields in an unusual order, the secret comes first.
        let [SECRET, length, rest @ ..] = message else { return };
        if let Some(secret) = rest.get(..usize::from(*length)) {
            self.verifier.announce(secret, &self.lookahead);
        }
    }

    async fn verify(&self, opening: Opening<'_>, request: &VerifyRequest) -> Result<Bytes, Status> {
        let Admitted { caller, arrival } = self.gate.admit_verification(opening, FastCall::Verify.method()).await?;
        let answer = self.judge(&caller, request, arrival).await?;
        Ok(framed(ANSWER_BYTES, |bytes| verification::encode(&answer, &request.secret, bytes)))
    }

    async fn batch_verify(&self, opening: Opening<'_>, request: &BatchVerifyRequest) -> Result<Bytes, Status> {
        let Admitted { caller, arrival } =
            self.gate.admit_verification(opening, FastCall::BatchVerify.method()).await?;
        let requests = &request.requests;
        check_count(requests.len()).map_err(|refusal| status::from_refusal(&refusal))?;
        let lookahead = Lookahead::default();
        let mut announced = requests.iter();
        let mut announce = |count| {
            announced.by_ref().take(count).for_each(|next| self.verifier.announce(next.secret.as_bytes(), &lookahead));
        };
        announce(lookahead::DEPTH);
        let judge = |request| {
            announce(1);
            self.judge_now(&caller, request, arrival)
        };
        let mut judged: Vec<_> = requests.iter().map(judge).collect();
        // All at once, so that secrets which need a refresh share one.
        let waiting = judged.iter_mut().zip(requests).filter(|(judged, _)| judged.is_none());
        join_all(waiting.map(async |(judged, request)| *judged = Some(self.judge(&caller, request, arrival).await)))
            .await;
        let judged = judged.into_iter().flatten().zip(requests);
        Ok(framed(requests.len() * ANSWER_BYTES, |bytes| write_results(judged, bytes)))
    }

    async fn check(&self, opening: Opening<'_>, request: &CheckRequest) -> Result<Bytes, Status> {
        let Admitted { caller, arrival } = self.gate.admit_verification(opening, FastCall::Check.method()).await?;
        let Asked { presented, question, headers_to_remove } =
            match self.reading.read(request, caller.owner().verifiable_tenant()) {
                Ok(asked) => asked,
                Err(refusal) => return Ok(misunderstood(&status::from_refusal(&refusal))),
            };
        let text = match presented {
            Presented::Text(text) => text,
            Presented::Nothing => return Ok(denied(Denial::CredentialMissing, None, &[])),
            Presented::Unclear => return Ok(denied(Denial::CredentialUnclear, None, &[])),
        };
        let answer = self.verifier.verify(text, &question, arrival).await;
        self.count(&answer);
        Ok(match answer {
            Ok(answer) if answer.verdict == Verdict::Valid => {
                framed(DECISION_BYTES, |bytes| decision::encode_allowed(&answer, &headers_to_remove, bytes))
            }
            Ok(answer) => denied(Denial::Judged(answer.verdict), Some(&answer), &question.required_scopes),
            Err(why) => denied(Denial::NoVerdict(why), None, &[]),
        })
    }

    async fn verify_stream(&self, request: http::Request<Incoming>) -> http::Response<Body> {
        let mut server =
            Grpc::new(ToldCodec::default()).apply_max_message_size_config(Some(limits::LARGE_MESSAGE_BYTES), None);
        server.streaming(self.clone(), request).await
    }
}

/// Why is for the log and for Envoy, never for the client.
fn denied(denial: Denial, answer: Option<&Answer>, required: &[RequiredScope<'_>]) -> Bytes {
    tracing::debug!(
        verdict = denial.as_str(),
        key = answer.and_then(|answer| answer.key.as_ref()).map(|key| display(key.name())),
        "Envoy was told to deny a request"
    );
    framed(DECISION_BYTES, |bytes| decision::encode_denied(denial, answer, required, bytes))
}

/// A question that Envoy's configuration makes wrong: without a decision its log would have no reason.
fn misunderstood(status: &Status) -> Bytes {
    tracing::debug!(why = status.message(), "Envoy asked what can't be understood, and was told to deny the request");
    framed(DECISION_BYTES, |bytes| decision::encode_misunderstood(rpc_status(status), bytes))
}

fn write_results<'a>(judged: impl Iterator<Item = (Judged, &'a VerifyRequest)>, bytes: &mut Vec<u8>) {
    let mut scratch = Vec::with_capacity(ANSWER_BYTES);
    for (judged, request) in judged {
        match judged {
            Ok(answer) => verification::encode_batch_result(&answer, &request.secret, &mut scratch, bytes),
            Err(status) => {
                let result = Some(BatchItem::Error(rpc_status(&status)));
                prost::encoding::message::encode(1, &BatchVerifyResult { result }, bytes);
            }
        }
    }
}

impl StreamingService<VerifyStreamRequest> for Verification {
    type Response = Told;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<VerifyStreamRequest>>) -> Self::Future {
        let service = self.clone();
        async move {
            let method = "claviger.v1.VerificationService/VerifyStream";
            let Admitted { caller, .. } = service.admit(&request, method).await?;
            let end = StreamEnd::of(&service.gate, &request, method, &service.leaving);
            Ok(Response::new(Answers::new(service, caller, request.into_inner(), end)))
        }
        .boxed()
    }
}

#[tonic::async_trait]
impl VerificationService for Verification {
    async fn verify(&self, _request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        Err(status::method_unknown())
    }

    async fn batch_verify(
        &self,
        _request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        Err(status::method_unknown())
    }

    type VerifyStreamStream = Pin<Box<dyn Stream<Item = Result<VerifyStreamResponse, Status>> + Send>>;

    async fn verify_stream(
        &self,
        _request: Request<Streaming<VerifyStreamRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        Err(status::method_unknown())
    }

    type WatchRevocationsStream = Messages;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let method = "claviger.v1.VerificationService/WatchRevocations";
        let Admitted { caller, .. } = self.admit(&request, method).await?;
        let end = StreamEnd::of(&self.gate, &request, method, &self.leaving);
        let tenant = caller.owner().verifiable_tenant().is_some().then(|| caller.owner().tenant().id().clone());
        Ok(Response::new(self.watches.open(request.get_ref(), tenant, end).await?))
    }
}

/// The status as a message: tonic carries it, encoded, in its own details.
pub(super) fn rpc_status(status: &Status) -> tonic_types::pb::Status {
    tonic_types::pb::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn read<'a>(caller: &'a Recognised, request: &'a VerifyRequest) -> Result<Question<'a>, Refusal> {
    check_size(request)?;
    verification::question(request, caller.owner().verifiable_tenant())
}

fn check_size(request: &VerifyRequest) -> Result<(), Refusal> {
    let bytes = request.encoded_len();
    if bytes <= limits::SMALL_MESSAGE_BYTES {
        return Ok(());
    }
    let why = format!("makes a message of {bytes} bytes; at most {} are allowed", limits::SMALL_MESSAGE_BYTES);
    Err(Refusal::Invalid(vec![FieldViolation::new("secret", why)]))
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if (1..=limits::BATCH).contains(&count) {
        return Ok(());
    }
    let why = format!("has {count} entries; 1 to {} are allowed", limits::BATCH);
    Err(Refusal::Invalid(vec![FieldViolation::new("requests", why)]))
}
