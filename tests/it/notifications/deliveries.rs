//! ListDeliveries: what became of each mail.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use sea_orm::ConnectionTrait;
use v1::DeliveryState;

use super::*;
use crate::rig::{database, eventually};

on_both_engines!(every_mail_says_what_became_of_it, deliveries_are_paged_newest_first_and_a_page_fits_into_a_message);

async fn by_recipient(root: &mut Client, tenant: &str) -> BTreeMap<String, v1::Delivery> {
    let listed = deliveries(root, mails_of(tenant)).await;
    listed.into_iter().map(|mail| (mail.recipient.clone(), mail)).collect()
}

async fn every_mail_says_what_became_of_it(engine: Engine) {
    between_bells().await;
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let (tenant, other) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    for tenant in [&tenant, &other] {
        let owner = root.create_service_user(tenant, "billing").await;
        key(&mut root, &owner, "a key", 3 * DAY).await;
        key(&mut root, &owner, "another", 3 * DAY).await;
    }
    let [good, bad, later, leaver] =
        ["Good@Example.com", "code-554@example.com", "code-451@example.com", "code-452@example.com"];
    let group = root.create_user_group(&tenant, "ops", &[good, bad, later, leaver]).await;
    root.create_user_group(&other, "ops", &[good]).await;
    let start = timestamp(app.clock.now());
    run(&mut root, &tenant).await;
    run(&mut root, &other).await;

    let listed = by_recipient(&mut root, &tenant).await;
    let states: Vec<_> = listed.iter().map(|(recipient, mail)| (recipient.as_str(), mail.state())).collect();
    let expected = [
        (good, DeliveryState::Sent),
        (later, DeliveryState::Pending),
        (leaver, DeliveryState::Pending),
        (bad, DeliveryState::Refused),
    ];
    assert_eq!(states, expected);
    for mail in listed.values() {
        assert!(mail.name.starts_with(&format!("{tenant}/deliveries/")), "{}", mail.name);
        assert_eq!((mail.day.as_str(), mail.attempts, mail.key_count), ("2027-01-15", 1, 2), "{mail:?}");
        assert_eq!((mail.create_time, mail.update_time), (Some(start), Some(start)), "{mail:?}");
        assert_eq!(mail.next_attempt_time.is_some(), mail.state() == DeliveryState::Pending, "{mail:?}");
        assert!(mail.message_id.starts_with("<2027-01-15.") && mail.message_id.ends_with("@claviger.test>"));
    }
    let sent: Vec<String> = sink.mails().iter().map(|mail| format!("<{}>", mail.message_id())).collect();
    assert!(sent.contains(&listed[good].message_id), "{sent:?}");
    assert!(listed[good].answer.starts_with("250"), "{}", listed[good].answer);
    assert!(listed[bad].answer.contains("554"), "{}", listed[bad].answer);
    assert!(listed[later].answer.contains("451"), "{}", listed[later].answer);
    let waits = listed[later].next_attempt_time.expect("a time").seconds - start.seconds;
    assert!((30..=120).contains(&waits), "{waits} s");

    filtered(&mut root, &tenant).await;
    assert_eq!(deliveries(&mut root, mails_of(&other)).await.len(), 1, "of its own tenant alone");

    // One leaves before its mail is tried again, and the other's day ends first.
    set_members(&mut root, &group, &[good, bad, later]).await;
    app.advance(TimeDelta::minutes(5));
    ring(&app).await;
    let after = by_recipient(&mut root, &tenant).await;
    assert_eq!(after[leaver].state(), DeliveryState::Skipped);
    assert_eq!(
        (after[leaver].key_count, &after[leaver].message_id),
        (2, &listed[leaver].message_id),
        "of the one tried"
    );
    assert_eq!((after[later].state(), after[later].attempts), (DeliveryState::Pending, 2));
    assert_eq!(after[later].message_id, listed[later].message_id, "the same for every attempt");
    assert_eq!((&after[good], &after[bad]), (&listed[good], &listed[bad]), "these are settled");
    go_to(&app, time("2027-01-16T00:00:00Z"));
    ring(&app).await;
    go_to(&app, time("2027-01-16T02:00:00Z"));
    ring(&app).await;
    let given_up = by_recipient(&mut root, &tenant).await;
    assert_eq!(given_up[later].state(), DeliveryState::GivenUp);
    assert_eq!(given_up[later].next_attempt_time, None);
}

