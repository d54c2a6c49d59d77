//! A fresh database for one test, on either engine, and what the tests fill it with.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use claviger::domain::{
    Span, Time,
    attributes::Attributes,
    audit::{AuditEvent, Outcome, event_id},
    calendar::Calendar,
    ids::{KeyId, KeyName, ServiceUserName, TenantId},
    key::{Key, NewKey},
    owner::{ServiceUser, Tenant},
    pepper::{Pepper, SecretDigest},
    policy::TenantPolicy,
    scope::Scope,
    text::{Description, DisplayName},
};
use claviger::store::{NewKeyRow, Slot, Store, StoreError, Target, Write};
use sea_orm::{ConnectionTrait, Database as Sea, DatabaseConnection};

/// One database and a store on it.
pub(super) struct Database {
    pub(super) target: Target,
    pub(super) store: Store,
    _folder: Option<tempfile::TempDir>,
    server: Option<(String, String)>,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl Database {
    pub(super) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let target = Target::Sqlite { file: folder.path().join("claviger.sqlite") };
        Store::prepare_schema(&target).await.expect("a schema");
        let store = Store::connect(&target, "store_suite").await.expect("a store");
        Self { target, store, _folder: Some(folder), server: None }
    }

    /// `None`, loudly, on a machine without PostgreSQL.
    pub(super) async fn postgres(test: &str) -> Option<Self> {
        let (target, server) = empty_postgres(test).await?;
        Store::prepare_schema(&target).await.expect("a schema");
        let store = Store::connect(&target, "store_suite").await.expect("a store");
        Some(Self { target, store, _folder: None, server: Some(server) })
    }

