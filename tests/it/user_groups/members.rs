//! Members: how many, each address once, addresses never quoted back, and who stays unsubscribed.

use prost::Message;
use tonic_types::StatusExt;

use super::*;
use crate::harness::errors::bad_fields;
use crate::rig::database;
use sea_orm::ConnectionTrait;

on_both_engines!(
    a_thousand_longest_members_fit_and_one_more_is_refused,
    each_address_is_in_a_list_once,
    a_wrong_address_is_not_quoted_back,
    very_many_wrong_members_are_told_in_an_answer_that_clients_take,
    who_is_unsubscribed_stays_so_as_long_as_it_is_written,
    refusals_are_shown_until_members_are_written_again,
);

/// The longest members there can be: addresses of 254 characters, names of 100 characters of four bytes, unsubscribed.
pub fn longest(count: usize) -> Vec<v1::UserGroupMember> {
    let domain = ["d".repeat(60), "e".repeat(60), "f".repeat(60), "example".to_owned()].join(".");
    let one = |number: usize| v1::UserGroupMember {
        email: format!("{number:0>64}@{}", &domain[..189]),
        display_name: "👩".repeat(100),
        unsubscribe_time: Some(Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 }),
        ..Default::default()
    };
    (0..count).map(one).collect()
}

fn group(members: Vec<v1::UserGroupMember>) -> v1::UserGroup {
    v1::UserGroup { display_name: "👩".repeat(100), account_alerts: true, members, ..Default::default() }
}

async fn a_thousand_longest_members_fit_and_one_more_is_refused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    assert_eq!(longest(1)[0].email.len(), 254);
    assert!(group(longest(1_000)).encoded_len() < (1 << 20) - 1_000, "with room for the rest of the request");
    let made = create(&mut root, &tenant, "ops", group(longest(1_000))).await.expect("1,000 fit");
    assert_eq!(made.members.len(), 1_000);
    assert_eq!(get(&mut root, &made.name).await.expect("a user group"), made);
    let edited = set_members(&mut root, &made.name, made.members.iter().rev().cloned().collect()).await;
    assert!(edited.members.iter().eq(made.members.iter().rev()), "1,000 are replaced, in this order");
    let too_many = longest(1_001);
    let refused = [
        create(&mut root, &tenant, "more", group(too_many.clone())).await,
        update(&mut root, v1::UserGroup { name: made.name, ..group(too_many) }, &["members"], 0).await,
    ];
    for refused in refused {
        assert_eq!(bad_fields(&refused.expect_err("1,001")), ["user_group.members"]);
    }
}

async fn each_address_is_in_a_list_once(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let addresses =
        ["ops@example.com", "dev@example.com", "Ops@example.com", "ops@EXAMPLE.com", "x", "dev@example.COM"];
    let list: Vec<_> = addresses.into_iter().map(member).collect();
    let expected = [3, 4, 5].map(|index| format!("user_group.members[{index}].email"));
    let name = root.create_user_group(&tenant, "ops", &[]).await;
    let refused = [
        create(&mut root, &tenant, "more", group(list.clone())).await,
        update(&mut root, v1::UserGroup { name: name.clone(), ..group(list) }, &["members"], 0).await,
    ];
    for refused in refused {
        let fields: BTreeSet<String> = bad_fields(&refused.expect_err("twice")).into_iter().collect();
        assert_eq!(fields, BTreeSet::from(expected.clone()));
    }
    let cased = ["ops@example.com", "Ops@example.com"].map(member).to_vec();
    assert_eq!(set_members(&mut root, &name, cased.clone()).await.members, cased, "local parts keep their case");
}

/// Everything that a status says, its details too.
fn said(status: &Status) -> String {
    format!("{} {}", status.message(), String::from_utf8_lossy(status.details()))
}

async fn a_wrong_address_is_not_quoted_back(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let hostile = crate::bad_input::bad_addresses().into_iter().map(|bad| bad.replace("ops", "zebra"));
    let mut count = 0;
    for bad in hostile.map(|bad| bad.replace("example", "quagga")) {
        for list in [vec![member(&bad)], vec![member("quagga@quagga.com"), member("quagga@QUAGGA.com"), member(&bad)]] {
            let status = create(&mut root, &tenant, "ops", group(list)).await.expect_err(&bad);
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"), "{bad:?}");
            let said = said(&status).to_lowercase();
            assert!(!["zebra", "quagga", "bcc", "x!x!"].iter().any(|part| said.contains(part)), "{bad:?}: {said}");
            count += 1;
        }
    }
    assert!(count > 100, "most addresses are missing");
}