/// Filters by state and recipient.
async fn filtered(root: &mut Client, tenant: &str) {
    let names = |mails: Vec<v1::Delivery>| mails.into_iter().map(|mail| mail.recipient).collect::<Vec<_>>();
    for (state, expected) in [
        (DeliveryState::Sent, &["Good@Example.com"][..]),
        (DeliveryState::Refused, &["code-554@example.com"]),
        (DeliveryState::Sending, &[]),
        (DeliveryState::Skipped, &[]),
        (DeliveryState::GivenUp, &[]),
    ] {
        let request = v1::ListDeliveriesRequest { state: state.into(), ..mails_of(tenant) };
        assert_eq!(names(deliveries(root, request).await), expected, "{state:?}");
    }
    let waiting = v1::ListDeliveriesRequest { state: DeliveryState::Pending.into(), ..mails_of(tenant) };
    assert_eq!(deliveries(root, waiting.clone()).await.len(), 2);
    for (recipient, count) in
        [("Good@example.COM", 1), ("good@example.com", 0), ("code-451@EXAMPLE.com", 1), ("nobody@example.com", 0)]
    {
        let request = v1::ListDeliveriesRequest { recipient: recipient.to_owned(), ..mails_of(tenant) };
        assert_eq!(deliveries(root, request).await.len(), count, "{recipient}");
    }
    let both = v1::ListDeliveriesRequest { recipient: "Good@example.com".to_owned(), ..waiting };
    assert_eq!(deliveries(root, both).await, [], "both filters hold");
}

async fn deliveries_are_paged_newest_first_and_a_page_fits_into_a_message(engine: Engine) {
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    key(&mut root, &owner, "a key", 3 * DAY).await;
    let addresses: Vec<String> = (0..500).map(|number| format!("{number:03}@example.com")).collect();
    let members: Vec<&str> = addresses.iter().map(String::as_str).collect();
    root.create_user_group(&tenant, "ops", &members).await;
    let report = run(&mut root, &tenant).await;
    assert_eq!((report.claimed, report.refused + report.retried + report.skipped), (report.sent, 0), "{report:?}");
    // The scheduler's own bell may have taken some of them.
    eventually(Duration::from_secs(30), "every mail is sent", async || {
        let sent = v1::ListDeliveriesRequest { state: DeliveryState::Sent.into(), page_size: 500, ..mails_of(&tenant) };
        deliveries(&mut root.clone(), sent).await.len() == 500
    })
    .await;
    assert_eq!(sink.count(), 500);

    let (whole, lengths) =
        delivery_pages(&mut root, v1::ListDeliveriesRequest { page_size: 500, ..mails_of(&tenant) }).await;
    assert_eq!(lengths, [500]);
    assert!(whole.is_sorted_by(|newer, older| newer.name > older.name), "the newest first");
    let mut recipients: Vec<_> = whole.iter().map(|mail| mail.recipient.clone()).collect();
    recipients.sort();
    assert_eq!(recipients, addresses);
    for page_size in [0, 99, 499] {
        let request = v1::ListDeliveriesRequest { page_size, ..mails_of(&tenant) };
        let (listed, lengths) = delivery_pages(&mut root, request).await;
        let most = if page_size == 0 { 100 } else { usize::try_from(page_size).expect("a size") };
        assert!(
            listed == whole && lengths.iter().all(|length| *length <= most),
            "in pages of {page_size}: {lengths:?}"
        );
    }
    // The longest answers there can be.
    let answer = "👩".repeat(500);
    let sql = format!("UPDATE delivery SET answer = '{answer}'");
    database(&app.place).await.execute_unprepared(&sql).await.expect("written");
    let (listed, lengths) =
        delivery_pages(&mut root, v1::ListDeliveriesRequest { page_size: 500, ..mails_of(&tenant) }).await;
    assert!(lengths.len() == 2 && lengths[0] < 500, "{lengths:?}");
    let expected: Vec<_> = whole.into_iter().map(|mail| v1::Delivery { answer: answer.clone(), ..mail }).collect();
    assert!(listed == expected, "every one once");
}
