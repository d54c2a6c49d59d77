//! Callers without a key, whom a name in their client certificate lets in: by real TLS connections, and by grpcurl.

mod elsewhere;
mod ended;
mod shown;
mod width;

use std::path::PathBuf;

use claviger::proto::v1::{self, Verdict};
use prost::Message;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::certificate_identities::{NAME, identity, map};
use crate::harness::certificates::{Authority, Certified, Wanted};
use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::raw;
use crate::rpcs::{ADMIN, Place, READ, RIGHTS, VERIFY, WRITE, rows};

on_both_engines!(
    whoever_has_a_mapped_name_calls_without_a_key,
    every_call_asks_for_the_rights_of_the_name,
    what_it_does_is_remembered_by_its_service_user,
);

const DNS: &str = "billing.example.org";
const SERVER: &str = "keys.claviger.test";

/// A service that speaks TLS and trusts an authority, with tenant `acme` and service user `billing`.
struct Scene {
    app: TestApp,
    folder: TempDir,
    authority: Authority,
    root: Client,
    tenant: String,
    owner: String,
}

/// The files of a service that speaks TLS.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn write() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("the authority");
        std::fs::write(folder.path().join("ca.crt"), &authority.pem).expect("written");
        authority.sign(&Wanted::server(&[SERVER])).write(folder.path(), "tls");
        Self { folder, authority }
    }

    fn settings(&self) -> [(&'static str, String); 3] {
        let file = |name: &str| self.folder.path().join(name).to_str().expect("UTF-8").to_owned();
        [
            ("CLAVIGER_TLS_CERTIFICATE_FILE", file("tls.crt")),
            ("CLAVIGER_TLS_KEY_FILE", file("tls.key")),
            ("CLAVIGER_TLS_CLIENT_CA_FILE", file("ca.crt")),
        ]
    }
}

impl Scene {
    async fn start(engine: Engine) -> Option<Self> {
        let files = Files::write();
        let settings = files.settings();
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let app = TestApp::start_with(engine, &settings).await?;
        let channel = channel(&files.authority, app.address(), None).await;
        let mut root = Client::over(channel, Some(&app.root_secret));
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let Files { folder, authority } = files;
        Some(Self { app, folder, authority, root, tenant, owner })
    }

    /// Maps this name, and no other, to the service user.
    async fn map(&mut self, name: &str, scopes: &[&str]) {
        map(&mut self.root, &self.owner, &[identity(name, scopes)]).await.expect("mapped");
    }

    /// A caller with a certificate of these names and, perhaps, a key.
    async fn holder_with(&self, uris: &[&str], dns: &[&str], secret: Option<&str>) -> Client {
        self.bearer_of(&self.authority.sign(&Wanted::client(uris, dns)), secret).await
    }

    /// A caller with a certificate of the mapped name.
    async fn holder(&self) -> Client {
        self.holder_with(&[NAME], &[], None).await
    }

    async fn bearer_of(&self, certified: &Certified, secret: Option<&str>) -> Client {
        Client::over(channel(&self.authority, self.app.address(), Some(certified)).await, secret)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A connection, perhaps with a certificate.
async fn channel(authority: &Authority, address: std::net::SocketAddr, own: Option<&Certified>) -> Channel {
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem)).domain_name(SERVER);
    let config = match own {
        Some(own) => trusting.identity(Identity::from_pem(&own.certificate, &own.key)),
        None => trusting,
    };
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
    endpoint.tls_config(config).expect("a configuration").connect().await.expect("connected")
}

