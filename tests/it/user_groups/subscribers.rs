//! Unsubscribing by a link, and what a tenant is told when its last subscriber goes.

use claviger::domain::ids::SubscriberId;
use sea_orm::ConnectionTrait;

use super::*;
use crate::rig::{database, select};

on_both_engines!(
    unsubscribing_reaches_every_group_of_the_tenant_and_no_other,
    unsubscribing_again_or_an_unknown_one_changes_nothing,
    the_end_of_the_last_subscriber_is_told_once,
    what_leaves_a_subscriber_tells_nothing,
    another_group_does_not_undo_somebodys_wish,
    a_tenant_has_at_most_a_hundred_groups,
);

/// Makes an address of a tenant a subscriber that a mail was sent to.
async fn known(app: &TestApp, tenant: &str, folded: &str) -> SubscriberId {
    let id = SubscriberId::from_random(claviger::random::bytes().expect("randomness"));
    let sql = format!(
        "INSERT INTO subscriber (id, tenant_id, folded, email, refusals, refusal, create_time)
         VALUES ('{}', '{tenant}', '{folded}', '{folded}', 0, '', '2027-01-14T08:00:00.000000+00:00')",
        id.as_str()
    );
    database(&app.place).await.execute_unprepared(&sql).await.expect("a subscriber");
    id
}

/// How often each tenant was told that its last subscriber has gone.
async fn told(app: &TestApp) -> Vec<String> {
    let sql = "SELECT tenant_id FROM notification WHERE kind = 'LAST_SUBSCRIBER_GONE' ORDER BY tenant_id";
    select(&database(&app.place).await, sql).await
}

async fn revision(app: &TestApp) -> i64 {
    select(&database(&app.place).await, "SELECT value FROM revision").await[0]
}

/// The addresses of a group, and since when each is unsubscribed.
fn people(group: &v1::UserGroup) -> Vec<(&str, Option<Timestamp>)> {
    group.members.iter().map(|one| (one.email.as_str(), one.unsubscribe_time)).collect()
}

async fn unsubscribing_reaches_every_group_of_the_tenant_and_no_other(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (acme, bolt) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let both = ["a@example.com", "A@Example.com", "a@EXAMPLE.org"];
    let (x, y) = (root.create_user_group(&acme, "x", &both).await, root.create_user_group(&acme, "y", &both).await);
    let without = root.create_user_group(&acme, "without", &["b@example.com"]).await;
    let theirs = root.create_user_group(&bolt, "x", &both).await;
    let quiet = v1::UserGroup { name: y.clone(), account_alerts: false, ..Default::default() };
    update(&mut root, quiet, &["account_alerts"], 0).await.expect("updated");
    let untouched = [get(&mut root, &without).await.expect("a group"), get(&mut root, &theirs).await.expect("a group")];
    let subscriber = known(&app, "acme", "A@example.com").await;
    app.advance(TimeDelta::hours(1));
    let before = revision(&app).await;
    assert!(app.running.authority().unsubscribe(&subscriber).await.expect("unsubscribed"));

    let now = Some(timestamp(&app));
    for name in [&x, &y] {
        let group = get(&mut root, name).await.expect("a group");
        let expected = [("a@example.com", None), ("A@Example.com", now), ("a@EXAMPLE.org", None)];
        assert_eq!(people(&group), expected, "{name}");
        assert_eq!((group.update_time, group.revision), (now, before + 1), "{name}");
    }
    let after = [get(&mut root, &without).await.expect("a group"), get(&mut root, &theirs).await.expect("a group")];
    assert_eq!(after, untouched);
    let event = ("system".to_owned(), String::new(), before + 1);
    assert_eq!(events(&mut root, &acme, &x).await[0], event, "one event, of the first group");
    assert_eq!(told(&app).await, [""; 0], "others are left");
    let written = set_members(&mut root, &x, vec![member("A@example.com")]).await;
    assert_eq!(people(&written), [("A@example.com", None)], "UpdateUserGroup subscribes again");
}

async fn unsubscribing_again_or_an_unknown_one_changes_nothing(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let name = root.create_user_group(&tenant, "ops", &["a@example.com", "b@example.com"]).await;
    let here = known(&app, "acme", "a@example.com").await;
    let gone = known(&app, "acme", "gone@example.com").await;
    let authority = app.running.authority();
    assert!(authority.unsubscribe(&here).await.expect("unsubscribed"));
    let before = (revision(&app).await, get(&mut root, &name).await.expect("a group"));
    app.advance(TimeDelta::hours(1));
    let unknown = SubscriberId::from_random([1; 16]);
    for (subscriber, known) in [(&here, true), (&gone, true), (&unknown, false)] {
        assert_eq!(authority.unsubscribe(subscriber).await.expect("an answer"), known);
    }
    assert_eq!((revision(&app).await, get(&mut root, &name).await.expect("a group")), before);
    let many = join_all((0..10).map(|_| authority.unsubscribe(&here))).await;
    assert!(many.into_iter().all(|known| known.expect("an answer")));
}

/// Writes whether a group gets account alerts.
async fn alert(root: &mut Client, name: &str, account_alerts: bool) {
    let group = v1::UserGroup { name: name.to_owned(), account_alerts, ..Default::default() };
    update(root, group, &["account_alerts"], 0).await.expect("updated");
}