async fn very_many_wrong_members_are_told_in_an_answer_that_clients_take(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    for wrong in [20, 1_000] {
        let status =
            create(&mut root, &tenant, "ops", group(vec![member("x"); wrong])).await.expect_err("all are wrong");
        let named = bad_fields(&status);
        let all = (0..wrong).map(|index| format!("user_group.members[{index}].email"));
        assert!(named.iter().cloned().eq(all.take(named.len())), "the first, in order");
        assert!(status.message().starts_with(&format!("{wrong} fields are wrong")), "{}", status.message());
        // In base 64, beside the message itself.
        assert!(status.details().len().div_ceil(3) * 4 + 512 < 8 << 10, "{} bytes", status.details().len());
        assert!(named.len() == wrong || (named.len() >= 50 && status.message().contains("the first")));
        let explained = status.get_details_bad_request().expect("a BadRequest").field_violations;
        assert!(explained.iter().all(|violation| !violation.description.is_empty()));
    }
}

async fn who_is_unsubscribed_stays_so_as_long_as_it_is_written(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let odd = Some(Timestamp { seconds: i64::MAX, nanos: -1 });
    let unsubscribed = |email: &str| v1::UserGroupMember { unsubscribe_time: odd, ..member(email) };
    let first = Some(timestamp(&app));
    let list = vec![unsubscribed("a@example.com"), member("b@example.com"), unsubscribed("c@example.com")];
    let made = create(&mut root, &tenant, "ops", group(list)).await.expect("a user group");
    let times = |group: &v1::UserGroup| group.members.iter().map(|one| one.unsubscribe_time).collect::<Vec<_>>();
    assert_eq!(times(&made), [first, None, first], "since it was written, whatever it says");

    app.advance(TimeDelta::hours(1));
    let second = Some(timestamp(&app));
    let rename = v1::UserGroup { name: made.name.clone(), display_name: "new".to_owned(), ..Default::default() };
    let renamed = update(&mut root, rename, &["display_name"], 0).await.expect("updated");
    assert_eq!(times(&renamed), [first, None, first], "members weren't named");
    let list = vec![unsubscribed("b@example.com"), unsubscribed("a@EXAMPLE.com"), member("c@example.com")];
    let edited = set_members(&mut root, &made.name, list).await;
    assert_eq!(times(&edited), [second, first, None], "becomes, stays, and is subscribed again");
    let again = set_members(&mut root, &made.name, edited.members.clone()).await;
    assert_eq!(again, edited, "nothing changed, so no revision was taken");
    let gone = set_members(&mut root, &made.name, vec![]).await;
    assert_eq!(gone.members, []);
    let back = set_members(&mut root, &made.name, vec![unsubscribed("a@example.com")]).await;
    assert_eq!(times(&back), [second], "who was away has no history");
}

/// Makes as if the mail server had refused this address of `acme`.
async fn refuse(app: &TestApp, folded: &str, refusals: u8) {
    let id = claviger::domain::ids::SubscriberId::from_random([refusals; 16]);
    let (time, id) = ("2027-01-14T08:00:00.000000+00:00", id.as_str());
    let sql = format!(
        "INSERT INTO subscriber (id, tenant_id, folded, email, refusals, refusal, refuse_time, create_time)
         VALUES ('{id}', 'acme', '{folded}', '{folded}', {refusals}, '550 no such user', '{time}', '{time}')"
    );
    database(&app.place).await.execute_unprepared(&sql).await.expect("a subscriber");
}

async fn refusals_are_shown_until_members_are_written_again(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let made = create(&mut root, &tenant, "ops", group(vec![member("a@Example.com"), member("b@example.com")])).await;
    let name = made.expect("a user group").name;
    refuse(&app, "a@example.com", 1).await;
    refuse(&app, "b@example.com", 3).await;
    refuse(&app, "c@example.com", 2).await;
    let told = |group: &v1::UserGroup| {
        group.members.iter().map(|one| (one.refusal.clone(), one.refuse_time.is_some())).collect::<Vec<_>>()
    };
    let (refused, well) = (("550 no such user".to_owned(), true), (String::new(), false));
    let shown = get(&mut root, &name).await.expect("a user group");
    assert_eq!(told(&shown), [refused.clone(), refused.clone()]);
    let beside = root.create_user_group(&tenant, "beside", &["c@example.com", "a@example.com", "d@example.com"]).await;
    let all = [refused.clone(), refused.clone(), well.clone()];
    assert_eq!(told(&get(&mut root, &beside).await.expect("a user group")), all, "a new group clears nothing");
    let rename = v1::UserGroup { name: name.clone(), display_name: "new".to_owned(), ..Default::default() };
    let renamed = update(&mut root, rename, &["display_name"], 0).await.expect("updated");
    assert_eq!(told(&renamed), [refused.clone(), refused.clone()], "members weren't named");

    let written = set_members(&mut root, &name, renamed.members.clone()).await;
    assert_eq!(told(&written), [well.clone(), well.clone()], "what a caller writes there is ignored");
    assert!(written.revision > renamed.revision, "the same list again is a change then");
    let others = told(&get(&mut root, &beside).await.expect("a user group"));
    assert_eq!(others, [refused, well.clone(), well], "only what was written");
    let sql = "SELECT refusals FROM subscriber ORDER BY folded";
    let counts: Vec<i16> = crate::rig::select(&database(&app.place).await, sql).await;
    assert_eq!(counts, [0, 0, 2]);
}
