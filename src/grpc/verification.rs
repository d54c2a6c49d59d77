//! VerificationService.

use std::sync::Arc;

use futures_util::future::join_all;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::domain::{Refusal, caller::Caller, limits, refusal::FieldViolation, rights::Right};
use crate::proto::v1::{
    BatchVerifyRequest, BatchVerifyResponse, BatchVerifyResult, VerifyRequest, VerifyResponse,
    batch_verify_result::Result as BatchItem, verification_service_server::VerificationService,
};
use crate::verify::Verifier;

use super::{caller::Gate, convert::verification, status};

/// The service.
pub struct Verification {
    gate: Gate,
    verifier: Arc<Verifier>,
}

impl Verification {
    /// A service that answers from `verifier`.
    #[must_use]
    pub fn new(gate: Gate, verifier: Arc<Verifier>) -> Self {
        Self { gate, verifier }
    }

    async fn judge(&self, caller: &Caller, request: &VerifyRequest) -> Result<VerifyResponse, Status> {
        check_size(request).map_err(|refusal| status::from_refusal(&refusal))?;
        let question = verification::question(request, caller).map_err(|refusal| status::from_refusal(&refusal))?;
        let answer = self.verifier.verify(&request.secret, &question).await.map_err(status::from_no_verdict)?;
        Ok(verification::write(&answer))
    }
}

#[tonic::async_trait]
impl VerificationService for Verification {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let call = self.gate.admit(&request, "claviger.v1.VerificationService/Verify", &[Right::Verify]).await?;
        let response = self.judge(&call.caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn batch_verify(
        &self,
        request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        let call = self.gate.admit(&request, "claviger.v1.VerificationService/BatchVerify", &[Right::Verify]).await?;
        let requests = &request.get_ref().requests;
        check_count(requests.len()).map_err(|refusal| status::from_refusal(&refusal))?;
        // All at once, so that secrets which need a refresh share one.
        let judged = join_all(requests.iter().map(|request| self.judge(&call.caller, request))).await;
        let results = judged.into_iter().map(result).collect();
        Ok(Response::new(BatchVerifyResponse { results }))
    }
}

fn result(judged: Result<VerifyResponse, Status>) -> BatchVerifyResult {
    let item = match judged {
        Ok(response) => BatchItem::Response(response),
        Err(status) => BatchItem::Error(rpc_status(&status)),
    };
    BatchVerifyResult { result: Some(item) }
}

/// The status as a message: tonic carries it, encoded, in its own details.
fn rpc_status(status: &Status) -> tonic_types::pb::Status {
    tonic_types::pb::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
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
