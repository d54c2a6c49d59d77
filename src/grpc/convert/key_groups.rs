//! Key groups.

use crate::domain::{
    Refusal, Revision,
    ids::{KeyGroupId, KeyGroupName, TenantId},
    key_group::{KeyGroup, KeyGroupEdit},
    text::{Description, DisplayName},
};
use crate::proto::v1;

use super::{expected_revision, fields::Fields, mask, time};

const EDITABLE: [&str; 2] = ["display_name", "description"];
const IMMUTABLE: [&str; 4] = ["name", "create_time", "update_time", "revision"];

/// Reads a CreateKeyGroupRequest.
pub fn create(request: &v1::CreateKeyGroupRequest) -> Result<(KeyGroupName, DisplayName, Description), Refusal> {
    let mut fields = Fields::default();
    let absent = v1::KeyGroup::default();
    let group = request.key_group.as_ref().unwrap_or(&absent);
    let tenant = fields.take("parent", TenantId::parse_name(&request.parent));
    let id = fields.take("key_group_id", KeyGroupId::parse_new(&request.key_group_id));
    let display_name = fields.take("key_group.display_name", DisplayName::parse(&group.display_name));
    let description = fields.take("key_group.description", Description::parse(&group.description));
    let complete = || Some((KeyGroupName { tenant: tenant?, id: id? }, display_name?, description?));
    fields.finish(complete())
}

/// Reads an UpdateKeyGroupRequest: only the fields that the mask names.
pub fn update(request: &v1::UpdateKeyGroupRequest) -> Result<(KeyGroupName, KeyGroupEdit, Revision), Refusal> {
    let mut fields = Fields::default();
    let absent = v1::KeyGroup::default();
    let group = request.key_group.as_ref().unwrap_or(&absent);
    let name = fields.take("key_group.name", KeyGroupName::parse(&group.name));
    let expected = expected_revision(&mut fields, request.expected_revision);
    let paths = mask(&mut fields, request.update_mask.as_ref(), &EDITABLE, &IMMUTABLE);
    let mut edit = KeyGroupEdit::default();
    if paths.contains(&"display_name") {
        edit.display_name = fields.take("key_group.display_name", DisplayName::parse(&group.display_name));
    }
    if paths.contains(&"description") {
        edit.description = fields.take("key_group.description", Description::parse(&group.description));
    }
    let complete = || Some((name?, edit, expected?));
    fields.finish(complete())
}

/// Reads the group of a key, or of a list of keys: one of `tenant`, if that could be read. `Some(None)`: empty.
pub fn of_keys(fields: &mut Fields, field: &str, name: &str, tenant: Option<&TenantId>) -> Option<Option<KeyGroupId>> {
    if name.is_empty() {
        return Some(None);
    }
    let parsed = KeyGroupName::parse(name);
    let parsed = parsed.and_then(|group| tenant.map_or(Ok(group.clone()), |tenant| group.require_of(tenant)));
    fields.take(field, parsed).map(|group| Some(group.id))
}

/// Writes a key group.
#[must_use]
pub fn write(group: &KeyGroup) -> v1::KeyGroup {
    v1::KeyGroup {
        name: group.name.to_string(),
        display_name: group.display_name.as_str().to_owned(),
        description: group.description.as_str().to_owned(),
        create_time: Some(time::write(group.create_time)),
        update_time: Some(time::write(group.update_time)),
        revision: group.revision,
    }
}