    /// A connection beside the store's, for SQL that the store would never run.
    pub(super) async fn raw(&self) -> DatabaseConnection {
        Sea::connect(url_of(&self.target)).await.expect("a raw connection")
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<u64, sea_orm::DbErr> {
        let raw = self.raw().await;
        let outcome = raw.execute_unprepared(sql).await.map(|done| done.rows_affected());
        raw.close().await.expect("closes");
        outcome
    }

    pub(super) async fn remove(self) {
        self.store.close().await;
        if let Some((server, name)) = self.server {
            drop_database(&server, &name).await;
        }
    }

    /// Tenant `acme`, service user `billing`, a pepper.
    pub(super) async fn furnish(&self) -> ServiceUserName {
        let owner = service_user_name("acme", "billing");
        let write = self.store.write().await.expect("a write");
        write.insert_tenant(&tenant("acme")).await.expect("a tenant");
        write.insert_service_user(&service_user(&owner)).await.expect("a service user");
        write.register_pepper(&pepper(), now()).await.expect("a pepper");
        done(write).await;
        owner
    }

    /// Makes a key the way a use case does. `false` at the limit.
    pub(super) async fn create(&self, key: &Key) -> Result<bool, StoreError> {
        let write = self.store.write().await?;
        let mut room = write.room(&key.name.owner).await?.expect("its owner");
        let slot = write.free_slot(&key.name.owner, &mut room, key.create_time).await?;
        let Some(slot) = slot else { return Ok(false) };
        let told = write.insert_keys(vec![new_row(key, slot, event(&write))]).await?;
        write.commit_told(told).await.map(|_| true)
    }

    pub(super) async fn update(&self, key: &Key) {
        let write = self.store.write().await.expect("a write");
        write.update_key(key).await.expect("an update");
        done(write).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "tests/run tells by variables what there is")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An empty database, and how to remove it.
pub(super) async fn empty_postgres(test: &str) -> Option<(Target, (String, String))> {
    let Some(server) = variable("CLAVIGER_TEST_POSTGRES_URL") else {
        assert_ne!(variable("CI").as_deref(), Some("true"), "CLAVIGER_TEST_POSTGRES_URL is not set");
        eprintln!("SKIPPED (no PostgreSQL): {test}");
        return None;
    };
    let name = format!("claviger_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    drop_database(&server, &name).await;
    let admin = Sea::connect(server.as_str()).await.expect("the test's PostgreSQL");
    // By language "a-b" sorts elsewhere than by bytes, if the schema lets it. Not every build of PostgreSQL has ICU.
    let plain = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
    let by_language = format!("{plain} LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
    if admin.execute_unprepared(&by_language).await.is_err() {
        admin.execute_unprepared(&plain).await.expect("a database");
    }
    admin.close().await.expect("closes");
    let (before, _) = server.rsplit_once('/').expect("a database in the URL");
    Some((Target::postgres(format!("{before}/{name}")), (server, name)))
}

pub(super) async fn drop_database(server: &str, name: &str) {
    let admin = Sea::connect(server).await.expect("the test's PostgreSQL");
    admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.expect("a drop");
    admin.close().await.expect("closes");
}

fn url_of(target: &Target) -> String {
    match target {
        Target::Sqlite { file } => format!("sqlite://{}", file.display()),
        Target::Postgres(settings) => settings.url.clone(),
    }
}

/// A pgbouncer in front of `target`; `None`, loudly, without one. It ends when dropped.
pub(super) struct Bouncer {
    pub(super) target: Target,
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Bouncer {
    pub(super) fn start(target: &Target, mode: &str, test: &str) -> Option<Self> {
        let program = variable("CLAVIGER_TEST_TOOLS").map(|tools| PathBuf::from(tools).join("pgbouncer"));
        let Some(program) = program.filter(|program| program.exists()) else {
            eprintln!("SKIPPED (no pgbouncer): {test}");
            return None;
        };
        let Target::Postgres(settings) = target else { return None };
        let rest = settings.url.strip_prefix("postgres://").expect("the form of the URL");
        let (authority, name) = rest.split_once('/').expect("a database");
        let (user, address) = authority.split_once('@').expect("a user");
        let (host, port) = address.split_once(':').expect("a port");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let own_port = listener.local_addr().expect("bound").port();
        drop(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let settings = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own_port}\n\
             auth_type = any\nunix_socket_dir =\npool_mode = {mode}\n\
             default_pool_size = 20\n"
        );
        // `auth_type = any` logs in as the user that is named here, whoever asks.
        let settings = settings.replace("\n[pgbouncer]", &format!(" user={user}\n[pgbouncer]"));
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("a settings file");
        let mut command = std::process::Command::new(program);
        command.arg("--quiet").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        // It refuses to run as root.
        std::os::unix::process::CommandExt::uid(&mut command, unprivileged(&folder));
        let child = command.spawn().expect("pgbouncer");
        let target = Target::postgres(format!("postgres://{user}@127.0.0.1:{own_port}/{name}"));
        Some(Self { target, child, _folder: folder })
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who isn't root: the owner of the folder if that is so, else `nobody`, made its owner.
fn unprivileged(folder: &tempfile::TempDir) -> u32 {
    use std::os::unix::fs::{MetadataExt, chown};
    const NOBODY: u32 = 65_534;
    let owner = std::fs::metadata(folder.path()).expect("the folder").uid();
    if owner != 0 {
        return owner;
    }
    chown(folder.path(), Some(NOBODY), None).expect("root may");
    NOBODY
}

pub(super) fn new_row(key: &Key, slot: Slot, event: AuditEvent) -> NewKeyRow {
    let pepper = pepper().id().clone();
    NewKeyRow { key: key.clone(), slot, digest: digest(key.name.id), pepper, event }
}

pub(super) fn now() -> Time {
    Time::from_timestamp_micros(1_795_000_000_123_456).expect("a time")
}

pub(super) fn days(count: i64) -> Span {
    Span::days(count)
}

pub(super) fn text(text: &str) -> DisplayName {
    DisplayName::parse(text).expect("a display name")
}

pub(super) fn service_user_name(tenant: &str, id: &str) -> ServiceUserName {
    ServiceUserName::parse(&format!("tenants/{tenant}/serviceUsers/{id}")).expect("a name")
}

pub(super) fn tenant_id(id: &str) -> TenantId {
    TenantId::parse(id).expect("an id")
}

pub(super) fn tenant(id: &str) -> Tenant {
    Tenant::create(tenant_id(id), text("A tenant"), Calendar::DEFAULT, TenantPolicy::default(), now())
}

pub(super) fn service_user(name: &ServiceUserName) -> ServiceUser {
    ServiceUser::create(name.clone(), text("A service user"), Description::default(), now())
}

pub(super) fn pepper() -> Pepper {
    Pepper::new(&[7; 32])
}

/// An id nobody had before.
pub(super) fn key_id() -> KeyId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(2_654_435_761).to_be_bytes());
    KeyId::from_random(bytes)
}

/// A digest that is this key's alone.
pub(super) fn digest(id: KeyId) -> SecretDigest {
    let text = format!("{:-<32}", id.to_string());
    SecretDigest::from_stored(text.as_bytes()).expect("32 bytes")
}

pub(super) fn key_named(name: KeyName) -> Key {
    let new = NewKey {
        display_name: text("A key"),
        description: Description::default(),
        scopes: vec![Scope::parse("mcp:*").expect("a scope")],
        attributes: Attributes::default(),
        key_group: None,
        networks: Vec::new(),
        expire_time: None,
        disabled: false,
        retrievable: false,
    };
    Key::create(name, new, None, now()).expect("a key")
}

pub(super) fn key(owner: &ServiceUserName) -> Key {
    key_named(KeyName { owner: owner.clone(), id: key_id() })
}

/// Another event each time, later than those before.
pub(super) fn event(write: &Write) -> AuditEvent {
    event_of("acme", write.revision())
}

pub(super) fn event_of(tenant: &str, number: i64) -> AuditEvent {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    AuditEvent {
        id: event_id(now() + Span::milliseconds(number), random),
        tenant: tenant_id(tenant),
        time: now(),
        caller: String::new(),
        method: "system".to_owned(),
        target: format!("tenants/{tenant}"),
        outcome: Outcome::Done,
        request_id: "request".to_owned(),
        revision: 0,
        address: "192.0.2.1".to_owned(),
        count: 1,
    }
}

pub(super) async fn done(write: Write) -> i64 {
    let event = event(&write);
    write.commit(event).await.expect("a commit")
}