async fn the_end_of_the_last_subscriber_is_told_once(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenants = ["by-alerts", "by-delete", "by-link", "by-mark", "by-members"];
    for tenant in tenants {
        let name = root.create_tenant(tenant).await;
        let group = root.create_user_group(&name, "ops", &["a@example.com"]).await;
        let quiet = root.create_user_group(&name, "quiet", &["b@example.com"]).await;
        alert(&mut root, &quiet, false).await;
        let unsubscribed =
            v1::UserGroupMember { unsubscribe_time: Some(Timestamp::default()), ..member("c@example.com") };
        let others = v1::UserGroup {
            display_name: "others".to_owned(),
            account_alerts: true,
            members: vec![unsubscribed.clone()],
            ..Default::default()
        };
        create(&mut root, &name, "unsubscribed", others).await.expect("a user group");
        assert!(!told(&app).await.contains(&tenant.to_owned()), "not yet");
        match tenant {
            "by-alerts" => alert(&mut root, &group, false).await,
            "by-delete" => delete(&mut root, &group).await.expect("deleted"),
            "by-link" => {
                let subscriber = known(&app, tenant, "a@example.com").await;
                assert!(app.running.authority().unsubscribe(&subscriber).await.expect("unsubscribed"));
                assert!(app.running.authority().unsubscribe(&subscriber).await.expect("nothing to do"));
            }
            "by-mark" => {
                let marked = v1::UserGroupMember { email: "a@example.com".to_owned(), ..unsubscribed };
                set_members(&mut root, &group, vec![marked]).await;
            }
            _ => drop(set_members(&mut root, &group, vec![]).await),
        }
        // Nobody was left, so nobody goes.
        alert(&mut root, &quiet, false).await;
        delete(&mut root, &format!("{name}/userGroups/unsubscribed")).await.expect("deleted");
    }
    assert_eq!(told(&app).await, tenants);
    let quiet = "tenants/by-link/userGroups/quiet";
    alert(&mut root, quiet, true).await;
    alert(&mut root, quiet, false).await;
    assert_eq!(told(&app).await.iter().filter(|tenant| *tenant == "by-link").count(), 2, "it happened again");
}

async fn what_leaves_a_subscriber_tells_nothing(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let bolt = root.create_tenant("bolt").await;
    root.create_user_group(&bolt, "ops", &["a@example.com"]).await;
    let ops = root.create_user_group(&tenant, "ops", &["a@example.com", "b@example.com"]).await;
    let dev = root.create_user_group(&tenant, "dev", &["a@example.com"]).await;
    set_members(&mut root, &ops, vec![member("c@example.com")]).await;
    alert(&mut root, &ops, false).await;
    alert(&mut root, &ops, true).await;
    delete(&mut root, &dev).await.expect("deleted");
    let rename = v1::UserGroup { name: ops, display_name: "new".to_owned(), ..Default::default() };
    update(&mut root, rename, &["display_name"], 0).await.expect("updated");
    assert_eq!(told(&app).await, [""; 0]);
}

async fn another_group_does_not_undo_somebodys_wish(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let acme = root.create_tenant("acme").await;
    let first = root.create_user_group(&acme, "first", &["a@example.com", "b@example.com"]).await;
    let second = root.create_user_group(&acme, "second", &["b@example.com"]).await;
    let subscriber = known(&app, "acme", "a@example.com").await;
    app.advance(TimeDelta::hours(1));
    let since = Some(timestamp(&app));
    assert!(app.running.authority().unsubscribe(&subscriber).await.expect("unsubscribed"));
    app.advance(TimeDelta::hours(1));

    let created = root.create_user_group(&acme, "third", &["a@EXAMPLE.com", "b@example.com"]).await;
    let third = get(&mut root, &created).await.expect("a group");
    assert_eq!(people(&third), [("a@EXAMPLE.com", since), ("b@example.com", None)]);
    let second = set_members(&mut root, &second, vec![member("a@example.com"), member("b@example.com")]).await;
    assert_eq!(people(&second), [("a@example.com", since), ("b@example.com", None)]);
    // Where it shows, writing the member without it undoes it.
    let first = set_members(&mut root, &first, vec![member("a@example.com"), member("b@example.com")]).await;
    assert_eq!(people(&first), [("a@example.com", None), ("b@example.com", None)]);
}

async fn a_tenant_has_at_most_a_hundred_groups(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let acme = root.create_tenant("acme").await;
    for number in 0..100 {
        root.create_user_group(&acme, &format!("group-{number}"), &[]).await;
    }
    let one_more = || v1::UserGroup { display_name: "One more".to_owned(), ..Default::default() };
    let refused = create(&mut root, &acme, "one-more", one_more()).await.expect_err("full");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "USER_GROUP_LIMIT_REACHED"));
    let bolt = root.create_tenant("bolt").await;
    create(&mut root, &bolt, "one-more", one_more()).await.expect("another tenant has its own");
    delete(&mut root, &format!("{acme}/userGroups/group-7")).await.expect("deleted");
    create(&mut root, &acme, "one-more", one_more()).await.expect("there is room again");
}
