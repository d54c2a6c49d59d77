//! The packed record answers as the plain values do: random keys, owners and questions go into the real mirror, and each
//! verdict is held against a naive one made from the plain values.

mod plain;
mod world;

use std::net::IpAddr;
use std::sync::Arc;

use claviger::clock::BootTime;
use claviger::domain::{
    Time,
    key::expires_soon,
    limits,
    rights::Right,
    scope::{RequiredScope, Scope},
    secret::Secret,
    verifiable_key::VerifiableKey,
};
use claviger::grpc::convert::verification;
use claviger::proto::v1::{
    BatchVerifyResponse, BatchVerifyResult, VerifyResponse, VerifyStreamResponse,
    batch_verify_result::Result as BatchItem, verify_stream_response::Result as StreamItem,
};
use claviger::random;
use claviger::verify::{
    Answer,
    claims::Claims,
    mirror::{LookUp, Mirror},
    owners::Owners,
    position::Position,
    record::Record,
    usage::LastUse,
    verdict::{Question, Verdict, exists, judge},
};

use prost::Message;

use crate::rig::Chance;
use plain::{Asked, Plain, State};
use world::World;

const CASES: usize = 20_000;
const SEEDS: u64 = 4;

/// What Verify does with what the mirror has. `None` = the row can't be understood.
fn packed(world: &World, asked: &Asked) -> Option<Verdict> {
    let presented = asked.secret.presented();
    let required: Vec<RequiredScope<'_>> =
        asked.required.iter().map(|text| RequiredScope::parse(text).expect("a scope")).collect();
    let question = Question {
        required_scopes: required,
        client_ip: asked.client_ip(),
        tenants: [asked.tenants[0].as_deref(), asked.tenants[1].as_deref()],
        ..Question::default()
    };
    let now = plain::time(asked.now);
    match world.mirror.look_up(presented.key_id()) {
        LookUp::Missing => Some(Verdict::Unknown),
        LookUp::Unreadable => None,
        LookUp::Found(found) => {
            let digest = world.peppers.at(found.key.pepper()).expect("a pepper").digest(presented);
            let opens = exists(&found, &question, now) && found.key.digest().matches(&digest);
            Some(if opens { judge(&found, &question, now) } else { Verdict::Unknown })
        }
    }
}

#[test]
fn every_verdict_is_that_of_the_plain_values() {
    let mut told = std::collections::BTreeMap::new();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 60);
        for case in 0..CASES / usize::try_from(SEEDS).expect("few") {
            world.change();
            for _ in 0..3 {
                let asked = world.question();
                let (found, expected) = (packed(&world, &asked), world.verdict(&asked));
                assert_eq!(found, expected, "seed {seed}, case {case}: {asked:?} about {:?}", world.key_of(&asked));
                *told.entry(expected.map_or("unreadable", Verdict::as_str)).or_insert(0_usize) += 1;
            }
        }
    }
    println!("seeds 0..{SEEDS}: {told:?}");
    assert_eq!(told.len(), Verdict::ALL.len(), "each verdict but MALFORMED, and UNREADABLE, was met: {told:?}");
    assert!(told.values().all(|count| *count >= CASES / 200), "each often enough: {told:?}");
}

/// A record of this key, packed as the mirror does it.
fn record(plain: &Plain, world: &World) -> Record {
    let key = plain.key(world);
    let owner = Owners::default().service_user(&key.name.owner);
    let pepper = world.peppers.place_of(&key.pepper).expect("one of ours");
    Record::pack(&key, pepper, owner, Claims::of(&key), LastUse::default())
}

fn texts(scopes: &[String]) -> Vec<&[u8]> {
    scopes.iter().map(String::as_bytes).collect()
}

