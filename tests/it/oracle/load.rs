//! Verifiers: closed loops that ask about random keys and write down every answer.

use std::sync::Arc;
use std::time::Duration;

use claviger::proto::v1::VerifyRequest;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_types::StatusExt;

use crate::harness::Client;
use crate::rig::Chance;

use super::judge::{Answer, Heard};
use super::record::Record;

/// So that the machine has time for the service too.
const PACE: Duration = Duration::from_millis(2);
/// Longer than any stop of a replica.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The scope that keys have until they are narrowed, and the one that stays.
pub const SCOPES: [&str; 2] = ["pay", "read"];

/// Asks one replica until stopped.
pub async fn verify(
    mut caller: Client,
    replica: usize,
    record: Arc<Record>,
    mut chance: Chance,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let (key, secret) = record.draw(&mut chance);
        ask(&mut caller, replica, &record, key, secret, chance.below(2) == 0).await;
        sleep(PACE).await;
    }
}

/// Asks once and writes the answer down.
pub async fn ask(
    caller: &mut Client,
    replica: usize,
    record: &Record,
    key: Option<usize>,
    secret: String,
    asks_scope: bool,
) -> Heard {
    let required_scopes = if asks_scope { vec![SCOPES[0].to_owned()] } else { Vec::new() };
    let request = VerifyRequest { secret, required_scopes, ..Default::default() };
    let start = record.now();
    let heard = match timeout(PATIENCE, caller.verification.verify(request)).await {
        Ok(Ok(answer)) => {
            let answer = answer.into_inner();
            Heard::Verdict(answer.verdict(), record.moment(answer.as_of.expect("as_of")))
        }
        Ok(Err(status)) => Heard::Error(reason_of(&status)),
        Err(_) => Heard::Error("no answer at all".to_owned()),
    };
    record.answer(Answer { replica, key, asks_scope, start, end: record.now(), heard: heard.clone() });
    heard
}

/// The reason, or what else there is.
pub fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(|| format!("{:?}: {}", status.code(), status.message()), |info| info.reason)
}
