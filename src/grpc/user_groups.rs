//! UserGroupService: convert, call the authority, convert.

use tonic::{Request, Response, Status};

use crate::domain::{
    ids::{TenantId, UserGroupName},
    rights::Right,
};
use crate::proto::v1::{self, user_group_service_server::UserGroupService};

use super::{
    convert::{self, fields::Fields, user_groups},
    desk::Desk,
};

/// The service.
pub struct UserGroups {
    desk: Desk,
}

impl UserGroups {
    /// A service behind `desk`.
    #[must_use]
    pub fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

#[tonic::async_trait]
impl UserGroupService for UserGroups {
    async fn create_user_group(
        &self,
        request: Request<v1::CreateUserGroupRequest>,
    ) -> Result<Response<v1::CreateUserGroupResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.UserGroupService/CreateUserGroup", &[Right::KeysWrite]).await?;
        let (name, new) = self.desk.answer(&call, user_groups::create(request.get_ref()))?;
        let creating = self.desk.authority().create_user_group(call.clone(), name, new);
        let group = self.desk.answer(&call, creating.await)?;
        Ok(Response::new(v1::CreateUserGroupResponse { user_group: Some(user_groups::write(&group)) }))
    }

    async fn get_user_group(
        &self,
        request: Request<v1::GetUserGroupRequest>,
    ) -> Result<Response<v1::GetUserGroupResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.UserGroupService/GetUserGroup", &[Right::KeysRead]).await?;
        let name = self.desk.answer(&call, convert::name("name", &request.get_ref().name, UserGroupName::parse))?;
        let group = self.desk.answer(&call, self.desk.authority().get_user_group(&call, &name).await)?;
        Ok(Response::new(v1::GetUserGroupResponse { user_group: Some(user_groups::write(&group)) }))
    }

    async fn list_user_groups(
        &self,
        request: Request<v1::ListUserGroupsRequest>,
    ) -> Result<Response<v1::ListUserGroupsResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.UserGroupService/ListUserGroups", &[Right::KeysRead]).await?;
        let request = request.get_ref();
        let listing = self.desk.listing(&call, vec![request.parent.clone()]);
        let mut fields = Fields::default();
        let parent = fields.take("parent", TenantId::parse_name(&request.parent));
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let (parent, page) = self.desk.answer(&call, fields.finish(parent.zip(page)))?;
        let listed = self.desk.authority().list_user_groups(&call, &parent, &page).await;
        let paged = self.desk.answer(&call, listed)?;
        let (user_groups, next_page_token) =
            listing.write(paged, |group| group.name.id.as_str().to_owned(), |group| user_groups::write(&group));
        Ok(Response::new(v1::ListUserGroupsResponse { user_groups, next_page_token }))
    }

    async fn update_user_group(
        &self,
        request: Request<v1::UpdateUserGroupRequest>,
    ) -> Result<Response<v1::UpdateUserGroupResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.UserGroupService/UpdateUserGroup", &[Right::KeysWrite]).await?;
        let (name, edit, expected) = self.desk.answer(&call, user_groups::update(request.get_ref()))?;
        let updating = self.desk.authority().update_user_group(call.clone(), name, edit, expected);
        let group = self.desk.answer(&call, updating.await)?;
        Ok(Response::new(v1::UpdateUserGroupResponse { user_group: Some(user_groups::write(&group)) }))
    }

    async fn delete_user_group(
        &self,
        request: Request<v1::DeleteUserGroupRequest>,
    ) -> Result<Response<v1::DeleteUserGroupResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.UserGroupService/DeleteUserGroup", &[Right::KeysWrite]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, UserGroupName::parse);
        let (name, expected) = self.desk.answer(&call, named)?;
        let deleting = self.desk.authority().delete_user_group(call.clone(), name, expected);
        self.desk.answer(&call, deleting.await)?;
        Ok(Response::new(v1::DeleteUserGroupResponse {}))
    }
}
