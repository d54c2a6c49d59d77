//! What decides when a caller shows several things, or none, or something that only looks like a name.

use super::*;
use crate::harness::engine::tool;
use crate::harness::process::run;

on_both_engines!(a_key_decides_alone, nothing_but_the_handshake_names_anybody,);

async fn a_key_decides_alone(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    scene.map(NAME, &[VERIFY]).await;
    let owner = scene.owner.clone();
    let (_, reader) = scene.root.create_key(&owner, &[READ]).await;
    let mut both = scene.holder_with(&[NAME], &[], Some(&reader)).await;
    expect(list(&mut both, &owner).await, LET_IN, "the key's right");
    expect(verify(&mut both).await, RIGHT_MISSING, "the name's right");
    let mut unmapped = scene.holder_with(&["spiffe://example.org/nobody"], &[], Some(&reader)).await;
    expect(list(&mut unmapped, &owner).await, LET_IN, "a certificate that is transport");

    let mapped = scene.holder().await;
    let good = format!("Bearer {reader}");
    let message = v1::VerifyRequest::default().encode_to_vec();
    let rpc = "claviger.v1.VerificationService/Verify";
    let others: [(&[&str], Refused); 9] = [
        (&[], LET_IN),
        (&["Bearer x"], INVALID),
        (&["Bearer "], INVALID),
        (&["Bearer cvg_"], INVALID),
        (&["Bearer"], MISSING),
        (&[""], MISSING),
        (&["Basic cm9vdDpyb290"], MISSING),
        (&[&good, &good], MISSING),
        (&[&good], RIGHT_MISSING),
    ];
    for (values, refused) in others {
        let metadata: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
        expect(raw::call(&mapped.channel, rpc, &metadata, message.clone()).await, refused, &format!("{values:?}"));
    }
}

/// Headers by which proxies tell who their caller is, and what somebody may try.
const FORGED: [(&str, &str); 10] = [
    ("x-forwarded-client-cert", "By=spiffe://example.org/x;URI=spiffe://example.org/ns/prod/sa/billing"),
    (
        "x-forwarded-client-cert",
        "Hash=00;Subject=\"\";URI=spiffe://example.org/ns/prod/sa/billing;DNS=billing.example.org",
    ),
    ("x-ssl-client-cert", "spiffe://example.org/ns/prod/sa/billing"),
    ("ssl-client-subject-dn", "CN=billing.example.org"),
    ("x-spiffe-id", "spiffe://example.org/ns/prod/sa/billing"),
    ("x-claviger-service-user", "tenants/acme/serviceUsers/billing"),
    ("x-claviger-peer-name", "spiffe://example.org/ns/prod/sa/billing"),
    ("claviger-certificate", "spiffe://example.org/ns/prod/sa/billing"),
    ("client-cert", ":AAAA:"),
    ("forwarded", "for=127.0.0.1;by=spiffe://example.org/ns/prod/sa/billing"),
];

async fn nothing_but_the_handshake_names_anybody(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    let dns = format!("dns:{DNS}");
    let owner = scene.owner.clone();
    let names = [identity(NAME, &[VERIFY]), identity(&dns, &[VERIFY])];
    map(&mut scene.root, &owner, &names).await.expect("mapped");
    let nameless = channel(&scene.authority, scene.app.address(), None).await;
    let unmapped = scene.holder_with(&["spiffe://example.org/nobody"], &["nobody.example.org"], None).await.channel;
    // Names of nobody, though they contain a mapped one.
    let others = scene.holder_with(&["https://billing.example.org/ns/prod/sa/billing"], &["*.example.org"], None).await;
    let message = v1::VerifyRequest::default().encode_to_vec();
    for rpc in rows().iter().map(|row| row.rpc).filter(|rpc| rpc.contains("Verif") || rpc.contains("ListTenants")) {
        for (channel, refused) in [(&nameless, MISSING), (&others.channel, MISSING), (&unmapped, INVALID)] {
            expect(raw::call(channel, rpc, &[], message.clone()).await, refused, rpc);
            for (name, value) in FORGED {
                let outcome = raw::call(channel, rpc, &[(name, value)], message.clone()).await;
                expect(outcome, refused, &format!("{rpc} {name}: {value}"));
            }
        }
    }
    let near = [
        "spiffe://example.org/ns/prod/sa/Billing",
        "spiffe://example.org/ns/prod/sa",
        "spiffe://example.com/ns/prod/sa/billing",
    ];
    for near in near {
        let mut near_by = scene.holder_with(&[near], &[], None).await;
        expect(verify(&mut near_by).await, INVALID, near);
    }
    for near in ["example.org", "a.billing.example.org", "billing.example.org.evil.example"] {
        let mut near_by = scene.holder_with(&[], &[near], None).await;
        expect(verify(&mut near_by).await, INVALID, near);
    }
    let mut both = scene.holder_with(&[NAME], &[DNS], None).await;
    expect(verify(&mut both).await, INVALID, "two mapped names: who is it, and what may it do?");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_calls_with_a_certificate_alone() {
    let (Some(grpcurl), Some(mut scene)) = (tool("grpcurl"), Scene::start(Engine::Sqlite).await) else { return };
    scene.map(NAME, &[VERIFY]).await;
    let owner = scene.owner.clone();
    let (_, secret) = scene.root.create_key(&owner, &[]).await;
    scene.authority.sign(&Wanted::client(&[NAME], &[])).write(scene.folder.path(), "gateway");
    let call = async |own: bool, method: &str, data: &str| {
        let mut command = tokio::process::Command::new(&grpcurl);
        command.arg("-cacert").arg(scene.file("ca.crt")).args(["-authority", SERVER]);
        if own {
            command.arg("-cert").arg(scene.file("gateway.crt")).arg("-key").arg(scene.file("gateway.key"));
        }
        command.args(["-d", data, &scene.app.address().to_string(), method]);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
        let (code, out, err) = run(command).await;
        (code == Some(0), out + &err)
    };
    let asked = format!("{{\"secret\": \"{secret}\"}}");
    let (answered, said) = call(true, "claviger.v1.VerificationService/Verify", &asked).await;
    assert!(answered && said.contains("\"verdict\": \"VERDICT_VALID\""), "{said}");
    let stream = format!("{{\"request\": {asked}}}");
    let (answered, said) = call(true, "claviger.v1.VerificationService/VerifyStream", &stream).await;
    assert!(answered && said.contains("\"verdict\": \"VERDICT_VALID\""), "{said}");
    let check =
        format!("{{\"attributes\": {{\"request\": {{\"http\": {{\"headers\": {{\"x-api-key\": \"{secret}\"}}}}}}}}}}");
    let (answered, said) = call(true, "envoy.service.auth.v3.Authorization/Check", &check).await;
    assert!(answered && said.contains("VALID") && !said.contains("deniedResponse"), "{said}");
    let (answered, said) = call(true, "claviger.v1.TenantService/ListTenants", "{}").await;
    assert!(!answered && said.contains("\"reason\":\"RIGHT_MISSING\""), "{said}");
    let (answered, said) = call(false, "claviger.v1.VerificationService/Verify", &asked).await;
    assert!(!answered && said.contains("\"reason\":\"CALLER_MISSING\""), "{said}");
}
