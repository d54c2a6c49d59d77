//! The ports: taken first, opened last.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::domain::limits;

use super::AppError;

/// Takes a port, so that a taken one is found out first, but doesn't open it: whoever connects before Verify can be
/// answered is refused and goes elsewhere, instead of waiting in the backlog.
pub(super) fn reserve(setting: &'static str, address: SocketAddr) -> Result<(TcpSocket, SocketAddr), AppError> {
    let reserving = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A service that was here a moment ago leaves connections behind that block the port otherwise.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    reserving().map_err(|cause| AppError::Listen { setting, address, cause })
}

/// Opens a port that was taken.
pub(super) fn listen(setting: &'static str, port: TcpSocket, address: SocketAddr) -> Result<TcpListener, AppError> {
    port.listen(limits::BACKLOG).map_err(|cause| AppError::Listen { setting, address, cause })
}
