//! NotificationService: convert, call the authority or the warnings, convert.

use tonic::{Request, Response, Status};

use crate::authority::AuthorityError;
use crate::domain::{
    ids::{NotificationName, TenantId},
    rights::Right,
};
use crate::notify::{Warnings, WarningsError};
use crate::proto::v1::{self, notification_service_server::NotificationService};
use crate::store::{DeliveryFilter, NotificationFilter};

use super::{
    convert::{self, fields::Fields, notifications},
    desk::Desk,
};

/// The service.
pub struct Notifications {
    desk: Desk,
    warnings: Warnings,
}

impl Notifications {
    /// A service behind `desk`.
    #[must_use]
    pub fn new(desk: Desk, warnings: Warnings) -> Self {
        Self { desk, warnings }
    }
}

#[tonic::async_trait]
impl NotificationService for Notifications {
    async fn list_notifications(
        &self,
        request: Request<v1::ListNotificationsRequest>,
    ) -> Result<Response<v1::ListNotificationsResponse>, Status> {
        let method = "claviger.v1.NotificationService/ListNotifications";
        let call = self.desk.admit(&request, method, &[Right::KeysRead]).await?;
        let request = request.get_ref();
        let filter = [&request.parent, &request.unread.to_string(), &request.kind.to_string(), &request.recipient];
        let listing = self.desk.listing(&call, filter.map(String::clone).to_vec());
        let mut fields = Fields::default();
        let tenant = fields.take("parent", TenantId::parse_name(&request.parent));
        let kind = notifications::kind(&mut fields, request.kind);
        let recipient = notifications::recipient(&mut fields, &request.recipient);
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let complete =
            || Some((NotificationFilter { tenant: tenant?, unread: request.unread, kind: kind? }, recipient?, page?));
        let (filter, recipient, page) = self.desk.answer(&call, fields.finish(complete()))?;
        let listed = self.desk.authority().list_notifications(&call, &filter, recipient.as_ref(), &page).await;
        let paged = self.desk.answer(&call, listed)?;
        let (notifications, next_page_token) = listing.write(
            paged,
            |notification| notification.id.to_string(),
            |notification| notifications::write_notification(&notification),
        );
        Ok(Response::new(v1::ListNotificationsResponse { notifications, next_page_token }))
    }

    async fn mark_notification_read(
        &self,
        request: Request<v1::MarkNotificationReadRequest>,
    ) -> Result<Response<v1::MarkNotificationReadResponse>, Status> {
        let method = "claviger.v1.NotificationService/MarkNotificationRead";
        let call = self.desk.admit(&request, method, &[Right::KeysRead]).await?;
        let name = convert::name("name", &request.get_ref().name, NotificationName::parse);
        let name = self.desk.answer(&call, name)?;
        let marked = self.desk.answer(&call, self.desk.authority().mark_notification_read(&call, &name).await)?;
        let notification = Some(notifications::write_notification(&marked));
        Ok(Response::new(v1::MarkNotificationReadResponse { notification }))
    }

    async fn preview_warnings(
        &self,
        request: Request<v1::PreviewWarningsRequest>,
    ) -> Result<Response<v1::PreviewWarningsResponse>, Status> {
        let method = "claviger.v1.NotificationService/PreviewWarnings";
        let call = self.desk.admit(&request, method, &[Right::KeysRead]).await?;
        let (tenant, from, to) = self.desk.answer(&call, notifications::preview(request.get_ref(), call.now))?;
        let tenant = self.desk.authority().tenant(&call, &tenant, Right::KeysRead).await;
        let tenant = self.desk.answer(&call, tenant)?;
        let previewed = self.warnings.preview(&tenant, from, to).await.map_err(error);
        let preview = self.desk.answer(&call, previewed)?;
        Ok(Response::new(notifications::write_preview(&tenant, &preview, !self.warnings.send_mails())))
    }

    async fn run_warnings(
        &self,
        request: Request<v1::RunWarningsRequest>,
    ) -> Result<Response<v1::RunWarningsResponse>, Status> {
        let method = "claviger.v1.NotificationService/RunWarnings";
        let call = self.desk.admit(&request, method, &[Right::KeysWrite]).await?;
        let tenant = convert::name("tenant", &request.get_ref().tenant, TenantId::parse_name);
        let tenant = self.desk.answer(&call, tenant)?;
        let tenant = self.desk.authority().tenant(&call, &tenant, Right::KeysWrite).await;
        let tenant = self.desk.answer(&call, tenant)?;
        let report = self.desk.answer(&call, self.warnings.run_tenant(tenant).await.map_err(error))?;
        Ok(Response::new(notifications::write_report(&report, !self.warnings.send_mails())))
    }

    async fn list_deliveries(
        &self,
        request: Request<v1::ListDeliveriesRequest>,
    ) -> Result<Response<v1::ListDeliveriesResponse>, Status> {
        let method = "claviger.v1.NotificationService/ListDeliveries";
        let call = self.desk.admit(&request, method, &[Right::KeysRead]).await?;
        let request = request.get_ref();
        let filter = vec![request.parent.clone(), request.state.to_string(), request.recipient.clone()];
        let listing = self.desk.listing(&call, filter);
        let mut fields = Fields::default();
        let tenant = fields.take("parent", TenantId::parse_name(&request.parent));
        let state = notifications::delivery_state(&mut fields, request.state);
        let recipient = notifications::recipient(&mut fields, &request.recipient);
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let complete = || Some((DeliveryFilter { tenant: tenant?, state: state?, recipient: recipient? }, page?));
        let (filter, page) = self.desk.answer(&call, fields.finish(complete()))?;
        let paged = self.desk.answer(&call, self.desk.authority().list_deliveries(&call, &filter, &page).await)?;
        let (deliveries, next_page_token) = listing.write(
            paged,
            |delivery| delivery.id.to_string(),
            |delivery| notifications::write_delivery(&delivery),
        );
        Ok(Response::new(v1::ListDeliveriesResponse { deliveries, next_page_token }))
    }
}

fn error(error: WarningsError) -> AuthorityError {
    match error {
        WarningsError::Store(error) => AuthorityError::Store(error),
        WarningsError::Random(error) => AuthorityError::Random(error),
        WarningsError::Defect(cause) => AuthorityError::Defect(cause),
    }
}
