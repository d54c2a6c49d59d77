//! User groups.

use crate::domain::{
    Refusal, Revision,
    address::MailAddress,
    ids::{TenantId, UserGroupId, UserGroupName},
    limits,
    text::DisplayName,
    user_group::{Member, NewMember, NewUserGroup, UserGroup, UserGroupEdit, repeated},
};
use crate::proto::v1;

use super::{expected_revision, fields::Fields, mask, time};

const EDITABLE: [&str; 3] = ["display_name", "account_alerts", "members"];
const IMMUTABLE: [&str; 4] = ["name", "create_time", "update_time", "revision"];

/// Reads a CreateUserGroupRequest.
pub fn create(request: &v1::CreateUserGroupRequest) -> Result<(UserGroupName, NewUserGroup), Refusal> {
    let mut fields = Fields::default();
    let absent = v1::UserGroup::default();
    let group = request.user_group.as_ref().unwrap_or(&absent);
    let tenant = fields.take("parent", TenantId::parse_name(&request.parent));
    let id = fields.take("user_group_id", UserGroupId::parse_new(&request.user_group_id));
    let display_name = fields.take("user_group.display_name", DisplayName::parse(&group.display_name));
    let members = members(&mut fields, &group.members);
    let account_alerts = group.account_alerts;
    let complete = || {
        let new = NewUserGroup { display_name: display_name?, account_alerts, members: members? };
        Some((UserGroupName { tenant: tenant?, id: id? }, new))
    };
    fields.finish(complete())
}

/// Reads an UpdateUserGroupRequest: only the fields that the mask names.
pub fn update(request: &v1::UpdateUserGroupRequest) -> Result<(UserGroupName, UserGroupEdit, Revision), Refusal> {
    let mut fields = Fields::default();
    let absent = v1::UserGroup::default();
    let group = request.user_group.as_ref().unwrap_or(&absent);
    let name = fields.take("user_group.name", UserGroupName::parse(&group.name));
    let expected = expected_revision(&mut fields, request.expected_revision);
    let paths = mask(&mut fields, request.update_mask.as_ref(), &EDITABLE, &IMMUTABLE);
    let mut edit = UserGroupEdit::default();
    if paths.contains(&"display_name") {
        edit.display_name = fields.take("user_group.display_name", DisplayName::parse(&group.display_name));
    }
    if paths.contains(&"account_alerts") {
        edit.account_alerts = Some(group.account_alerts);
    }
    if paths.contains(&"members") {
        edit.members = members(&mut fields, &group.members);
    }
    let complete = || Some((name?, edit, expected?));
    fields.finish(complete())
}

/// Reads members. Addresses are never quoted back.
fn members(fields: &mut Fields, written: &[v1::UserGroupMember]) -> Option<Vec<NewMember>> {
    const FIELD: &str = "user_group.members";
    let most = limits::USER_GROUP_MEMBERS;
    if written.len() > most {
        return fields.take(FIELD, Err(format!("has {} entries; at most {most} are allowed", written.len())));
    }
    let mut parsed = Vec::with_capacity(written.len());
    for (index, member) in written.iter().enumerate() {
        let address = fields.take(&format!("{FIELD}[{index}].email"), MailAddress::parse(&member.email));
        let display_name = fields.take(&format!("{FIELD}[{index}].display_name"), name(&member.display_name));
        // That it is given says it all: since when is the service's to know.
        parsed.push((address, display_name, member.unsubscribe_time.is_some()));
    }
    let addresses = parsed.iter().enumerate().filter_map(|(index, (address, ..))| Some((index, address.as_ref()?)));
    fields.refuse(repeated(addresses));
    let complete = |(address, display_name, unsubscribed)| -> Option<NewMember> {
        Some(NewMember { address: address?, display_name: display_name?, unsubscribed })
    };
    parsed.into_iter().map(complete).collect()
}

/// What people call a person, if they say.
fn name(text: &str) -> Result<Option<DisplayName>, String> {
    if text.is_empty() { Ok(None) } else { DisplayName::parse(text).map(Some) }
}

/// Writes a user group.
#[must_use]
pub fn write(group: &UserGroup) -> v1::UserGroup {
    v1::UserGroup {
        name: group.name.to_string(),
        display_name: group.display_name.as_str().to_owned(),
        account_alerts: group.account_alerts,
        members: group.members.iter().map(write_member).collect(),
        create_time: Some(time::write(group.create_time)),
        update_time: Some(time::write(group.update_time)),
        revision: group.revision,
    }
}

fn write_member(member: &Member) -> v1::UserGroupMember {
    v1::UserGroupMember {
        email: member.address.as_str().to_owned(),
        display_name: member.display_name.as_ref().map_or_else(String::new, |name| name.as_str().to_owned()),
        unsubscribe_time: member.unsubscribe_time.map(time::write),
        refusal: member.refusal.as_ref().map_or_else(String::new, |refusal| refusal.answer.clone()),
        refuse_time: member.refusal.as_ref().map(|refusal| time::write(refusal.time)),
    }
}