/// How a call must be refused; `None` = it must succeed.
type Refused = Option<(Code, &'static str)>;

const LET_IN: Refused = None;
const MISSING: Refused = Some((Code::Unauthenticated, "CALLER_MISSING"));
const INVALID: Refused = Some((Code::Unauthenticated, "CALLER_INVALID"));
const RIGHT_MISSING: Refused = Some((Code::PermissionDenied, "RIGHT_MISSING"));
const WIDER: Refused = Some((Code::PermissionDenied, "WIDER_THAN_CALLER"));

#[track_caller]
fn expect<T>(outcome: Result<T, Status>, refused: Refused, about: &str) {
    let told = outcome.err().map(|status| (status.code(), reason(&status)));
    assert_eq!(told, refused.map(|(code, reason)| (code, reason.to_owned())), "{about}");
}

/// Asks about a text that is no secret: on the road of its own, where a right to verify is needed.
async fn verify(caller: &mut Client) -> Result<Verdict, Status> {
    let request = v1::VerifyRequest { secret: "no secret".to_owned(), ..Default::default() };
    caller.verification.verify(request).await.map(|answer| answer.into_inner().verdict())
}

/// Lists keys: on tonic's road, where a right to read is needed.
async fn list(caller: &mut Client, parent: &str) -> Result<Vec<v1::Key>, Status> {
    let request = v1::ListKeysRequest { parent: parent.to_owned(), ..Default::default() };
    caller.keys.list_keys(request).await.map(|answer| answer.into_inner().keys)
}

async fn whoever_has_a_mapped_name_calls_without_a_key(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    let (owner, dns) = (scene.owner.clone(), format!("dns:{DNS}"));
    let names = [identity(NAME, &[VERIFY, READ]), identity(&dns, &[VERIFY])];
    map(&mut scene.root, &owner, &names).await.expect("mapped");
    let (key, secret) = scene.root.create_key(&owner, &[]).await;
    let mut by_spiffe = scene.holder().await;
    let mut by_dns = scene.holder_with(&[], &["unmapped.example.org", "Billing.EXAMPLE.org"], None).await;
    assert_eq!(by_spiffe.verdict(&secret).await, Verdict::Valid);
    assert_eq!(by_dns.verdict(&secret).await, Verdict::Valid);
    let listed: Vec<_> = list(&mut by_spiffe, &owner).await.expect("it may").into_iter().map(|key| key.name).collect();
    assert_eq!(listed, [key.name]);
    expect(list(&mut by_dns, &owner).await, RIGHT_MISSING, "each name has scopes of its own");

    let bolt = scene.root.create_tenant("bolt").await;
    let foreign = scene.root.create_service_user(&bolt, "billing").await;
    let (_, secret) = scene.root.create_key(&foreign, &[]).await;
    assert_eq!(by_spiffe.verdict(&secret).await, Verdict::Unknown, "another tenant's");
    let missing = Some((Code::NotFound, "RESOURCE_NOT_FOUND"));
    expect(list(&mut by_spiffe, &foreign).await, missing, "another tenant");
    let gateway = scene.root.create_service_user("tenants/system", "gateway").await;
    map(&mut scene.root, &owner, &[]).await.expect("taken away");
    map(&mut scene.root, &gateway, &[identity(NAME, &[VERIFY])]).await.expect("moved");
    assert_eq!(by_spiffe.verdict(&secret).await, Verdict::Valid, "`system` verifies anybody's");
    expect(list(&mut by_spiffe, &owner).await, RIGHT_MISSING, "what it had as another is over");
}

/// Every RPC with the least right that admits it, and every RPC with none.
async fn every_call_asks_for_the_rights_of_the_name(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    let holder = scene.holder().await;
    scene.map(NAME, &["*", "pay"]).await;
    let place = Place::make(&mut scene.root, "elsewhere").await;
    for row in rows() {
        let refused = raw::call(&holder.channel, row.rpc, &[], (row.request)(&place)).await;
        expect(refused, RIGHT_MISSING, row.rpc);
    }
    let owner = scene.owner.clone();
    map(&mut scene.root, &owner, &[]).await.expect("taken away");
    for (number, row) in rows().iter().enumerate() {
        let place = Place::make(&mut scene.root, &format!("acme-{number}")).await;
        let least = *RIGHTS.iter().rfind(|right| row.rights.contains(right)).expect("a right");
        let owner = if least == ADMIN { "tenants/system/serviceUsers/root" } else { &place.owner };
        map(&mut scene.root, owner, &[identity(NAME, &[least])]).await.expect("mapped");
        let answered = raw::call(&holder.channel, row.rpc, &[], (row.request)(&place)).await;
        assert!(answered.is_ok(), "{} with {least}: {answered:?}", row.rpc);
        // Unless that was its end.
        map(&mut scene.root, owner, &[]).await.ok();
    }
}

async fn what_it_does_is_remembered_by_its_service_user(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    scene.map(NAME, &[WRITE]).await;
    let (owner, tenant) = (scene.owner.clone(), scene.tenant.clone());
    let mut holder = scene.holder().await;
    let (made, secret) = holder.create_key(&owner, &["pay"]).await;
    assert_eq!(made.creator, owner);
    assert_eq!(scene.root.verdict(&secret).await, Verdict::Valid);
    let request = v1::RotateKeyRequest { name: made.name.clone(), ..Default::default() };
    let rotated = holder.keys.rotate_key(request).await.expect("rotated").into_inner().key.expect("a key");
    assert_eq!(rotated.creator, owner);
    let get = v1::GetKeyRequest { name: rotated.name };
    let read = scene.root.keys.get_key(get).await.expect("a key").into_inner().key.expect("a key");
    assert_eq!(read.creator, owner, "as it is stored");
    expect(verify(&mut holder).await, RIGHT_MISSING, "it may not verify");

    scene.app.running.authority().write_denials_now().await;
    let events = v1::ListAuditEventsRequest { parent: tenant, ..Default::default() };
    let events = scene.root.audit.list_audit_events(events).await.expect("events").into_inner().audit_events;
    for (method, outcome) in [
        ("claviger.v1.KeyService/CreateKey", v1::AuditOutcome::Done),
        ("claviger.v1.KeyService/RotateKey", v1::AuditOutcome::Done),
        ("claviger.v1.VerificationService/Verify", v1::AuditOutcome::Denied),
    ] {
        let event = events.iter().find(|event| event.method == method && event.caller == owner);
        assert_eq!(event.map(v1::AuditEvent::outcome), Some(outcome), "{method} of {events:#?}");
    }
}
