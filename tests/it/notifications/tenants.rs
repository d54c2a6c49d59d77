//! A mail about one tenant says nothing about another, though people, names and times are the same.

use super::*;
use crate::rig::{database, select};

on_both_engines!(a_mail_holds_nothing_of_another_tenant);

/// What only this tenant's mails may hold.
async fn marks(app: &TestApp, root: &mut Client, id: &str, keys: &[(v1::Key, String)]) -> Vec<String> {
    let sql = format!("SELECT id FROM subscriber WHERE tenant_id = '{id}'");
    let mut marks: Vec<String> = select(&database(&app.place).await, &sql).await;
    let listed = deliveries(root, mails_of(&format!("tenants/{id}"))).await;
    marks.extend(listed.iter().flat_map(|mail| [mail.message_id.clone(), mail.name.clone()]));
    marks.extend(list(root, all_of(&format!("tenants/{id}"))).await.into_iter().map(|one| one.name));
    for (key, _) in keys {
        let key_id = key.name.rsplit('/').next().expect("an id");
        marks.extend([key_id.to_owned(), key.secret_hint.trim_end_matches('…').to_owned(), key.display_name.clone()]);
    }
    marks.extend([format!("tenants/{id}"), format!("{id}-only"), format!("<{id}.")]);
    marks
}

async fn a_mail_holds_nothing_of_another_tenant(engine: Engine) {
    let further = [("CLAVIGER_PUBLIC_URL", "https://keys.example.com")];
    let Some(Ground { app, mut root, sink }) = ground_with(engine, &further).await else { return };
    let ids = ["alfa", "bravo"];
    let mut keys = Vec::new();
    for id in ids {
        let tenant = root.create_tenant(id).await;
        let mut own = Vec::new();
        for number in 0..12 {
            let owner = root.create_service_user(&tenant, &format!("user-{number}")).await;
            own.push(key_and_secret(&mut root, &owner, &format!("{id}-only {number}"), DAY * (1 + number)).await);
        }
        keys.push(own);
        let shared = ["ada@example.com", "bob@example.com", "eve@example.com"];
        root.create_user_group(&tenant, "ops", &shared).await;
        root.create_user_group(&tenant, "own", &[&format!("{id}-only@example.com")]).await;
    }
    // Both at once, three days in a row, so that what one worker has kept for one tenant could slip into the other's mails.
    for day in ["2027-01-15T09:00:00Z", "2027-01-16T09:00:00Z", "2027-01-17T09:00:00Z"] {
        go_to(&app, time(day));
        ring(&app).await;
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), 2 * 4 * 3);
    let secrets: Vec<&str> = keys.iter().flatten().map(|(_, secret)| &secret[27..]).collect();
    for (own, other) in [(0, 1), (1, 0)] {
        let foreign = marks(&app, &mut root, ids[other], &keys[other]).await;
        let list_id = format!("<{}.key-warnings.claviger.test>", ids[own]);
        let of_own: Vec<_> = mails.iter().filter(|mail| mail.header("List-Id").as_ref() == Some(&list_id)).collect();
        assert_eq!(of_own.len(), 12);
        for mail in of_own {
            let headers = mail.headers().into_iter().map(|(name, value)| format!("{name}: {value}"));
            let parts = ["text/plain", "text/html"].map(|part| mail.part(part));
            let whole = headers.chain(parts).chain([mail.raw.clone(), mail.subject()]).collect::<Vec<_>>().join("\n");
            let slipped: Vec<_> = foreign.iter().filter(|mark| whole.contains(mark.as_str())).collect();
            assert!(slipped.is_empty(), "{:?} holds {slipped:?}", mail.recipients);
            assert!(secrets.iter().all(|secret| !whole.contains(secret)), "a secret");
            assert!(whole.contains(&format!("{}-only 11", ids[own])), "this test sees the names of keys");
        }
    }
}
