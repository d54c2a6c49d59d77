//! Pages of user groups: every group once and whole, however big, and no page that outgrows a message.

use prost::Message;

use super::*;

on_both_engines!(a_page_of_big_groups_is_bounded_and_the_list_complete, groups_of_longest_members_come_one_by_one);

const MOST_MEMBERS: usize = 4_000;
const MOST_PAGES: usize = 100;

async fn pages(root: &mut Client, tenant: &str, page_size: i32) -> Vec<Vec<v1::UserGroup>> {
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    for _ in 0..MOST_PAGES {
        let request = v1::ListUserGroupsRequest { parent: tenant.to_owned(), page_size, page_token };
        let page = root.user_groups.list_user_groups(request).await.expect("a page").into_inner();
        pages.push(page.user_groups);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
    panic!("the list has no end");
}

fn people(count: usize, of: &str) -> Vec<v1::UserGroupMember> {
    (0..count).map(|number| member(&format!("{number}@{of}.example.com"))).collect()
}

async fn a_page_of_big_groups_is_bounded_and_the_list_complete(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    // Four full groups fill a page to the last member; empty and small ones before, between and behind.
    let sizes = [0, 1, 1_000, 1_000, 1_000, 0, 999, 0, 1, 1_000, 1_000, 1_000, 1_000, 0, 3, 0];
    let mut expected = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let id = format!("g{number:02}");
        let group = v1::UserGroup { display_name: id.clone(), members: people(size, &id), ..Default::default() };
        expected.push(create(&mut root, &tenant, &id, group).await.expect("a user group"));
    }
    let mut counts = Vec::new();
    for page_size in [1, 3, 16, 500] {
        let pages = pages(&mut root, &tenant, page_size).await;
        assert!(pages.iter().all(|page| page.len() <= usize::try_from(page_size).expect("a size")));
        for page in &pages {
            let members: usize = page.iter().map(|group| group.members.len()).sum();
            assert!((1..=16).contains(&page.len()) && members <= MOST_MEMBERS, "{} with {members}", page.len());
        }
        counts.push(pages.len());
        assert!(pages.into_iter().flatten().eq(expected.iter().cloned()), "in pages of {page_size}");
    }
    assert_eq!(counts[0], sizes.len(), "one by one, and no empty page behind");
    assert!(counts[3] <= 4, "{counts:?}: pages are filled");
}

async fn groups_of_longest_members_come_one_by_one(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    for id in ["a", "b", "c"] {
        let members = super::members::longest(1_000);
        let group = v1::UserGroup { display_name: id.to_owned(), members, ..Default::default() };
        create(&mut root, &tenant, id, group).await.expect("a user group");
    }
    let pages = pages(&mut root, &tenant, 0).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(pages.iter().flatten().all(|group| group.members.len() == 1_000 && group.encoded_len() < 1 << 20));
}
