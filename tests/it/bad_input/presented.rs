//! What Verify is asked about: any text gets a verdict, and one bad item spoils no other.

use claviger::domain::{base62, ids::KeyId, secret::Secret};
use claviger::proto::v1::{self, Verdict, VerifyResponse, batch_verify_result::Result as Item};
use prost::Message;

use super::call;
use super::dynamic::{put, request};
use super::kinds::bad;
use super::table::fields;
use crate::harness::{Client, Engine, TestApp};
use crate::rpcs::Place;

on_both_engines!(
    any_text_that_cannot_be_a_key_is_malformed,
    a_well_formed_text_that_opens_nothing_is_unknown,
    a_bad_item_of_a_batch_has_the_error_it_would_have_alone,
);

const VERIFY: &str = "claviger.v1.VerificationService/Verify";

/// The verdict, after making sure that nothing but it and the freshness is told.
async fn bare_verdict(root: &mut Client, text: &str) -> Verdict {
    let told = root.verify(v1::VerifyRequest { secret: text.to_owned(), ..Default::default() }).await;
    let bare =
        VerifyResponse { verdict: told.verdict, revision: told.revision, as_of: told.as_of, ..Default::default() };
    assert_eq!(told, bare, "identity without a match: {text:.80}");
    told.verdict()
}

/// A text of the right shape with the right check characters.
fn checked(seventy: &str) -> String {
    let check: [u8; 6] = base62::encode(u128::from(crc32fast::hash(seventy.as_bytes())));
    format!("{seventy}{}", std::str::from_utf8(&check).expect("ASCII"))
}

fn damaged(good: &str) -> Vec<String> {
    let changed = |position: usize, to: u8| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[position] = if bytes[position] == to { to + 1 } else { to };
        String::from_utf8(bytes).expect("ASCII")
    };
    let replaced = (0..good.len()).flat_map(|position| [changed(position, b'0'), changed(position, b'!')]);
    let swapped = (0..good.len() - 1).map(|position| {
        let mut bytes = good.as_bytes().to_vec();
        bytes.swap(position, position + 1);
        String::from_utf8(bytes).expect("ASCII")
    });
    let lost = (0..good.len()).map(|position| [&good[..position], &good[position + 1..]].concat());
    let doubled = (0..good.len()).map(|position| [&good[..position], "0", &good[position..]].concat());
    replaced.chain(swapped).chain(lost).chain(doubled).filter(|text| text != good).collect()
}

fn odd(good: &str) -> Vec<String> {
    let padding = [" ", "\n", "\t", "\r\n", "\0", "\u{feff}", "\u{200b}", "\u{a0}", "=", "\""];
    let padded = padding.iter().flat_map(|pad| [format!("{pad}{good}"), format!("{good}{pad}")]);
    let cased =
        [good.to_lowercase(), good.to_uppercase(), good.replacen("cvg_", "CVG_", 1), good.replacen("cvg_", "Cvg_", 1)];
    let spelt =
        [good.replace('_', "-"), good.replacen("cvg_", "ｃvg_", 1), good.replace('_', "＿"), format!("Bearer {good}")];
    let no_uuid = [
        checked(&format!("cvg_{}_{}", "0".repeat(22), "a".repeat(43))),
        checked(&format!("cvg_{}_{}", "z".repeat(22), "a".repeat(43))),
    ];
    let lengths =
        ["".to_owned(), "x".into(), "é".repeat(38), "é".repeat(76), "\0".repeat(76), "_".repeat(76), good.repeat(2)];
    let long = ["cvg_".repeat(4 << 10), "𝕏\u{202e}\0é\n".chars().cycle().take(6_000).collect()];
    padded.chain(cased).chain(spelt).chain(no_uuid).chain(lengths).chain(long).collect()
}

async fn any_text_that_cannot_be_a_key_is_malformed(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let good = Place::make(&mut root, "acme").await.secret;
    assert_eq!(checked(&good[..70]), good, "this test knows how a secret is checked");
    for text in damaged(&good).into_iter().chain(odd(&good)).chain([noise()]) {
        assert_eq!(bare_verdict(&mut root, &text).await, Verdict::Malformed, "{text:.80}");
    }
    assert_eq!(root.verdict(&good).await, Verdict::Valid);
}

/// 16 KiB of random characters.
fn noise() -> String {
    let mut random = vec![0; 16 << 10];
    claviger::random::fill(&mut random).expect("randomness");
    String::from_utf8_lossy(&random).chars().take(16 << 10).filter(|&c| c != '\u{fffd}').collect()
}

async fn a_well_formed_text_that_opens_nothing_is_unknown(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let good = Place::make(&mut root, "acme").await.secret;
    let nobodys = Secret::generate(KeyId::from_random([9; 16]), claviger::random::fill).expect("a secret");
    let other_half =
        Secret::generate(KeyId::parse(&good[4..26]).expect("an id"), claviger::random::fill).expect("a secret");
    let one_off = checked(&format!("{}{}", &good[..69], if &good[69..70] == "a" { "b" } else { "a" }));
    for text in [nobodys.reveal(), other_half.reveal(), &one_off] {
        assert_eq!(bare_verdict(&mut root, text).await, Verdict::Unknown);
    }
}

async fn a_bad_item_of_a_batch_has_the_error_it_would_have_alone(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (mut requests, mut errors) = (Vec::new(), Vec::new());
    for field in fields().into_iter().filter(|field| field.rpc == VERIFY) {
        for (input, _) in bad(field.kind) {
            let mut message = request(VERIFY, &place);
            put(&mut message, field.path, &input);
            errors.push(call(&root, &app.root_secret, VERIFY, &message).await.expect_err("bad"));
            requests.push(message.transcode_to::<v1::VerifyRequest>().expect("a question"));
            requests.push(v1::VerifyRequest { secret: place.secret.clone(), ..Default::default() });
        }
    }
    let answer = root.verification.batch_verify(v1::BatchVerifyRequest { requests }).await.expect("answers");
    let results = answer.into_inner().results;
    assert_eq!(results.len(), 2 * errors.len());
    for (pair, alone) in results.chunks(2).zip(errors) {
        let [Some(Item::Error(error)), Some(Item::Response(good))] = [&pair[0].result, &pair[1].result] else {
            panic!("an error and an answer, not {pair:?}");
        };
        assert_eq!((error.code, error.message.as_str()), (i32::from(alone.code()), alone.message()));
        assert_eq!(error.encode_to_vec(), alone.details(), "the same details");
        assert_eq!((good.verdict(), &good.key), (Verdict::Valid, &place.key));
    }
}
