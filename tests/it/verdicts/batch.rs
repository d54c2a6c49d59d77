//! BatchVerify: result i belongs to request i.

use claviger::proto::v1::{BatchVerifyRequest, BatchVerifyResult, batch_verify_result::Result as Item};
use tonic::Code;

use super::*;
use crate::harness::errors::bad_fields;

on_both_engines!(
    each_result_of_a_batch_belongs_to_its_request,
    a_batch_has_one_to_a_thousand_questions,
    an_item_as_large_as_no_verify_may_be_spoils_no_other,
);

/// Key names, or nothing, in the order of the results.
fn keys(results: Vec<BatchVerifyResult>) -> Vec<(Verdict, String)> {
    let told = |result: BatchVerifyResult| match result.result {
        Some(Item::Response(told)) => (told.verdict(), told.key),
        other => panic!("no answer: {other:?}"),
    };
    results.into_iter().map(told).collect()
}

async fn batch(root: &mut Client, requests: Vec<VerifyRequest>) -> Result<Vec<BatchVerifyResult>, tonic::Status> {
    Ok(root.verification.batch_verify(BatchVerifyRequest { requests }).await?.into_inner().results)
}

/// Deals out 0 to `below`, in an order that is neither sorted nor regular, some of them often.
fn shuffled(count: usize, below: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % 1_000_003).expect("small") % below
    })
    .take(count)
}

async fn each_result_of_a_batch_belongs_to_its_request(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let mut known = vec![(place.secret.clone(), (Verdict::Valid, place.key.clone()))];
    for number in 0..8 {
        let (key, secret) = root.create_key(&place.owner, &[&format!("scope-{number}")]).await;
        let verdict = if number % 2 == 0 { Verdict::Valid } else { Verdict::Disabled };
        if verdict == Verdict::Disabled {
            disable_key(&mut root, &key.name).await;
        }
        known.push((secret, (verdict, key.name)));
    }
    let half_other = format!("{}{}", &place.secret[..70], &known[1].0[70..]);
    known.push((half_other, (Verdict::Malformed, String::new())));
    let unknown = claviger::domain::secret::Secret::generate(
        claviger::domain::ids::KeyId::from_random([3; 16]),
        claviger::random::fill,
    );
    known.push((unknown.expect("a secret").reveal().to_owned(), (Verdict::Unknown, String::new())));
    let order: Vec<usize> = shuffled(300, known.len()).collect();
    let results = batch(&mut root, order.iter().map(|&index| about(&known[index].0)).collect()).await;
    let expected: Vec<_> = order.iter().map(|&index| known[index].1.clone()).collect();
    assert_eq!(keys(results.expect("answers")), expected);
}

async fn a_batch_has_one_to_a_thousand_questions(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    for (count, good) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
        let answered = batch(&mut root, vec![about(""); count]).await;
        match answered {
            Ok(results) => assert_eq!((good, keys(results)), (true, vec![(Verdict::Malformed, String::new()); count])),
            Err(status) => {
                assert_eq!(
                    (good, status.code(), bad_fields(&status)),
                    (false, Code::InvalidArgument, vec!["requests".into()])
                );
            }
        }
    }
    assert_eq!(root.verdict(&place.secret).await, Verdict::Valid);
}

async fn an_item_as_large_as_no_verify_may_be_spoils_no_other(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let requests = vec![about(&place.secret), about(&"x".repeat(64 << 10)), about(&place.secret)];
    let results = batch(&mut root, requests).await.expect("answers");
    let verdicts: Vec<_> = results
        .iter()
        .map(|result| match &result.result {
            Some(Item::Response(told)) => Ok(told.verdict()),
            Some(Item::Error(error)) => Err(Code::from(error.code)),
            None => panic!("nothing"),
        })
        .collect();
    assert_eq!(verdicts, [Ok(Verdict::Valid), Err(Code::InvalidArgument), Ok(Verdict::Valid)]);
}
