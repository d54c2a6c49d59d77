//! What a key may do, and from where, as Verify judges it.

use super::*;

on_both_engines!(scopes_grant_what_they_say_and_no_more, networks_hold_whatever_way_an_address_is_spelled);

/// Granted, required, and whether that is enough.
const SCOPES: [(&[&str], &[&str], bool); 20] = [
    (&[], &[], true),
    (&[], &["pay"], false),
    (&["pay"], &["pay"], true),
    (&["pay"], &["pay", "pay"], true),
    (&["pay"], &["pay", "refund"], false),
    (&["pay", "refund"], &["refund", "pay"], true),
    (&["pay"], &["pay:all"], false),
    (&["pay:all"], &["pay"], false),
    (&["pay"], &["payment"], false),
    (&["mcp:*"], &["mcp:read"], true),
    (&["mcp:*"], &["mcp:read:deep:down"], true),
    (&["mcp:*"], &["mcp"], false),
    (&["mcp:*"], &["mcpx:read"], false),
    (&["mcp:*"], &["mcp-read"], false),
    (&["mcp:tools:*"], &["mcp:read"], false),
    (&["*"], &["anything", "at:all"], true),
    (&["*"], &["claviger:verify"], false),
    (&["*", "claviger:verify"], &["claviger:verify"], true),
    (&["claviger:verify"], &["claviger:verify:x"], false),
    (&["*"], &["claviger"], false),
];

async fn scopes_grant_what_they_say_and_no_more(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    for (number, (granted, required, enough)) in SCOPES.into_iter().enumerate() {
        let owner = root.create_service_user(&tenant, &format!("user-{number}")).await;
        let (_, secret) = root.create_key(&owner, granted).await;
        let required_scopes = required.iter().map(ToString::to_string).collect();
        let told = root.verify(VerifyRequest { required_scopes, ..about(&secret) }).await;
        let expected = if enough { Verdict::Valid } else { Verdict::ScopeMissing };
        assert_eq!(told.verdict(), expected, "{granted:?} asked for {required:?}");
        assert_eq!(told.scopes, granted, "as stored");
    }
}

/// The networks of a key, addresses inside, addresses outside.
const NETWORKS: [(&[&str], &[&str], &[&str]); 6] = [
    (&[], &["", "192.0.2.1", "::1", "::ffff:192.0.2.1"], &[]),
    (
        &["192.0.2.0/24"],
        &["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.1", "::FFFF:c000:0201", "0:0:0:0:0:ffff:192.0.2.1"],
        &[
            "",
            "192.0.3.0",
            "192.0.1.255",
            "::ffff:192.0.3.1",
            "::192.0.2.1",
            "64:ff9b::192.0.2.1",
            "2001:db8::1",
            "::1",
        ],
    ),
    (
        &["::ffff:192.0.2.0/120"],
        &["192.0.2.7", "::ffff:192.0.2.7"],
        &["", "192.0.3.7", "::ffff:192.0.3.7", "::c000:0207"],
    ),
    (
        &["2001:db8::/32"],
        &["2001:db8::", "2001:DB8:ffff:ffff:ffff:ffff:ffff:ffff"],
        &["", "2001:db9::", "2001:db7:ffff::", "192.0.2.1", "::ffff:192.0.2.1"],
    ),
    (&["198.51.100.7"], &["198.51.100.7", "::ffff:198.51.100.7"], &["", "198.51.100.6", "198.51.100.8"]),
    (
        &["192.0.2.0/25", "198.51.100.0/24", "::1"],
        &["192.0.2.127", "198.51.100.1", "::1"],
        &["", "192.0.2.128", "127.0.0.1", "::2"],
    ),
];

async fn networks_hold_whatever_way_an_address_is_spelled(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    for (networks, inside, outside) in NETWORKS {
        let allowed_networks = networks.iter().map(ToString::to_string).collect();
        let key = v1::Key { display_name: "a key".to_owned(), allowed_networks, ..Default::default() };
        let request = v1::CreateKeyRequest { parent: place.owner.clone(), key: Some(key), ..Default::default() };
        let secret = root.keys.create_key(request).await.expect("a key").into_inner().secret;
        let expected = inside.iter().map(|address| (address, Verdict::Valid));
        for (address, expected) in expected.chain(outside.iter().map(|address| (address, Verdict::AddressNotAllowed))) {
            let told = root.verify(VerifyRequest { client_ip: address.to_string(), ..about(&secret) }).await;
            assert_eq!(told.verdict(), expected, "{address:?} at {networks:?}");
        }
    }
}
