//! ServiceUserService: convert, call the authority, convert.

use tonic::{Request, Response, Status};

use crate::domain::{
    ids::{ServiceUserName, TenantId},
    rights::Right,
};
use crate::proto::v1::{self, service_user_service_server::ServiceUserService};

use super::{
    convert::{self, fields::Fields, owners},
    desk::Desk,
};

/// The service.
pub struct ServiceUsers {
    desk: Desk,
}

impl ServiceUsers {
    /// A service behind `desk`.
    #[must_use]
    pub fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

#[tonic::async_trait]
impl ServiceUserService for ServiceUsers {
    async fn create_service_user(
        &self,
        request: Request<v1::CreateServiceUserRequest>,
    ) -> Result<Response<v1::CreateServiceUserResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.ServiceUserService/CreateServiceUser", &[Right::KeysWrite]).await?;
        let (name, display_name, description, identities) =
            self.desk.answer(&call, owners::create_service_user(request.get_ref()))?;
        let authority = self.desk.authority();
        let creating = authority.create_service_user(call.clone(), name, display_name, description, identities);
        let service_user = self.desk.answer(&call, creating.await)?;
        Ok(Response::new(v1::CreateServiceUserResponse {
            service_user: Some(owners::write_service_user(&service_user)),
        }))
    }

    async fn get_service_user(
        &self,
        request: Request<v1::GetServiceUserRequest>,
    ) -> Result<Response<v1::GetServiceUserResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.ServiceUserService/GetServiceUser", &[Right::KeysRead]).await?;
        let name = self.desk.answer(&call, convert::name("name", &request.get_ref().name, ServiceUserName::parse))?;
        let service_user = self.desk.answer(&call, self.desk.authority().get_service_user(&call, &name).await)?;
        Ok(Response::new(v1::GetServiceUserResponse { service_user: Some(owners::write_service_user(&service_user)) }))
    }

    async fn list_service_users(
        &self,
        request: Request<v1::ListServiceUsersRequest>,
    ) -> Result<Response<v1::ListServiceUsersResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.ServiceUserService/ListServiceUsers", &[Right::KeysRead]).await?;
        let request = request.get_ref();
        let filter = vec![request.parent.clone(), request.show_deleted.to_string()];
        let listing = self.desk.listing(&call, filter);
        let mut fields = Fields::default();
        let parent = fields.take("parent", TenantId::parse_name(&request.parent));
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let (parent, page) = self.desk.answer(&call, fields.finish(parent.zip(page)))?;
        let listed = self.desk.authority().list_service_users(&call, &parent, &page, request.show_deleted).await;
        let paged = self.desk.answer(&call, listed)?;
        let (service_users, next_page_token) = listing.write(
            paged,
            |service_user| service_user.name.id.to_string(),
            |service_user| owners::write_service_user(&service_user),
        );
        Ok(Response::new(v1::ListServiceUsersResponse { service_users, next_page_token }))
    }

    async fn update_service_user(
        &self,
        request: Request<v1::UpdateServiceUserRequest>,
    ) -> Result<Response<v1::UpdateServiceUserResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.ServiceUserService/UpdateServiceUser", &[Right::KeysWrite]).await?;
        let (name, edit, expected) = self.desk.answer(&call, owners::update_service_user(request.get_ref()))?;
        let updating = self.desk.authority().update_service_user(call.clone(), name, edit, expected);
        let service_user = self.desk.answer(&call, updating.await)?;
        Ok(Response::new(v1::UpdateServiceUserResponse {
            service_user: Some(owners::write_service_user(&service_user)),
        }))
    }

    async fn enable_service_user(
        &self,
        request: Request<v1::EnableServiceUserRequest>,
    ) -> Result<Response<v1::EnableServiceUserResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.ServiceUserService/EnableServiceUser", &[Right::KeysWrite]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, ServiceUserName::parse);
        let (name, expected) = self.desk.answer(&call, named)?;
        let changing = self.desk.authority().enable_service_user(call.clone(), name, expected);
        let service_user = self.desk.answer(&call, changing.await)?;
        Ok(Response::new(v1::EnableServiceUserResponse {
            service_user: Some(owners::write_service_user(&service_user)),
        }))
    }

    async fn disable_service_user(
        &self,
        request: Request<v1::DisableServiceUserRequest>,
    ) -> Result<Response<v1::DisableServiceUserResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.ServiceUserService/DisableServiceUser", &[Right::KeysWrite]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, ServiceUserName::parse);
        let (name, expected) = self.desk.answer(&call, named)?;
        let changing = self.desk.authority().disable_service_user(call.clone(), name, expected);
        let service_user = self.desk.answer(&call, changing.await)?;
        Ok(Response::new(v1::DisableServiceUserResponse {
            service_user: Some(owners::write_service_user(&service_user)),
        }))
    }

    async fn delete_service_user(
        &self,
        request: Request<v1::DeleteServiceUserRequest>,
    ) -> Result<Response<v1::DeleteServiceUserResponse>, Status> {
        let call =
            self.desk.admit(&request, "claviger.v1.ServiceUserService/DeleteServiceUser", &[Right::KeysWrite]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, ServiceUserName::parse);
        let (name, expected) = self.desk.answer(&call, named)?;
        let deleting = self.desk.authority().delete_service_user(call.clone(), name, request.force, expected);
        let service_user = self.desk.answer(&call, deleting.await)?;
        Ok(Response::new(v1::DeleteServiceUserResponse {
            service_user: Some(owners::write_service_user(&service_user)),
        }))
    }
}
