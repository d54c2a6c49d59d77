//! The link of a real mail, followed: no more mails of this tenant to this address, and of nobody else's.

use super::*;
use crate::harness::http::ask;

on_both_engines!(the_link_of_a_mail_ends_the_mails_of_its_tenant, without_a_public_url_a_mail_asks_by_mail);

async fn members(root: &mut Client, group: &str) -> Vec<(String, bool)> {
    let got = root.user_groups.get_user_group(v1::GetUserGroupRequest { name: group.to_owned() }).await;
    let members = got.expect("a group").into_inner().user_group.expect("a group").members;
    members.into_iter().map(|member| (member.email, member.unsubscribe_time.is_some())).collect()
}

/// The HTML part, with its slashes.
fn html(mail: &crate::harness::Mail) -> String {
    mail.part("text/html").replace("&#x2f;", "/")
}

async fn place(root: &mut Client, tenant: &str) -> String {
    let tenant = root.create_tenant(tenant).await;
    let owner = root.create_service_user(&tenant, "billing").await;
    key(root, &owner, "a key", 10 * DAY).await;
    tenant
}

async fn the_link_of_a_mail_ends_the_mails_of_its_tenant(engine: Engine) {
    let further = [("CLAVIGER_PUBLIC_URL", "https://keys.example.com")];
    let Some(Ground { app, mut root, sink }) = ground_with(engine, &further).await else { return };
    let (acme, bolt) = (place(&mut root, "acme").await, place(&mut root, "bolt").await);
    let ops = root.create_user_group(&acme, "ops", &["Ada@example.com"]).await;
    let dev = root.create_user_group(&acme, "dev", &["Ada@EXAMPLE.com", "bob@example.com"]).await;
    let theirs = root.create_user_group(&bolt, "ops", &["Ada@example.com"]).await;
    run(&mut root, &acme).await;
    let mails = sink.mails();
    let [mail] = &mails.iter().filter(|mail| mail.recipients[0].starts_with("Ada")).collect::<Vec<_>>()[..] else {
        panic!("one mail to Ada")
    };
    let header = mail.header("List-Unsubscribe").expect("a header");
    assert_eq!(mail.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    let link =
        header.strip_prefix("<https://keys.example.com").and_then(|rest| rest.split_once('>')).expect("a link").0;
    assert!(header.contains(">, <mailto:keys@claviger.test?subject=unsubscribe%20"), "{header}");
    assert!(!header.to_lowercase().contains("ada") && !header.contains("example.com>"), "{header}");
    for part in [mail.part("text/plain"), html(mail)] {
        assert!(part.contains(&format!("https://keys.example.com{link}")), "{part}");
    }

    let http = app.http_address();
    let page = ask(http, "GET", link, "").await;
    assert!(
        page.status == 200 && page.body.contains("<form") && page.body.contains("method=\"post\""),
        "{}",
        page.body
    );
    let ada = |is_gone| ("Ada@example.com".to_owned(), is_gone);
    assert_eq!(members(&mut root, &ops).await, [ada(false)], "to look changes nothing");
    assert_eq!(ask(http, "POST", &format!("{link}x"), "List-Unsubscribe=One-Click").await.status, 404);
    for _ in 0..2 {
        assert_eq!(ask(http, "POST", link, "List-Unsubscribe=One-Click").await.status, 200);
    }
    assert_eq!(members(&mut root, &ops).await, [ada(true)]);
    let others = [("Ada@EXAMPLE.com".to_owned(), true), ("bob@example.com".to_owned(), false)];
    assert_eq!(members(&mut root, &dev).await, others);
    assert_eq!(members(&mut root, &theirs).await, [ada(false)], "another tenant's group");
    assert_eq!(told(&mut root, &acme, NotificationKind::LastSubscriberGone).await, [], "Bob is left");

    let before = sink.count();
    go_to(&app, time("2027-01-16T09:00:00Z"));
    ring(&app).await;
    let mut next: Vec<_> = sink.mails()[before..]
        .iter()
        .map(|mail| (mail.recipients[0].clone(), mail.header("List-Id").expect("a header")))
        .collect();
    next.sort();
    let expected = [
        ("Ada@example.com", "<bolt.key-warnings.claviger.test>"),
        ("bob@example.com", "<acme.key-warnings.claviger.test>"),
    ];
    assert_eq!(next, expected.map(|(recipient, list)| (recipient.to_owned(), list.to_owned())));

    let bob = sink.mails().into_iter().find(|mail| mail.recipients == ["bob@example.com"]).expect("a mail to Bob");
    let header = bob.header("List-Unsubscribe").expect("a header");
    let link =
        header.strip_prefix("<https://keys.example.com").and_then(|rest| rest.split_once('>')).expect("a link").0;
    assert_eq!(ask(http, "POST", link, "List-Unsubscribe=One-Click").await.status, 200);
    assert_eq!(told(&mut root, &acme, NotificationKind::LastSubscriberGone).await.len(), 1, "nobody is left");
    assert_eq!(told(&mut root, &bolt, NotificationKind::LastSubscriberGone).await, []);
    set_members(&mut root, &ops, &["Ada@example.com"]).await;
    go_to(&app, time("2027-01-17T09:00:00Z"));
    ring(&app).await;
    let mails = sink.mails();
    let today = mails.iter().filter(|mail| mail.message_id().starts_with("2027-01-17."));
    // An address is one whatever the case of its domain; it is spelled as it was when its first mail was planned.
    let ada = |mail: &&crate::harness::Mail| mail.recipients[0].to_lowercase() == "ada@example.com";
    let mut lists: Vec<_> = today.filter(ada).map(|mail| mail.header("List-Id").expect("a header")).collect();
    lists.sort();
    let both = ["<acme.key-warnings.claviger.test>", "<bolt.key-warnings.claviger.test>"];
    assert_eq!(lists, both, "subscribed again");
}

async fn without_a_public_url_a_mail_asks_by_mail(engine: Engine) {
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let acme = place(&mut root, "acme").await;
    root.create_user_group(&acme, "ops", &["ada@example.com"]).await;
    run(&mut root, &acme).await;
    let mails = sink.mails();
    let [mail] = &mails[..] else { panic!("one mail") };
    let header = mail.header("List-Unsubscribe").expect("a header");
    assert!(
        header.starts_with("<mailto:keys@claviger.test?subject=unsubscribe%20") && !header.contains(','),
        "{header}"
    );
    assert_eq!(mail.header("List-Unsubscribe-Post"), None);
    assert!(!mail.part("text/plain").contains("/unsubscribe/") && !html(mail).contains("/unsubscribe/"));
    drop(app);
}
