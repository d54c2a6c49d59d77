//! A primary, a standby that stops to follow, one name for both, and replicas that know the name alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use claviger::proto::v1::{
    self, DeleteServiceUserRequest, DisableServiceUserRequest, DisableTenantRequest, Verdict, VerifyRequest,
};

use crate::harness::{Client, Cluster, Process};
use crate::outage::{Cable, Outage};
use crate::rig::{Change, Replicas, eventually};
use crate::table_verdicts::{VERDICT_OF_EACH, about, by_id};

const RULES: &str = "host all all 127.0.0.1/32 trust";
const FOLLOWS: Duration = Duration::from_secs(30);

/// The verdict about a secret; `None` when there is none.
pub async fn verdict(caller: &mut Client, secret: &str) -> Option<Verdict> {
    let request = VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    caller.verification.verify(request).await.ok().map(|answer| answer.into_inner().verdict())
}

/// Keys that end in each way, one that lives, and one that is made when nobody writes it down any more.
#[derive(Clone)]
pub struct World {
    owner: String,
    /// Of keys that are made after the fork.
    pub new_owner: String,
    ending: Vec<(&'static str, v1::Key, String)>,
    /// Ends with its service user, or tenant.
    below: Vec<(&'static str, String)>,
    alive: String,
    pub lost: String,
}

const CHANGES: [(&str, Change); 4] = [
    ("revoked", Change::Revoke),
    ("disabled", Change::Disable),
    ("deleted", Change::Delete),
    ("rotated", Change::Rotate(0)),
];
const OWNERS: [&str; 3] = ["user-disabled", "user-deleted", "tenant-disabled"];

impl World {
    /// What each key is, and its secret.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let ending = self.ending.iter().map(|(what, _, secret)| (*what, &**secret));
        let below = self.below.iter().map(|(what, secret)| (*what, &**secret));
        ending.chain(below).chain([("alive", &*self.alive), ("lost", &*self.lost)])
    }

    /// Names of what was ended by itself.
    pub fn ended_names(&self) -> Vec<String> {
        let owners =
            ["tenants/acme/serviceUsers/user-disabled", "tenants/acme/serviceUsers/user-deleted", "tenants/bolt"];
        let keys = self.ending.iter().map(|(_, key, _)| key.name.clone());
        keys.chain(owners.map(str::to_owned)).collect()
    }

    fn expected(what: &str) -> Verdict {
        match what {
            "revoked" | "rotated" => Verdict::Revoked,
            "disabled" => Verdict::Disabled,
            "user-disabled" | "tenant-disabled" => Verdict::OwnerDisabled,
            "alive" => Verdict::Valid,
            _ => Verdict::Unknown,
        }
    }
}

/// Dropped in this order: nobody misses a server that he still asks.
pub struct Scene {
    processes: Vec<Option<Process>>,
    cable: Cable,
    primary: Cluster,
    pub standby: Cluster,
    replicas: Replicas,
    pub callers: Vec<Client>,
    pub secret: String,
    is_failed_over: bool,
}

impl Scene {
    pub async fn set(count: usize) -> Option<Self> {
        let primary = Cluster::start(RULES, &[], |_| {}).await?;
        let standby = primary.standby().await;
        let cable = Cable::to(&format!("127.0.0.1:{}", primary.port)).await;
        let mut replicas = Replicas::new(count).await?;
        for place in &mut replicas.places {
            place.database_url = Some(format!("postgres://postgres@{}/postgres", cable.address));
        }
        let mut processes = Vec::new();
        for number in 0..count {
            processes.push(Some(start(&replicas, number).await));
        }
        let secret = replicas.root_secret();
        let mut callers = Vec::new();
        for process in processes.iter().flatten() {
            callers.push(process.caller(Some(&secret)).await);
        }
        Some(Self { primary, standby, cable, replicas, processes, callers, secret, is_failed_over: false })
    }

    /// Where a replica's metrics are.
    pub fn http(&self, number: usize) -> SocketAddr {
        self.processes[number].as_ref().expect("it runs").http_address
    }

