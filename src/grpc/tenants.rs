//! TenantService: convert, call the authority, convert.

use tonic::{Request, Response, Status};

use crate::domain::{ids::TenantId, rights::Right};
use crate::proto::v1::{self, tenant_service_server::TenantService};

use super::{
    convert::{self, fields::Fields, owners},
    desk::Desk,
};

/// The service.
pub struct Tenants {
    desk: Desk,
}

impl Tenants {
    /// A service behind `desk`.
    #[must_use]
    pub fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::CreateTenantResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.TenantService/CreateTenant", &[Right::Admin]).await?;
        let (id, display_name, calendar, policy) = self.desk.answer(&call, owners::create_tenant(request.get_ref()))?;
        let creating = self.desk.authority().create_tenant(call.clone(), id, display_name, calendar, policy);
        let tenant = self.desk.answer(&call, creating.await)?;
        Ok(Response::new(v1::CreateTenantResponse { tenant: Some(owners::write_tenant(&tenant)) }))
    }

    async fn get_tenant(
        &self,
        request: Request<v1::GetTenantRequest>,
    ) -> Result<Response<v1::GetTenantResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.TenantService/GetTenant", &[Right::TenantAdmin]).await?;
        let name = self.desk.answer(&call, convert::name("name", &request.get_ref().name, TenantId::parse_name))?;
        let tenant = self.desk.answer(&call, self.desk.authority().get_tenant(&call, &name).await)?;
        Ok(Response::new(v1::GetTenantResponse { tenant: Some(owners::write_tenant(&tenant)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.TenantService/ListTenants", &[Right::Admin]).await?;
        let request = request.get_ref();
        let listing = self.desk.listing(&call, vec![request.show_deleted.to_string()]);
        let mut fields = Fields::default();
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let page = self.desk.answer(&call, fields.finish(page))?;
        let listed = self.desk.authority().list_tenants(&call, &page, request.show_deleted).await;
        let paged = self.desk.answer(&call, listed)?;
        let (tenants, next_page_token) =
            listing.write(paged, |tenant| tenant.id.to_string(), |tenant| owners::write_tenant(&tenant));
        Ok(Response::new(v1::ListTenantsResponse { tenants, next_page_token }))
    }

    async fn update_tenant(
        &self,
        request: Request<v1::UpdateTenantRequest>,
    ) -> Result<Response<v1::UpdateTenantResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.TenantService/UpdateTenant", &[Right::TenantAdmin]).await?;
        let (name, edit, expected) = self.desk.answer(&call, owners::update_tenant(request.get_ref()))?;
        let updating = self.desk.authority().update_tenant(call.clone(), name, edit, expected);
        let tenant = self.desk.answer(&call, updating.await)?;
        Ok(Response::new(v1::UpdateTenantResponse { tenant: Some(owners::write_tenant(&tenant)) }))
    }

    async fn enable_tenant(
        &self,
        request: Request<v1::EnableTenantRequest>,
    ) -> Result<Response<v1::EnableTenantResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.TenantService/EnableTenant", &[Right::TenantAdmin]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, TenantId::parse_name);
        let (name, expected) = self.desk.answer(&call, named)?;
        let changing = self.desk.authority().enable_tenant(call.clone(), name, expected);
        let tenant = self.desk.answer(&call, changing.await)?;
        Ok(Response::new(v1::EnableTenantResponse { tenant: Some(owners::write_tenant(&tenant)) }))
    }

    async fn disable_tenant(
        &self,
        request: Request<v1::DisableTenantRequest>,
    ) -> Result<Response<v1::DisableTenantResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.TenantService/DisableTenant", &[Right::TenantAdmin]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, TenantId::parse_name);
        let (name, expected) = self.desk.answer(&call, named)?;
        let changing = self.desk.authority().disable_tenant(call.clone(), name, expected);
        let tenant = self.desk.answer(&call, changing.await)?;
        Ok(Response::new(v1::DisableTenantResponse { tenant: Some(owners::write_tenant(&tenant)) }))
    }

    async fn delete_tenant(
        &self,
        request: Request<v1::DeleteTenantRequest>,
    ) -> Result<Response<v1::DeleteTenantResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.TenantService/DeleteTenant", &[Right::Admin]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, TenantId::parse_name);
        let (name, expected) = self.desk.answer(&call, named)?;
        let deleting = self.desk.authority().delete_tenant(call.clone(), name, request.force, expected);
        let tenant = self.desk.answer(&call, deleting.await)?;
        Ok(Response::new(v1::DeleteTenantResponse { tenant: Some(owners::write_tenant(&tenant)) }))
    }
}
