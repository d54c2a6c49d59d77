//! What changes cost the answers of Verify beside them: keys made for many service users, and edits of one service user.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use prost_types::FieldMask;
use tokio::time::{MissedTickBehavior, interval_at};

use claviger::proto::v1::{
    CreateKeyRequest, Key, ServiceUser, UpdateServiceUserRequest, key_service_client::KeyServiceClient,
    service_user_service_client::ServiceUserServiceClient,
};

use crate::Outcome;
use crate::blast::{self, Blast, load};
use crate::clients::{Connection, connect};
use crate::load::{Measurement, Method, Secrets, Shape};
use crate::report::{Bar, Done, Report, Row};
use crate::runner::wait_until_quiet;
use crate::seeding::{KEYS_EACH, name_of};
use crate::server::{Cores, Server};
use crate::site::{Content, Site};
use crate::statistics::{Spread, shuffled};
use crate::world::World;

/// The questions beside which it changes.
const QUESTIONS: Shape =
    Shape { method: Method::Verify, connections: 4, in_flight: 50, secrets: Secrets::Random, rate: Some(1_000) };
const CALLERS: u32 = 30;
const CONNECTIONS: u32 = 6;
/// Between two changes of one caller: 300 changes a second by all of them.
const PACE: Duration = Duration::from_millis(100);
/// Those that are asked about, of the first service users.
const KEYS: u64 = 1_000;
/// The others: room for all keys that are made.
const SERVICE_USERS: u64 = 20_000;

#[derive(Clone, Copy)]
enum Storm {
    Calm,
    Creates,
    Edits,
}

const STORMS: [(&str, Storm); 3] = [
    ("alone", Storm::Calm),
    ("beside 300 creates/s", Storm::Creates),
    ("beside 300 edits/s of one service user", Storm::Edits),
];

/// The place of the calm in that.
const ALONE: usize = 0;

/// Measures, the server and everything beside it on both cores.
pub async fn measure(world: &mut World, report: &mut Report) -> Outcome<()> {
    let content = Content { idle_service_users: SERVICE_USERS, ..Content::of_keys(KEYS) };
    let site = Site::on_postgres(world.postgres()?, "storm", content).await?;
    let server = Server::claviger(&site, Cores::Both, &[])?;
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        callers.push(connect(server.address, &site.caller).await?);
    }
    let duration = world.plan.duration * 4;
    let mut rounds: Vec<Vec<Measurement>> = Vec::new();
    for round in 0..world.plan.rounds {
        wait_until_quiet(world.plan.patience).await?;
        let mut found: Vec<Option<Measurement>> = STORMS.iter().map(|_| None).collect();
        for index in shuffled(STORMS.len(), round) {
            let blast = Blast::start(&load(&server, &site, QUESTIONS, world.plan.warm_up, duration), Cores::Both)?;
            storm(&callers, STORMS[index].1, duration + world.plan.warm_up).await?;
            found[index] = Some(blast.finish()?);
        }
        rounds.push(found.into_iter().flatten().collect());
        eprintln!("storm: round {} of {}", round + 1, world.plan.rounds);
    }
    for (index, (name, _)) in STORMS.iter().enumerate() {
        if index != ALONE {
            report.rows.extend(row(name, index, &rounds));
        }
        report.done.push(Done {
            label: format!("Verify, 1,000/s, {name}, both cores"),
            rounds: rounds.iter().map(|round| round[index].clone()).collect(),
        });
    }
    Ok(())
}

fn row(name: &str, index: usize, rounds: &[Vec<Measurement>]) -> Option<Row> {
    Some(Row {
        what: format!("p99 of Verify {name} / alone"),
        unit: "×",
        spread: Spread::of(rounds.iter().map(|round| round[index].p99 / round[ALONE].p99))?,
        rounds: rounds.len(),
        bar: Some(Bar::AtMost(2.0)),
        other_load: None,
        errors: rounds.iter().map(|round| round[index].errors).sum(),
        by: blast::NAME,
    })
}

/// Changes for so long.
async fn storm(connections: &[Connection], storm: Storm, duration: Duration) -> Outcome<()> {
    let end = Instant::now() + duration;
    let all = (0..CALLERS).zip(connections.iter().cycle()).map(|(caller, connection)| async move {
        // One after the other, not all at once.
        let mut turn = interval_at((Instant::now() + PACE * caller / CALLERS).into(), PACE);
        turn.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0_u64.. {
            turn.tick().await;
            if Instant::now() >= end {
                break;
            }
            change(connection.clone(), storm, number * u64::from(CALLERS) + u64::from(caller)).await?;
        }
        Outcome::Ok(())
    });
    try_join_all(all).await.map(drop)
}

async fn change(connection: Connection, storm: Storm, number: u64) -> Outcome<()> {
    match storm {
        Storm::Calm => {}
        Storm::Creates => {
            let key = Key { display_name: "a key".to_owned(), scopes: vec!["read".to_owned()], ..Key::default() };
            let parent = name_of(KEYS / KEYS_EACH + number % SERVICE_USERS);
            let request = CreateKeyRequest { parent, key: Some(key), ..CreateKeyRequest::default() };
            KeyServiceClient::new(connection).create_key(request).await?;
        }
        Storm::Edits => {
            let display_name = format!("edit {number}");
            let service_user = ServiceUser { name: name_of(0), display_name, ..ServiceUser::default() };
            let update_mask = Some(FieldMask { paths: vec!["display_name".to_owned()] });
            let service_user = Some(service_user);
            let request = UpdateServiceUserRequest { service_user, update_mask, ..Default::default() };
            ServiceUserServiceClient::new(connection).update_service_user(request).await?;
        }
    }
    Ok(())
}
