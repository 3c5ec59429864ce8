//! The entrance: how many come in, by which of two ways, and how deep they go.

use super::{
    GatewayOptions,
    connection::{House, attend, attend_tcp},
};
use crate::{
    broker::Broker,
    sys::{
        accept::{self, Attend, Depth},
        closing::Closing,
    },
};
use std::{future::Future, sync::Arc};
use tokio::{
    net::{TcpStream, UnixStream},
    runtime::Handle,
};

/// What a socket leads to.
pub type Entrance = accept::Entrance<House>;

/// An entrance whose connections are spread over these loops by the kernel.
pub fn entrance(broker: Broker, options: GatewayOptions, loops: Vec<Handle>) -> Entrance {
    let slots = options.connections;
    Entrance::new(House { broker, options }, slots, loops)
}

impl accept::House for House {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn depth(&self) -> Depth {
        // A streamed call over TLS goes 51 KiB deep.
        Depth::Full
    }
}

impl Attend<UnixStream> for House {
    fn attend(
        self: Arc<Self>,
        stream: UnixStream,
        closing: Closing,
    ) -> impl Future<Output = Option<UnixStream>> + Send {
        attend(self, stream, closing)
    }
}

impl Attend<TcpStream> for House {
    fn attend(self: Arc<Self>, stream: TcpStream, closing: Closing) -> impl Future<Output = Option<TcpStream>> + Send {
        attend_tcp(self, stream, closing)
    }
}
