//! AuditService: convert, call the authority, convert.

use tonic::{Request, Response, Status};

use crate::domain::{ids::TenantId, rights::Right};
use crate::proto::v1::{ListAuditEventsRequest, ListAuditEventsResponse, audit_service_server::AuditService};

use super::{
    convert::{audit, fields::Fields},
    desk::Desk,
};

/// The service.
pub struct Audit {
    desk: Desk,
}

impl Audit {
    /// A service behind `desk`.
    #[must_use]
    pub fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.AuditService/ListAuditEvents", &[Right::AuditRead]).await?;
        let request = request.get_ref();
        let listing = self.desk.listing(&call, vec![request.parent.clone(), request.target.clone()]);
        let mut fields = Fields::default();
        let parent = fields.take("parent", TenantId::parse_name(&request.parent));
        let target = fields.take("target", audit::parse_target(&request.target));
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let wanted = parent.zip(target).zip(page);
        let ((parent, target), page) = self.desk.answer(&call, fields.finish(wanted))?;
        let listed = self.desk.authority().list_audit_events(&call, &parent, target, &page).await;
        let paged = self.desk.answer(&call, listed)?;
        let (audit_events, next_page_token) = listing.write(paged, |event| event.id.to_string(), audit::write);
        Ok(Response::new(ListAuditEventsResponse { audit_events, next_page_token }))
    }
}