    /// What will end, on the primary and its standby.
    pub async fn make_world(&mut self) -> World {
        let root = &mut self.callers[0];
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let new_owner = root.create_service_user(&tenant, "later").await;
        let (mut ending, mut below) = (Vec::new(), Vec::new());
        for (what, _) in CHANGES {
            let (key, secret) = root.create_key(&owner, &[]).await;
            ending.push((what, key, secret));
        }
        for what in OWNERS {
            let tenant = if what == "tenant-disabled" { root.create_tenant("bolt").await } else { tenant.clone() };
            let owner = root.create_service_user(&tenant, what).await;
            below.push((what, root.create_key(&owner, &[]).await.1));
        }
        let alive = root.create_key(&owner, &[]).await.1;
        World { owner, new_owner, ending, below, alive, lost: String::new() }
    }

    /// The standby has everything so far, and nothing that comes now.
    pub async fn let_the_standby_lag(&self) {
        let position = self.primary.psql("postgres", "SELECT pg_current_wal_lsn()");
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        eventually(FOLLOWS, "the standby follows", async || self.standby.psql("postgres", &reached) == "t").await;
        self.standby.psql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        self.standby.psql("postgres", "SELECT pg_reload_conf()");
        let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
        eventually(FOLLOWS, "it is cut off", async || self.standby.psql("postgres", receivers) == "0").await;
    }

    /// In the part that will be lost.
    pub async fn end_everything(&mut self, world: &mut World) {
        let root = &mut self.callers[0];
        for ((_, change), (_, key, _)) in CHANGES.into_iter().zip(&world.ending) {
            change.make(root, &world.owner, &key.name).await.expect("changed");
        }
        let name = "tenants/acme/serviceUsers/user-disabled".to_owned();
        let request = DisableServiceUserRequest { name, expected_revision: 0 };
        root.service_users.disable_service_user(request).await.expect("disabled");
        let name = "tenants/acme/serviceUsers/user-deleted".to_owned();
        let request = DeleteServiceUserRequest { name, force: true, expected_revision: 0 };
        root.service_users.delete_service_user(request).await.expect("deleted");
        let request = DisableTenantRequest { name: "tenants/bolt".to_owned(), expected_revision: 0 };
        root.tenants.disable_tenant(request).await.expect("disabled");
        // More revisions than there are ends, so that the new history is shorter than the lost one.
        for _ in 0..20 {
            let (key, _) = root.create_key(&world.owner, &[]).await;
            Change::Delete.make(root, &world.owner, &key.name).await.expect("deleted");
        }
        world.lost = root.create_key(&world.owner, &[]).await.1;
    }

    /// The primary dies with what it alone knew; the standby takes its name.
    pub async fn fail_over(&mut self) {
        let before: i64 = self.primary.psql("postgres", "SELECT value FROM revision").parse().expect("a number");
        self.cable.cut(Outage::Refused).await;
        self.primary.kill();
        let has: i64 = self.standby.psql("postgres", "SELECT value FROM revision").parse().expect("a number");
        assert!(has < before - 40, "{has} of {before} revisions are left");
        println!("{} revisions are lost", before - has);
        self.standby.psql("postgres", "SELECT pg_promote(true, 60)");
        self.cable.server = format!("127.0.0.1:{}", self.standby.port);
        self.is_failed_over = true;
        self.cable.mend().await;
    }

    pub fn table(&self) -> BTreeMap<String, Verdict> {
        let server = if self.is_failed_over { &self.standby } else { &self.primary };
        by_id(server.psql("postgres", VERDICT_OF_EACH).lines())
    }

    /// What ended is ended in the tables.
    pub fn is_ended(&self, world: &World) -> bool {
        let table = self.table();
        let mut known = world.secrets().filter(|(what, _)| *what != "lost");
        known.all(|(what, secret)| about(&table, secret) == World::expected(what))
    }

    /// How far a replica is.
    pub async fn revision_of(&mut self, number: usize) -> i64 {
        self.callers[number].verify(VerifyRequest::default()).await.revision
    }

    pub async fn kill_replica(&mut self, number: usize) {
        self.processes[number].take().expect("it runs").kill().await;
    }

    pub async fn start_replica(&mut self, number: usize) {
        let process = start(&self.replicas, number).await;
        self.callers[number] = process.caller(Some(&self.secret)).await;
        self.processes[number] = Some(process);
    }
}

async fn start(replicas: &Replicas, number: usize) -> Process {
    let mut command = replicas.command(number);
    command.env("CLAVIGER_LOG", "error");
    Process::start_command(command).await
}