/// Keys that claim the same cost their records and the table alone, and with the last of them their claims are gone.
#[test]
fn equal_claims_are_in_the_mirror_once_and_leave_with_the_last_key() {
    const KEYS: usize = 200;
    let mut world = World::new(200, 1);
    let long = ["abcdefghijklmnopqrstuvwxy"; 7].join(":");
    let said = world.readable_key().said;
    let [shared, own] = [false, true].map(|each_has_its_own| {
        let mirror = Mirror::new(Arc::clone(&world.peppers));
        let keys: Vec<_> = (0..KEYS)
            .map(|number| {
                let scope = format!("{long}:{}", if each_has_its_own { number } else { 0 });
                let mut plain = Plain { scopes: vec![scope], said: said.clone(), ..world.readable_key() };
                (plain.networks, plain.superseded_by) = (Vec::new(), None);
                (plain.state, plain.delete) = (State::Enabled, None);
                plain.key(&world)
            })
            .collect();
        for key in &keys {
            mirror.put_key(key);
        }
        let bytes = mirror.bytes();
        for key in keys {
            let delete_time = Some(plain::time(0));
            mirror.put_key(&VerifiableKey { delete_time, revision: key.revision + 1, ..key });
        }
        mirror.forget(plain::time(0) + limits::DEAD_KEYS_REMEMBERED * 2);
        assert!(mirror.is_empty());
        // The tables that found them stay.
        let texts = long.len() * if each_has_its_own { KEYS } else { 1 };
        let gone = bytes - mirror.bytes();
        assert!(gone >= (KEYS * Record::BYTES + texts) as u64, "{gone} of {bytes} bytes are gone");
        bytes
    });
    assert!(own - shared >= (long.len() * (KEYS - 1)) as u64, "{shared} bytes if shared, {own} if not");
}

#[test]
fn every_field_comes_back_out_of_a_record() {
    for seed in 100..102 {
        let mut world = World::new(seed, 1);
        for _ in 0..CASES / 4 {
            let plain = world.readable_key();
            let (key, record) = (plain.key(&world), record(&plain, &world));
            assert_eq!(record.claims().scopes().collect::<Vec<_>>(), texts(&plain.scopes), "seed {seed}");
            assert_eq!(record.claims().description(), *texts(&plain.said), "seed {seed}");
            assert_eq!(record.claims().networks(), key.networks, "seed {seed}");
            assert_eq!(record.claims().superseded_by(), key.superseded_by, "seed {seed}");
            assert_eq!(record.expire_time(), key.expire_time, "seed {seed}");
            assert_eq!((record.id(), record.name()), (key.name.id, key.name.clone()), "seed {seed}");
            assert_eq!((record.revision(), record.is_deleted()), (key.revision, key.delete_time.is_some()));
            let standings = [record.standing_at(plain::time(0)), key.standing.at(key.expire_time, plain::time(0))];
            // The instant of a revocation is kept only as far as it decides when the key is forgotten.
            let [packed, unpacked] = standings.map(|standing| std::mem::discriminant(&standing));
            assert_eq!(packed, unpacked, "seed {seed}");
            assert!(record.digest().matches(&key.digest));
            assert_eq!(record.revoked_by(&key), None, "seed {seed}: nothing changed");
            let granted: Vec<Scope> = plain.scopes.iter().map(|text| Scope::parse(text).expect("a scope")).collect();
            for right in Right::ALL {
                let holds = granted.iter().filter_map(Scope::right).any(|own| own.implies(right));
                assert_eq!(record.claims().holds(right), holds, "seed {seed}: {right:?} by {granted:?}");
            }
        }
    }
}

#[test]
fn an_answer_written_by_hand_is_what_prost_writes() {
    let mut world = World::new(200, 1);
    for case in 0..CASES / 4 {
        let key = world.readable_key();
        let (record, secret) = (record(&key, &world), secret_of(&key, &world));
        let answer = Answer {
            verdict: Verdict::ALL[case % Verdict::ALL.len()],
            key: Some(record).filter(|_| case % 7 > 0),
            position: Position {
                revision: [0, 1, 127, 128, i64::MAX][case % 5],
                as_of: plain::time(case as i64 * 12_345_678_901),
                looked: BootTime::from_microseconds(0),
            },
            now: plain::time(0),
        };
        let message = message(&answer, secret.reveal());
        let (mut bytes, mut scratch, mut results) = (Vec::new(), Vec::new(), Vec::new());
        verification::encode(&answer, secret.reveal(), &mut bytes);
        assert_eq!(bytes, message.encode_to_vec(), "case {case}: {message:?}");
        verification::encode_batch_result(&answer, secret.reveal(), &mut scratch, &mut results);
        let result = Some(BatchItem::Response(message.clone()));
        let expected = BatchVerifyResponse { results: vec![BatchVerifyResult { result }] };
        assert_eq!(results, expected.encode_to_vec(), "case {case}");
        let mut told = Vec::new();
        verification::encode_result(&answer, secret.reveal(), &mut scratch, &mut told);
        let expected = VerifyStreamResponse { result: Some(StreamItem::Response(message)) };
        assert_eq!(told, expected.encode_to_vec(), "case {case}");
    }
}

