//! KeyGroupService: convert, call the authority, convert.

use tonic::{Request, Response, Status};

use crate::domain::{
    ids::{KeyGroupName, TenantId},
    rights::Right,
};
use crate::proto::v1::{self, key_group_service_server::KeyGroupService};

use super::{
    convert::{self, fields::Fields, key_groups},
    desk::Desk,
};

/// The service.
pub struct KeyGroups {
    desk: Desk,
}

impl KeyGroups {
    /// A service behind `desk`.
    #[must_use]
    pub fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

#[tonic::async_trait]
impl KeyGroupService for KeyGroups {
    async fn create_key_group(
        &self,
        request: Request<v1::CreateKeyGroupRequest>,
    ) -> Result<Response<v1::CreateKeyGroupResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyGroupService/CreateKeyGroup", &[Right::KeysWrite]).await?;
        let (name, display_name, description) = self.desk.answer(&call, key_groups::create(request.get_ref()))?;
        let creating = self.desk.authority().create_key_group(call.clone(), name, display_name, description);
        let group = self.desk.answer(&call, creating.await)?;
        Ok(Response::new(v1::CreateKeyGroupResponse { key_group: Some(key_groups::write(&group)) }))
    }

    async fn get_key_group(
        &self,
        request: Request<v1::GetKeyGroupRequest>,
    ) -> Result<Response<v1::GetKeyGroupResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyGroupService/GetKeyGroup", &[Right::KeysRead]).await?;
        let name = self.desk.answer(&call, convert::name("name", &request.get_ref().name, KeyGroupName::parse))?;
        let group = self.desk.answer(&call, self.desk.authority().get_key_group(&call, &name).await)?;
        Ok(Response::new(v1::GetKeyGroupResponse { key_group: Some(key_groups::write(&group)) }))
    }

    async fn list_key_groups(
        &self,
        request: Request<v1::ListKeyGroupsRequest>,
    ) -> Result<Response<v1::ListKeyGroupsResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyGroupService/ListKeyGroups", &[Right::KeysRead]).await?;
        let request = request.get_ref();
        let listing = self.desk.listing(&call, vec![request.parent.clone()]);
        let mut fields = Fields::default();
        let parent = fields.take("parent", TenantId::parse_name(&request.parent));
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let (parent, page) = self.desk.answer(&call, fields.finish(parent.zip(page)))?;
        let listed = self.desk.authority().list_key_groups(&call, &parent, &page).await;
        let paged = self.desk.answer(&call, listed)?;
        let (key_groups, next_page_token) =
            listing.write(paged, |group| group.name.id.as_str().to_owned(), |group| key_groups::write(&group));
        Ok(Response::new(v1::ListKeyGroupsResponse { key_groups, next_page_token }))
    }

    async fn update_key_group(
        &self,
        request: Request<v1::UpdateKeyGroupRequest>,
    ) -> Result<Response<v1::UpdateKeyGroupResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyGroupService/UpdateKeyGroup", &[Right::KeysWrite]).await?;
        let (name, edit, expected) = self.desk.answer(&call, key_groups::update(request.get_ref()))?;
        let updating = self.desk.authority().update_key_group(call.clone(), name, edit, expected);
        let group = self.desk.answer(&call, updating.await)?;
        Ok(Response::new(v1::UpdateKeyGroupResponse { key_group: Some(key_groups::write(&group)) }))
    }

    async fn delete_key_group(
        &self,
        request: Request<v1::DeleteKeyGroupRequest>,
    ) -> Result<Response<v1::DeleteKeyGroupResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyGroupService/DeleteKeyGroup", &[Right::KeysWrite]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, KeyGroupName::parse);
        let (name, expected) = self.desk.answer(&call, named)?;
        let deleting = self.desk.authority().delete_key_group(call.clone(), name, request.force, expected);
        self.desk.answer(&call, deleting.await)?;
        Ok(Response::new(v1::DeleteKeyGroupResponse {}))
    }
}