/// The answer as a message of prost's.
fn message(answer: &Answer, presented: &str) -> VerifyResponse {
    let timestamp = |time: Time| prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    };
    let declared = Verdict::ALL.iter().position(|verdict| *verdict == answer.verdict).expect("one of them");
    let empty = VerifyResponse {
        verdict: i32::try_from(declared).expect("few") + 1,
        revision: answer.position.revision,
        as_of: Some(timestamp(answer.position.as_of)),
        ..VerifyResponse::default()
    };
    let Some(key) = &answer.key else { return empty };
    let name = key.name();
    assert_eq!(presented[4..26], name.id.to_string());
    let expire_time = key.expire_time();
    let [role, on_behalf_of, group, integration_type] =
        key.claims().description().map(|said| String::from_utf8(said.to_owned()).expect("a text"));
    VerifyResponse {
        key: name.to_string(),
        service_user: name.owner.to_string(),
        tenant: format!("tenants/{}", name.owner.tenant),
        scopes: key.claims().scopes().map(|scope| String::from_utf8(scope.to_owned()).expect("a text")).collect(),
        role,
        on_behalf_of,
        key_group: Some(group)
            .filter(|id| !id.is_empty())
            .map_or_else(String::new, |id| format!("tenants/{}/keyGroups/{id}", name.owner.tenant)),
        integration_type,
        expire_time: expire_time.map(timestamp),
        expiring_soon: expires_soon(expire_time, answer.now),
        superseded_by: key.claims().superseded_by().map_or_else(String::new, |id| name.owner.key(id).to_string()),
        ..empty
    }
}

/// A secret with this key's id.
fn secret_of(plain: &Plain, world: &World) -> Secret {
    Secret::generate(plain.key(world).name.id, random::fill).expect("randomness")
}

#[test]
fn the_longest_lists_come_back_out_of_a_record() {
    let mut world = World::new(7, 1);
    let segment = "x".repeat(limits::SCOPE_SEGMENT_CHARACTERS);
    let scope = |number: usize| format!("{}:{number:032}", [&*segment; limits::SCOPE_SEGMENTS - 1].join(":"));
    let plain = Plain {
        scopes: (0..limits::SCOPES).map(scope).collect(),
        networks: (0..limits::NETWORKS).map(|_| plain::Net::any(&mut world.chance)).collect(),
        superseded_by: Some([0xff; 16]),
        said: ["r".repeat(64), "ü".repeat(limits::ON_BEHALF_OF_CHARACTERS), "g".repeat(63), "k".repeat(64)],
        ..world.readable_key()
    };
    let record = record(&plain, &world);
    assert!(record.claims().scopes().eq(texts(&plain.scopes)), "all 100");
    assert_eq!(record.claims().description(), *texts(&plain.said));
    assert_eq!(record.claims().networks(), plain.key(&world).networks, "all 64");
    assert_eq!(record.claims().superseded_by().expect("one").to_bytes(), [0xff; 16]);
    for network in &plain.networks {
        let address: IpAddr = network.some_address(&mut world.chance);
        assert!(record.claims().allows(Some(address)), "{address} lies in {network:?}");
    }
    assert!(!record.claims().allows(None));
}

/// Nobody may go on remembering a VALID that a change made wrong.
#[test]
fn a_change_that_makes_a_valid_wrong_is_told() {
    let mut wrong = 0;
    for seed in 200..204 {
        let mut world = World::new(seed, 8);
        for case in 0..CASES / 4 {
            let questions: Vec<Asked> = (0..4).map(|_| world.question()).collect();
            let before: Vec<_> = questions.iter().map(|asked| world.verdict(asked)).collect();
            let told = world.change_now();
            for (asked, before) in questions.iter().zip(before) {
                let after = world.verdict(asked);
                if before == Some(Verdict::Valid) && after != before {
                    wrong += 1;
                    assert!(told, "seed {seed}, case {case}: VALID became {after:?} in silence: {asked:?}");
                }
            }
        }
    }
    println!("{wrong} remembered VALIDs became wrong, and all were told");
    assert!(wrong > 200, "{wrong}");
}

#[test]
fn the_oracle_can_tell_a_wrong_verdict() {
    let mut world = World::new(1, 60);
    let mut chance = Chance::of(2);
    let mut differs = 0;
    for _ in 0..CASES / 10 {
        world.change();
        let asked = world.question();
        let real = packed(&world, &asked);
        // The same question, asked of a world in which every key has lost its end.
        let alive = world.with_every_key_alive(&mut chance);
        differs += usize::from(alive.verdict(&asked) != real);
    }
    assert!(differs > CASES / 100, "{differs}");
}
